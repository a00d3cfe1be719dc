"""A schedule changes the environment of training, phase by phase, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small import small_data

from agentcomm.base.errors import AgentcommError
from agentcomm.cli.template import template
from agentcomm.runs.assembly import check_training
from agentcomm.runs.choices import Choice
from agentcomm.runs.config import RunConfig, dump, parse
from agentcomm.runs.schedule import Phase, Setup
from agentcomm.training import checkpoint
from agentcomm.training.algorithm import CommPPOConfig
from benchmarks.plain_loop import PlainLoop

GRID = Choice(name="predator_capture_prey", observation="indices", max_steps=8)
# Two iterations of 128 steps in each phase: a ramp, then members that fail, then the environment of the config.
SCHEDULE = [
    {"until": 0.33, "environment": {"max_steps": {"from": 3, "to": 5}}, "channels": {"loss": {"probability": 0.3}}},
    {"until": 0.66, "environment": {"failure": 0.2}},
]


LOSSY = "transport.channels=[loss]"


def scheduled(*overrides: str, schedule: Any = SCHEDULE) -> RunConfig:
    data = small_data("training.env_steps=768", "training.checkpoint_every=100", *(overrides or (LOSSY,)))
    data["training"]["schedule"] = schedule
    return parse(data, "test config")


def changes(progress: float, *phases: dict[str, Any]) -> dict[str, Any]:
    """What the environment of training differs in from the config's."""
    now = Setup(GRID).at([Phase.model_validate(phase) for phase in phases], progress).environment.arguments
    return {key: value for key, value in now.items() if GRID.arguments.get(key) != value}


def test_phases_follow_each_other_and_numbers_move() -> None:
    first = {"until": 0.5, "environment": {"max_steps": {"from": 10, "to": 20}, "failure": {"from": 0.0, "to": 0.5}}}
    second = {"until": 0.75, "environment": {"size": 7}}
    assert changes(0.0, first, second) == {"max_steps": 10, "failure": 0.0}
    assert changes(0.26, first, second) == {"max_steps": 15, "failure": pytest.approx(0.26)}
    assert changes(0.5, first, second) == changes(0.7, first, second) == {"size": 7}
    assert changes(0.75, first, second) == changes(1.0, first, second) == changes(0.0) == {}


@pytest.mark.parametrize(
    ("schedule", "why"),
    [
        ([{"until": 0.5, "environment": {"sizee": 7}}], r"schedule\[0\].environment: .*sizee.*size"),
        ([{"until": 0.5, "environment": {"size": {"from": 7, "to": 999}}}], r"schedule\[0\].environment: .*size.*40"),
        ([{"until": 0.5, "environment": {"size": {"from": 7}}}], r"environment.size: .*exactly 'from' and 'to'"),
        ([{"until": 0.5, "environment": {"size": {"from": 7, "to": "x"}}}], r"environment.size.to must be a number"),
        ([{"until": 0.5, "environment": {"name": "agreement"}}], "'name' cannot be changed"),
        ([{"until": 0.5, "environment": {}}, {"until": 0.5, "environment": {}}], "put the phases in order"),
        ([{"until": 1.5, "environment": {}}], "until.*1.5"),
        ([{"environment": {}}], "until"),
        ([{"until": 0.5, "channels": {"loss": {"probability": 2}}}], r"schedule\[0\].channels.loss: .*probability"),
        ([{"until": 0.5, "channels": {"delay": {}}}], r"the run has 0 channels of the name 'delay', .*it has: loss"),
        ([{"until": 0.5, "channels": {"loss": {"probability": {"to": 1}}}}], r"loss.probability: .*exactly 'from'"),
    ],
)
def test_mistakes_are_named(schedule: Any, why: str) -> None:
    with pytest.raises(AgentcommError, match=f"(?s){why}"):
        scheduled(schedule=schedule)


def test_a_schedule_cannot_change_what_the_policy_is_built_for() -> None:
    check_training(scheduled())
    with pytest.raises(AgentcommError, match=r"schedule\[0\].environment changes the observation from .*; a schedule"):
        check_training(scheduled(schedule=[{"until": 0.5, "environment": {"size": 6}}]))
    with pytest.raises(AgentcommError, match=r"schedule\[0\].environment changes the agents from"):
        check_training(scheduled(schedule=[{"until": 0.5, "environment": {"perception_agents": 3}}]))


def test_it_is_recorded_and_offered_by_init() -> None:
    run = scheduled()
    assert parse({**small_data(), **run.model_dump(mode="json")}, "again").training.schedule == run.training.schedule
    assert "schedule" in dump(run)
    assert "  schedule: []" in template("mine", GRID, Choice(name="commformer"))


def test_episodes_continue_where_they_can_and_the_ratio_is_one() -> None:
    plain = PlainLoop(scheduled())
    lengths, caps = [], []
    for _ in range(6):
        before = plain.sampler.world.length.clone()
        plain.sampler.follow_schedule(plain.env_steps / 768)
        lengths.append((before, plain.sampler.world.length.clone()))
        fragment = plain.sampler.collect(8)
        caps.append((plain.sampler.world.max_steps, "alive" in fragment.columns))
        plain.env_steps += fragment.env_steps
        found = plain.update.run(fragment.columns)
        assert found["first_ratio_error"] < 1e-5
    assert caps == [(3, False), (4, False), (8, True), (8, True), (8, False), (8, False)]
    assert torch.equal(*lengths[1])
    assert bool((lengths[2][1] == 0).all()), "members that fail have another state, so new episodes start"
    assert len(plain.evaluate(16)) > 0
    assert plain.run.environment.arguments["max_steps"] == 8


def test_losses_rise_and_what_attacks_and_channels_remember_stays() -> None:
    """Of 8 x 16 worlds' steps: no loss at first, then more and more; generators and counters go on."""
    ramp = {"probability": {"from": 0.0, "to": 0.9}}
    run = scheduled(
        LOSSY,
        "attacks=[{name: noise, probability: 0.5}]",
        "defenses=[hold_last]",
        schedule=[{"until": 0.66, "channels": {"loss": ramp}, "attacks": {"noise": {"epsilon": {"from": 0, "to": 2}}}}],
    )
    check_training(run)
    plain, lost, before = PlainLoop(run), [], 0
    for _ in range(6):
        plain.sampler.follow_schedule(plain.env_steps / 768)
        comms = plain.sampler.comms
        assert int(comms.network.ledger["sent"].sum()) >= before, "counters go on"
        fragment = plain.sampler.collect(8)
        before = int(comms.network.ledger["sent"].sum())
        lost.append(fragment.messages["lost"] / fragment.messages["sent"])
        plain.env_steps += fragment.env_steps
        assert plain.update.run(fragment.columns)["first_ratio_error"] < 1e-5
    assert lost[0] == 0
    assert lost[1] < lost[2] < lost[3]
    assert lost[4] < 0.2, "afterwards, that of the config"


@pytest.mark.ray
@pytest.mark.usefixtures("ray_running")
@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_resumed_team_equals_an_uninterrupted_one(tmp_path: Path, at: int) -> None:
    """Interrupted within a phase, before a switch that keeps episodes, and before one that does not."""
    run = scheduled("training.evaluate_every=1", LOSSY)
    plain, algorithm = PlainLoop(run), CommPPOConfig().team(run, "team", 0).build_algo()
    for _ in range(at):
        plain.iterate()
        algorithm.train()
    path = checkpoint.save(algorithm, tmp_path, keep=1)
    algorithm.stop()
    resumed = CommPPOConfig().team(run, "team", 0).build_algo()
    checkpoint.restore(resumed, path)
    for _ in range(2):
        plain.iterate()
        resumed.train()
    evaluated = resumed.eval_env_runner._evaluated
    resumed.stop()
    assert (evaluated.max_steps, evaluated.loses_members) == (8, False)
    ours, theirs = plain.policy.state_dict(), resumed.env_runner.module.policy.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
