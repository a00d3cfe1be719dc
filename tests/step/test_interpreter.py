"""The obedient interpreter: who is told what, who obeys, and that nothing happens to who is told nothing."""

from __future__ import annotations

import pytest
import torch
from builders import attack, comms, team, team_shape_of
from torch import Tensor

from agentcomm.contracts.discrete import Discrete
from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.outcome import Episodes
from agentcomm.evaluation.play import play
from agentcomm.step.decide import decide
from agentcomm.step.interpreter import Interpreter, directive, threshold


def reading(obedience: float = 1.0, actions: int = 3, width: int = 32, seed: int = 0) -> Interpreter:
    return Interpreter(obedience, Discrete(tuple(map(str, range(actions)))), width, torch.Generator().manual_seed(seed))


def inbox(payload: Tensor, mask: Tensor | None = None) -> Inbox:
    """One agent's slots [M, D], in a world of its own."""
    count, width = payload.shape
    slots = torch.zeros(1, 1, count, dtype=torch.int64)
    mask = torch.ones(count, dtype=torch.bool) if mask is None else mask
    said, mine = torch.zeros(1, 1, width), mask.view(1, 1, -1)
    return Inbox(said, slots, mine, slots, torch.zeros(1, 1, count), payload.view(1, 1, count, width))


def told(*payloads: Tensor, mask: list[bool] | None = None) -> int:
    """What an agent does that decided on 9 and accepted these messages."""
    interpreter = reading()
    interpreter.begin(1, 1)
    interpreter.read(inbox(torch.stack(payloads), None if mask is None else torch.tensor(mask)))
    return int(interpreter.obey(torch.tensor([9]), torch.tensor([0])))


def test_a_directive_is_obeyed_whatever_its_length_and_nothing_else_is() -> None:
    word, other = directive(1, 32), directive(2, 32)
    assert word.norm() == pytest.approx(32**0.5, abs=1e-4)
    assert told(word) == told(0.01 * word) == 1
    assert told(-word) == told(torch.zeros(32)) == told(torch.randn(32)) == 9
    across = torch.randn(32)
    across -= (across @ word) / (word @ word) * word
    across *= word.norm() / across.norm()
    assert threshold(32) == pytest.approx(0.7071, abs=1e-4)
    assert told(word + 0.95 * across) == 1, "a cosine of 0.725"
    assert told(word + 1.05 * across) == 9, "a cosine of 0.690"
    assert told(word + 0.5 * across, other) == 2, "the clearest of several"
    assert told(other, word + 0.5 * across, mask=[False, True]) == 1, "what is not accepted is not read"
    assert not torch.equal(directive(0, 32), word)
    assert torch.equal(directive(1, 32), word), "public, and the same for everybody"


@pytest.mark.parametrize("obedience", [0.0, 0.3, 1.0])
def test_who_is_told_obeys_so_often_and_the_same_members_at_higher_obedience(obedience: float) -> None:
    obeys = []
    for chance in (obedience, min(obedience + 0.2, 1.0)):
        interpreter = reading(chance, seed=3)
        interpreter.begin(4_000, 1)
        message = directive(0, 32).expand(4_000, 1, 1, 32)
        slots = torch.zeros(4_000, 1, 1, dtype=torch.int64)
        interpreter.read(Inbox(torch.zeros(4_000, 1, 32), slots, slots == 0, slots, 0.0 * slots, message))
        obeys.append(interpreter.obey(torch.full((4_000,), 2), torch.arange(4_000)) == 0)
    assert abs(float(obeys[0].float().mean()) - obedience) < 0.03
    assert not (obeys[0] & ~obeys[1]).any()


def test_obedience_is_a_probability() -> None:
    with pytest.raises(ValueError, match="a probability, not"):
        reading(1.5)


def episodes(obedience: float, action: int | None = None, **policy: object) -> Episodes:
    world, made = team(64, **policy)  # type: ignore[arg-type]
    s = team_shape_of(world, made)
    attacks = [] if action is None else [attack("directive", s, action=action)]
    return play(world, made, comms(s, attacks), 7, obedience=obedience)


def test_a_team_that_is_told_nothing_plays_on_bit_for_bit() -> None:
    plain, obedient = episodes(0.0), episodes(1.0)
    assert torch.equal(plain.actions, obedient.actions)
    assert torch.equal(plain.total_reward, obedient.total_reward)


@pytest.mark.parametrize("decoder", ["parallel", "autoregressive"])
def test_a_team_that_is_told_does_as_it_obeys(decoder: str) -> None:
    shares = []
    for obedience in (0.0, 0.5, 1.0):
        played = episodes(obedience, action=2, decoder=decoder)
        shares.append(float(played.actions[:, 2].sum() / played.actions.sum()))
    assert shares[2] == 1
    assert abs(shares[1] - (0.5 + 0.5 * shares[0])) < 0.12
    assert int(played.actions.sum()) == int(played.length.sum()) * 3


def test_the_policys_law_is_recorded_as_it_is() -> None:
    world, policy = team(8)
    s = team_shape_of(world, policy)
    graph = policy.topology.graph(None, 8)
    observation, at = world.reset(seed=1), torch.zeros(8, dtype=torch.int64)
    runs = []
    for obedience in (0.0, 1.0):
        interpreter = Interpreter(obedience, policy.actions, policy.width, torch.Generator().manual_seed(0))
        network = comms(s, [attack("directive", s, action=1)])
        runs.append(decide(policy, observation, graph, network, at, None, interpreter=interpreter))
    assert torch.equal(runs[0].logits, runs[1].logits)
    assert (runs[1].action == 1).all()
