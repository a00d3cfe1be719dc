"""Calibration: defenses learn from clean episodes of the very team, once, and judge nothing before that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from builders import comms, team_shape
from small import small, untrained
from torch import Tensor

from agentcomm import api
from agentcomm.base.errors import RequirementError
from agentcomm.base.seeds import derive
from agentcomm.conformance.conversations import conversation
from agentcomm.contracts.calibrating import learn, take_over
from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.examples import Examples
from agentcomm.contracts.verdicts import Delivered, Verdicts
from agentcomm.evaluation import calibration
from agentcomm.evaluation.calibration import Clean, calibrate, examples
from agentcomm.runs.assembly import check_training, make_policy, make_world, shape_of
from agentcomm.runs.choices import PLAIN_TRANSPORT, Choice, TransportConfig
from agentcomm.step.comms import Comms
from agentcomm.step.loop import TeamLoop


class Learner(Defense):
    order = "content"
    calibration = 3
    lossless = False
    calls: ClassVar[list[int]] = []

    def calibrate(self, examples: Examples) -> None:
        self.calls.append(examples.episodes)
        self.mean = examples.payload[examples.present].mean(0)
        self.drawn = float(torch.rand((), generator=examples.generator)), float(torch.rand(()))

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        return Verdicts(score=(delivered.payload - self.mean).norm(dim=-1))


def clean_team(sampled: bool = False, transport: TransportConfig = PLAIN_TRANSPORT, **policy: Any) -> Clean:
    world = make_world(Choice(name="predator_prey"), 2)
    choice = {"name": "commformer", "topology": {"name": "full"}} | policy
    return Clean(world, make_policy(Choice.model_validate(choice), world, seed=3), transport, sampled, seed=5)


@pytest.mark.parametrize("policy", [{"name": "commformer"}, {"name": "commnet", "rounds": 2}])
def test_examples_are_what_receivers_get_and_logits_are_what_they_do(policy: dict[str, Any]) -> None:
    clean = clean_team(**policy)
    found = examples(clean, 4)
    assert found.episodes == 4
    assert found.payload.shape == (len(found.step), 3, 2, clean.policy.width)
    world = make_world(Choice(name="predator_prey"), 4)
    again = examples(replace(clean, world=world), 4)
    assert torch.equal(found.payload, again.payload)
    payload = found.payload.clone().requires_grad_()
    logits = found.logits(payload)
    (gradient,) = torch.autograd.grad(logits.square().sum(), payload)
    assert (gradient[found.present].abs().sum(-1) > 0).any()
    first = found.take(found.episode == 0)
    torch.testing.assert_close(first.logits(first.payload), logits[found.episode == 0].detach())
    early, late = found.split(0.5)
    assert set(early.episode.tolist()) == {0, 1}
    assert set(late.episode.tolist()) == {2, 3}


def test_the_logits_are_those_of_the_loop() -> None:
    clean = clean_team()
    found = examples(clean, 2)
    own = make_world(Choice(name="predator_prey"), 2)
    loop = TeamLoop(own, clean.policy, Comms.between(shape_of(own, clean.policy)))
    loop.reset(derive(clean.seed, "calibration"))
    record = loop.step()
    logits = found.logits(found.payload)
    for round_ in range(clean.policy.rounds):  # both predict the same end of the step
        at = (found.step == 0) & (found.round == round_)
        torch.testing.assert_close(logits[at], record.decision.logits)


def test_delayed_messages_and_sampled_teams_are_examples_of_their_own() -> None:
    late = TransportConfig.model_validate({"channels": [{"name": "delay"}]})
    plain, delayed, sampled = (examples(c, 3) for c in (clean_team(), clean_team(transport=late), clean_team(True)))
    assert delayed.present.sum() < plain.present.sum()
    assert not torch.equal(sampled.payload[:6], plain.payload[:6]) or len(sampled.step) != len(plain.step)


def test_a_defense_learns_once_and_hands_it_over() -> None:
    clean, config = clean_team(), DefenseConfig()
    Learner.calls.clear()
    one, many = (Learner(config, replace(shape_of(clean.world, clean.policy), num_worlds=b)) for b in (1, 9))
    calibrate([one], clean)
    calibrate([one], clean)
    calibrate([many], clean)
    assert Learner.calls == [3]
    assert many.calibrated
    assert torch.equal(one.mean, many.mean)
    other = Learner(config, one.team_shape)
    before = torch.get_rng_state()
    assert learn(other, examples(clean, 3), clean.seed)["drawn"] == one.drawn
    assert torch.equal(torch.get_rng_state(), before)


def test_without_calibration_it_judges_nothing() -> None:
    shape = team_shape()
    learner = Learner(DefenseConfig(), shape)
    network = comms(shape, [], [learner])
    exchange = conversation(shape, 1)[0]
    with pytest.raises(RequirementError, match="has not been calibrated"):
        network.exchange(exchange.spoken, exchange.links, exchange.step, exchange.round)
    take_over(learner, {"mean": torch.zeros(shape.width), "calibrated": True})
    network.exchange(exchange.spoken, exchange.links, exchange.step, exchange.round)


def test_rows_are_the_same_again_in_a_process_that_knows_nothing(tmp_path: Path) -> None:
    run = untrained(tmp_path, "control=false")
    rows = api.evaluate(run, [], ["gaussian_process:unauthenticated=true"])
    assert rows[1]["detection"]["gaussian_process"]["others"] > 0
    calibration._played.clear()
    calibration._learned.clear()
    assert [one.differences for one in api.rerun(run, everything=True)] == [(), ()]


def test_teams_cannot_be_trained_under_it() -> None:
    with pytest.raises(RequirementError, match="256 clean episodes of the trained team, which does not exist yet"):
        check_training(small(defenses=[{"name": "graph_anomaly"}]))
