"""Whom a centralized scheduler lets agents hear can tell them something by itself."""

from __future__ import annotations

from pathlib import Path

from agentcomm.runs import policy_file
from agentcomm.runs.assembly import make_comms, make_world
from agentcomm.runs.config import load
from agentcomm.step.loop import TeamLoop

RUN = Path(__file__).parents[2] / "studies" / "runs" / "whisper"
WORLDS, SYMBOLS = 512, 4


def test_a_team_names_a_symbol_that_most_of_it_cannot_have_heard_of() -> None:
    """One exchange brings the symbol to one agent at most besides its holder."""
    config = load(RUN / "config.yaml", trust=True)
    policy = policy_file.load(RUN / "teams" / "team-0" / "policy").policy
    world = make_world(config.environment, WORLDS)
    loop = TeamLoop(world, policy, make_comms(world, policy, transport=config.transport))
    loop.reset(0)
    symbol = world.state["symbol"].clone()
    named = loop.step().decision.action
    right = (named == symbol.unsqueeze(1)).sum(1).float()
    wrong = ((named != symbol.unsqueeze(1)) & (named < SYMBOLS)).sum(1).float()  # the last action is to pass
    of_symbol = [float(right[symbol == one].mean()) for one in range(SYMBOLS)]
    assert max(of_symbol) > 8.0, "of 16 agents, two of which can know it"
    assert sorted(of_symbol)[2] < 2.5, "the other symbols are heard of, not told by the graph"
    assert float(wrong.mean()) < 1.0, "nor do they guess"
