"""Whom a centralized scheduler lets agents hear can tell them something by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentcomm.runs import policy_file
from agentcomm.runs.assembly import make_comms, make_world
from agentcomm.runs.config import load
from agentcomm.step.loop import TeamLoop

RUNS = Path(__file__).parents[2] / "studies" / "runs"
WORLDS, SYMBOLS = 512, 4


def named_at_once(run: str, team: int) -> tuple[list[float], float]:
    """How many agents name the symbol after one exchange, for each symbol, and how many name a wrong one."""
    config = load(RUNS / run / "config.yaml", trust=True)
    policy = policy_file.load(RUNS / run / "teams" / f"team-{team}" / "policy").policy
    world = make_world(config.environment, WORLDS)
    loop = TeamLoop(world, policy, make_comms(world, policy, transport=config.transport))
    loop.reset(0)
    symbol = world.state["symbol"].clone()
    named = loop.step().decision.action
    right = (named == symbol.unsqueeze(1)).sum(1).float()
    wrong = ((named != symbol.unsqueeze(1)) & (named < SYMBOLS)).sum(1).float()  # the last action is to pass
    return [float(right[symbol == one].mean()) for one in range(SYMBOLS)], float(wrong.mean())


def test_a_team_names_a_symbol_that_most_of_it_cannot_have_heard_of() -> None:
    """One exchange brings the symbol to one agent at most besides its holder."""
    of_symbol, wrong = named_at_once("whisper", 0)
    assert max(of_symbol) > 8.0, "of 16 agents, two of which can know it"
    assert sorted(of_symbol)[2] < 2.5, "the other symbols are heard of, not told by the graph"
    assert wrong < 1.0, "nor do they guess"


@pytest.mark.parametrize("team", [0, 5, 9])
def test_receivers_that_choose_by_themselves_are_told_nothing_by_the_graph(team: int) -> None:
    of_symbol, wrong = named_at_once("whisper_individual", team)
    assert max(of_symbol) <= 2.0 + wrong, "two can know it, and others name it by guessing"
