"""Success of third-party environments: what they say themselves, or what the user says; otherwise it is unknown."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
import torch

from agentcomm.base.modules import permit
from agentcomm.cli import tables
from agentcomm.evaluation.metrics import measure
from agentcomm.evaluation.play import play
from agentcomm.runs.assembly import make_comms, make_policy, make_world
from agentcomm.runs.choices import Choice

# It calls its own time limit of 50 steps a termination.
FORAGING = {"name": "gymnasium", "make": "lbforaging:Foraging-8x8-2p-2f-v3", "max_steps": 100}
OURS = {"name": "pettingzoo", "make": "envs.gridworld.predator_prey:parallel_env", "max_steps": 30}


@pytest.fixture(autouse=True)
def permitted() -> None:
    permit(["lbforaging", "envs.gridworld.predator_prey"])


def played(arguments: dict[str, Any], worlds: int = 3) -> Any:
    with closing(make_world(Choice.model_validate(arguments), worlds)) as world:
        policy = make_policy(Choice(name="ippo"), world)
        return play(world, policy, make_comms(world, policy, (), ()), 0)


def test_the_end_of_an_episode_by_itself_is_no_success() -> None:
    episodes = played(FORAGING)
    assert episodes.length.max() == 50
    assert not episodes.success_known
    assert "success" not in {name for name, value in measure(episodes).items() if value is not None}


def test_the_user_may_say_that_termination_is_success() -> None:
    episodes = played(FORAGING | {"success": "terminated"})
    assert measure(episodes)["success"] == 1.0


def test_an_environment_that_says_it_is_believed() -> None:
    episodes = played(OURS)
    assert episodes.success_known
    assert measure(episodes)["success"] == float(episodes.success.float().mean())


def test_training_reports_no_unknown_success() -> None:
    with closing(make_world(Choice.model_validate(FORAGING), 2)) as world:
        world.reset(seed=0)
        for _ in range(50):
            step = world.step(torch.zeros(2, 2, dtype=torch.int64))  # both do nothing
        assert step.terminated.all()
        assert not step.success_known.any()


@pytest.mark.parametrize(("success", "shown"), [(None, "4.00"), (0.5, "4.00 (0.50)")])
def test_the_table_leaves_out_what_is_not_known(success: float | None, shown: str) -> None:
    row = {"attack": None, "defense_label": "none", "variant": "team", "status": "ok", "conditions_label": ""}
    table = tables.cells([row | {"metrics": {"mean_return": 4.0, "success": success}}])
    assert list(table.columns[1].cells) == [shown]
