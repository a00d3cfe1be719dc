"""Detectors: clean messages pass at the stated rate, corrupted ones do not, and nothing that is not finite passes."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from builders import defense
from torch import Tensor

from agentcomm.base.plugin import ROOT
from agentcomm.contracts.calibrating import learn, take_over
from agentcomm.contracts.defense import Defense
from agentcomm.contracts.examples import Examples
from agentcomm.contracts.traffic import Links, Traffic
from agentcomm.contracts.verdicts import Delivered, Draws
from agentcomm.defenses.outliers import Density, Forest
from agentcomm.defenses.parts.detector import Detector, conformal_threshold
from agentcomm.evaluation.calibration import Clean, examples
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import make_world, shape_of
from agentcomm.runs.choices import PLAIN_TRANSPORT
from agentcomm.runs.folder import open_run

DETECTORS: dict[str, dict[str, Any]] = {
    "outliers": {},
    "outliers:density": {"by": "density"},
    "graph_anomaly": {},
    "drift_alarm": {"unauthenticated": True},
    "drift_alarm:ewma": {"unauthenticated": True, "chart": "ewma"},
    "reconstruct": {},
    "reliability": {},
    "latent_experts": {"unauthenticated": True},
    "gaussian_process": {"unauthenticated": True},
}
RATE = 0.05


@cache
def team() -> Clean:
    """A published team of five."""
    saved = policy_file.load(open_run(ROOT / "studies" / "runs" / "agreement").policy("team", 0), "cpu")
    return Clean(make_world(saved.environment, 1), saved.policy, PLAIN_TRANSPORT, seed=1)


@cache
def messages(seed: int, episodes: int) -> Examples:
    return examples(replace(team(), seed=seed), episodes)


@cache
def calibrated(form: str) -> Detector:
    made = defense(
        form.partition(":")[0], shape_of(team().world, team().policy), **DETECTORS[form], false_positives=RATE
    )
    assert isinstance(made, Detector)
    take_over(made, learn(made, messages(1, made.calibration), seed=1))
    return made


def fresh(form: str, worlds: int) -> Detector:
    """The detector for so many worlds, as evaluation makes it."""
    known = calibrated(form)
    made = type(known)(known.config, replace(known.team_shape, num_worlds=worlds))
    take_over(made, {name: value for name, value in vars(known).items() if name not in vars(made)})
    return made


def moments(found: Examples) -> list[Tensor]:
    """The rows of each exchange."""
    time = found.step * 2 + found.round
    return [(time == moment).nonzero().squeeze(1) for moment in torch.unique(time).tolist()]


def flagged_by(detector: Detector, found: Examples) -> Tensor:
    """[S, N, k] bool, the messages that it flags, exchange by exchange."""
    memory, flagged = detector.memory(), torch.zeros_like(found.present)
    for rows in moments(found):
        here = {name: value[found.episode[rows]] for name, value in memory.items()}
        seen = delivered(found.take(rows))
        flagged[rows] = detector.screen(seen, here).flagged(seen.present)
        for name, value in here.items():
            memory[name][found.episode[rows]] = value
    return flagged


def delivered(found: Examples) -> Delivered:
    links = Links(found.sender, torch.ones(found.own.shape[:2], dtype=torch.bool))
    at, round_ = found.step, int(found.round[0])
    traffic = Traffic.on_links(found.own, links, at, round_, 2, 0)
    traffic = replace(traffic, present=found.present).edit_payload(found.present, found.payload)
    draws = Draws(None, at.device, "detector")
    return Delivered(traffic, NotAsked(), at, round_, traffic, traffic.source, torch.zeros_like(traffic.source), draws)


class NotAsked:
    def verify(self, traffic: Traffic) -> Tensor:
        raise AssertionError

    def signers(self, traffic: Traffic) -> Tensor:
        raise AssertionError


@pytest.mark.parametrize("form", DETECTORS)
def test_of_clean_messages_about_the_stated_share_is_flagged(form: str) -> None:
    found = messages(2, 128)
    rate = float(flagged_by(fresh(form, 128), found)[found.present].float().mean())
    assert 0.1 * RATE < rate < 2 * RATE


@pytest.mark.parametrize("form", DETECTORS)
def test_a_sender_of_noise_is_found(form: str) -> None:
    found = messages(2, 128)
    where = found.sender == 1
    noise = torch.randn(found.payload.shape, generator=torch.Generator().manual_seed(0))
    noisy = replace(
        found, payload=torch.where((where & found.present).unsqueeze(-1), found.payload + noise, found.payload)
    )
    assert flagged_by(fresh(form, 128), noisy)[where & found.present].float().mean() > 0.5


@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan, 3e38])
@pytest.mark.parametrize("form", DETECTORS)
def test_what_is_not_finite_neither_passes_nor_spreads(form: str, value: float) -> None:
    found = messages(2, 128).take(torch.arange(4))
    payload = found.payload.clone()
    payload[:, 0, 1] = value
    detector = fresh(form, 4)
    seen = delivered(replace(found, payload=payload))
    verdicts = detector.screen(seen, detector.memory())
    assert verdicts.score is not None
    assert verdicts.score.isfinite().all()
    assert verdicts.flagged(seen.present)[:, 0, 1].all()
    if verdicts.replace is not None:
        assert verdicts.replace.payload.isfinite().all()
    elif abs(value) != 3e38:
        assert verdicts.refuse is not None
        assert verdicts.refuse[:, 0, 1].all()
    if verdicts.scale is not None:
        assert verdicts.scale.isfinite().all()


def test_a_silent_team_calibrates_detectors_that_find_nothing() -> None:
    found = messages(2, 128)
    silent = replace(found, present=torch.zeros_like(found.present))
    for form, arguments in DETECTORS.items():
        made: Defense = defense(form.partition(":")[0], fresh(form, 4).team_shape, **arguments)
        learn(made, silent, 0)
        seen = delivered(found.take(torch.arange(4)))
        assert not made.screen(seen, made.memory()).flagged(seen.present).any()


def test_calibration_repeats_itself() -> None:
    for form in ("outliers", "reliability"):
        again = type(calibrated(form))(calibrated(form).config, calibrated(form).team_shape)
        learn(again, messages(1, again.calibration), seed=1)
        assert again.threshold == calibrated(form).threshold


def test_reconstructions_are_closer_to_the_truth_than_the_lie() -> None:
    found = messages(2, 128).take(torch.arange(128))
    noise = 2 * torch.randn(found.payload.shape, generator=torch.Generator().manual_seed(0))
    where = (found.sender == 1) & found.present
    noisy = replace(found, payload=torch.where(where.unsqueeze(-1), found.payload + noise, found.payload))
    for form in ("reconstruct", "latent_experts"):
        detector = fresh(form, 128)
        seen = delivered(noisy)
        replaced = detector.screen(seen, detector.memory()).replace
        assert replaced is not None
        at = where & replaced.where
        error = (replaced.payload - found.payload)[at].norm(dim=-1).mean()
        assert error < 0.6 * (noisy.payload - found.payload)[at].norm(dim=-1).mean()


def test_reliable_messages_are_those_that_help() -> None:
    found = messages(2, 128)
    found = found.take(found.round == 1)
    best = found.logits(found.payload).argmax(-1, keepdim=True)
    leaf = found.payload.clone().requires_grad_()
    (slope,) = torch.autograd.grad(found.logits(leaf).log_softmax(-1).gather(-1, best).sum(), leaf)
    against = found.payload - 1.5 * found.payload.norm(dim=-1).mean() * torch.nn.functional.normalize(slope, dim=-1)
    detector = fresh("reliability", len(found.step))
    scores = [
        detector.screen(delivered(replace(found, payload=payload.detach())), {}).score
        for payload in (found.payload, against)
    ]
    assert scores[1][found.present].mean() > scores[0][found.present].mean() + 1  # type: ignore[index]


def test_the_threshold_is_the_conformal_quantile() -> None:
    scores = torch.arange(1.0, 100.0)
    assert conformal_threshold(scores, 0.1) == pytest.approx(90, abs=0.1)
    assert conformal_threshold(scores, 0.01) == pytest.approx(99, abs=0.1)
    assert conformal_threshold(scores, 0.009) > 1e4  # too few to bound so rare an event


def test_forest_and_density_know_an_outlier() -> None:
    g = torch.Generator().manual_seed(0)
    known = torch.randn(2000, 5, generator=g)
    asked = torch.cat([torch.zeros(1, 5), torch.randn(500, 5, generator=g), torch.full((1, 5), 6.0)])
    forest, density = Forest.grow(known, 100, g), Density.of(known[:512])
    for score in (forest.score(asked), density.factor(asked)):
        assert int(score.argmax()) == 501
        assert score[0] < score.median() * 1.1
    assert 0.35 < float(forest.score(known).mean()) < 0.5  # Liu et al.: about 0.5 or less for what is usual
    assert float(density.factor(asked[1:501]).median()) == pytest.approx(1.0, abs=0.1)
