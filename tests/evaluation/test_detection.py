"""Detection: scores are held against what an attack did, and the numbers are those of the literature."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import mannwhitneyu
from torch import Tensor

from agentcomm.contracts.metric import DetectorMetric
from agentcomm.contracts.outcome import Episodes
from agentcomm.contracts.scored import LEVELS, ScoredMessages, levels
from agentcomm.evaluation.metrics import detection
from agentcomm.evaluation.play import play
from agentcomm.metrics.detection import Auprc, Auroc, TprAt1Fpr, curve
from agentcomm.runs.assembly import make_comms, make_policy, make_world
from agentcomm.runs.choices import Choice
from agentcomm.runs.rows import CellRow

NONE = torch.full((2,), -1)
DEFENSES = {"median": {"name": "median", "least": 2}}  # agents hear two others


def scored(others: Tensor, attacked: Tensor) -> ScoredMessages:
    counts = torch.stack([torch.bincount(levels(score), minlength=LEVELS) for score in (others, attacked)])
    return ScoredMessages(counts, None, NONE, NONE)


def of(metric: type[DetectorMetric], found: ScoredMessages, clean: ScoredMessages | None = None) -> float | None:
    return metric(metric.Config()).of(found, clean)


def test_levels_keep_the_order_of_scores() -> None:
    scores = torch.tensor([-1e30, -2.0, -1.0, -0.0, 0.0, 1e-6, 0.5, 1.0, 1.001, 3e4, 1e30])
    assert levels(scores).diff().tolist()[3] == 0  # both zeros are one level
    assert (levels(scores).diff() >= 0).all()
    assert levels(scores).unique().numel() == len(scores) - 1
    assert int(levels(scores).min()) >= 0
    assert int(levels(scores).max()) < LEVELS


def test_areas_are_those_of_the_ranks() -> None:
    g = torch.Generator().manual_seed(0)
    others, attacked = torch.randn(300, generator=g).half().float(), (torch.randn(200, generator=g) + 1).half().float()
    found = scored(others, attacked)
    expected = mannwhitneyu(attacked.numpy(), others.numpy()).statistic / (300 * 200)
    assert of(Auroc, found) == pytest.approx(expected, abs=1e-9)
    points = torch.tensor(curve(found))
    assert len(points) <= 50
    assert points[0].tolist() == [0, 0]
    assert points[-1].tolist() == [1, 1]
    assert float(torch.trapezoid(points[:, 1], points[:, 0])) == pytest.approx(expected, abs=0.01)
    assert of(Auprc, scored(torch.zeros(30), torch.zeros(10))) == pytest.approx(0.25)  # chance is the share attacked
    assert of(Auprc, scored(torch.zeros(30), torch.ones(10))) == 1.0
    assert of(Auroc, scored(torch.zeros(30), torch.zeros(0))) is None


def test_the_threshold_comes_from_clean_episodes_alone() -> None:
    clean = scored(torch.arange(1000.0), torch.zeros(0))
    attacked = torch.tensor([500.0, 989.0, 990.0, 2000.0])
    assert of(TprAt1Fpr, scored(torch.full((1000,), 1e4), attacked), clean) == 0.5
    assert of(TprAt1Fpr, scored(torch.zeros(1), attacked)) is None
    all_alike = scored(torch.ones(100), torch.zeros(0))
    assert of(TprAt1Fpr, scored(torch.zeros(1), torch.ones(4)), all_alike) == 0.0


def episodes(attack: str | None, *defenses: str, **arguments: object) -> Episodes:
    torch.manual_seed(0)
    world = make_world(Choice(name="predator_prey"), 8)
    choice = Choice.model_validate({"name": "commformer", "topology": {"name": "full"}})
    policy = make_policy(choice, world, seed=0)
    attacks = [] if attack is None else [Choice.model_validate({"name": attack, **arguments})]
    comms = make_comms(
        world, policy, attacks, [Choice.model_validate(DEFENSES.get(name, {"name": name})) for name in defenses], 1
    )
    return play(world, policy, comms, 7)


def test_scores_of_defenses_tell_attacked_messages_from_others() -> None:
    names = ("clip", "hold_last")
    clean = {"clean": episodes(None, *names)}
    found = detection(episodes("noise", *names), clean)
    assert found["clip"]["auroc"] == 1.0
    CellRow.model_validate({"variant": "team", "seed": 0, "detection": found}, strict=True)
    assert (found["clip"]["tpr"], found["clip"]["fpr"], found["clip"]["delay"]) == (1.0, 0.0, 0.0)
    assert found["hold_last"]["attacked"] > 0
    strict = ("authenticate", "quarantine")
    found = detection(episodes("noise", *strict), {"clean": episodes(None, *strict)})
    assert (found["authenticate"]["auroc"], found["authenticate"]["tpr_at_1_fpr"]) == (1.0, 1.0)
    assert found["quarantine"]["false_isolations"] == 0


def test_median_scores_without_a_decision_about_single_messages() -> None:
    found = detection(episodes("noise", "median"), {"clean": episodes(None, "median")})["median"]
    assert found["attacked"] > 0
    assert "tpr" not in found
    assert 0 <= found["auroc"] <= 1


def test_delayed_messages_count_as_attacked() -> None:
    found = detection(episodes("delay", "authenticate"), {"clean": episodes(None, "authenticate")})["authenticate"]
    assert found["attacked"] > 0
    assert found["others"] == int(episodes(None, "authenticate").scored["authenticate"].counts.sum())
