"""What teams of whisper learn about the symbol without messages: from a scheduler for all, and from lost messages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from torch import Tensor

from agentcomm.runs import policy_file
from agentcomm.runs.assembly import make_comms, make_world
from agentcomm.runs.config import load
from agentcomm.step.decide import Decision
from agentcomm.step.loop import TeamLoop
from envs.whisper import Whisper

RUNS = Path(__file__).parents[2] / "studies" / "runs"
WORLDS, SYMBOLS = 512, 4


def one_step(run: str, team: int) -> tuple[Whisper, Decision]:
    """Worlds as they were when the team decided, and what it decided after one exchange."""
    config = load(RUNS / run / "config.yaml", trust=True)
    policy = policy_file.load(RUNS / run / "teams" / f"team-{team}" / "policy").policy
    world = make_world(config.environment, WORLDS)
    assert isinstance(world, Whisper)
    loop = TeamLoop(world, policy, make_comms(world, policy, transport=config.transport))
    loop.reset(0)
    return world, loop.step().decision


def test_a_scheduler_for_all_tells_agents_a_symbol_that_they_cannot_have_heard_of() -> None:
    """One exchange brings the symbol to one agent at most besides its holder."""
    world, decision = one_step("whisper", 0)
    symbol, named = world.state["symbol"], decision.action
    right = (named == symbol.unsqueeze(1)).sum(1).float()
    wrong = ((named != symbol.unsqueeze(1)) & (named < SYMBOLS)).sum(1).float()  # the last action is to pass
    of_symbol = [float(right[symbol == one].mean()) for one in range(SYMBOLS)]
    assert max(of_symbol) > 8.0, "of 16 agents, two of which can know it"
    assert sorted(of_symbol)[2] < 2.5, "the other symbols are heard of, not told by the graph"
    assert float(wrong.mean()) < 1.0, "nor do they guess"


def without_a_message(run: str, team: int) -> tuple[Tensor, Tensor]:
    """[B, N], who names the symbol without having heard of it, and who lost a message to its holder."""
    world, decision = one_step(run, team)
    sender, heard = decision.links[..., 0], decision.inboxes[0].mask[..., 0]
    holder = world.state["holder"].unsqueeze(1)
    told = world.holding | ((sender == holder) & heard)
    untold = (decision.action == world.state["symbol"].unsqueeze(1)) & ~told
    return untold, ~heard & (sender == sender.gather(1, holder))


def test_a_lost_message_can_tell_a_symbol() -> None:
    untold, beaten = without_a_message("whisper_individual", 0)
    assert int(untold.sum()) > 0.05 * WORLDS
    assert bool((untold <= beaten).all())


@pytest.mark.parametrize(
    ("run", "team"), [("whisper_individual", 5), ("whisper_individual", 9), ("whisper_distance", 0)]
)
def test_receivers_that_choose_learn_a_symbol_without_a_message_only_by_losing_one_to_its_holder(
    run: str, team: int
) -> None:
    untold, beaten = without_a_message(run, team)
    assert int((untold & ~beaten).sum()) <= 0.001 * untold.numel(), "nobody else knows, but by guessing"


def test_by_messages_alone_the_best_order_earns_its_known_answer_and_a_scheduler_that_tells_less(
    scripts: Callable[[str], ModuleType],
) -> None:
    answers, by_messages = scripts("answers"), scripts("spread").by_messages
    right, matching = (answers.value(answers.whisper(16, graph)) for graph in ("one_peer", "matching"))
    assert by_messages(RUNS / "whisper_one_peer", 0, 64) == pytest.approx(right, abs=1e-6)
    assert by_messages(RUNS / "whisper", 0, WORLDS) < matching
