"""White box through defenses: what is predicted is what happens, and nothing of the run changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import Attacked, Scripted, attack, comms, defense, same_inbox, team_shape, team_shape_of
from torch import Tensor

from agentcomm.base.errors import ConfigError
from agentcomm.conformance.conversations import Exchange, conversation, reader
from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.threat_model import Position, ThreatModel
from agentcomm.contracts.verdicts import Delivered, Verdicts
from agentcomm.contracts.views import MessageView
from agentcomm.evaluation.play import play
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import make_world

S = team_shape(worlds=4, agents=5, degree=3)
STACKS = (("clip",), ("median",), ("hold_last",), ("authenticate",), ("authenticate", "clip", "median"))


class Knowing(Scripted):
    """Knows the defenses; does what a function of its view says."""

    name = "knowing"

    def __init__(self, s: TeamShape, edits: Callable[[MessageView], MessageEdits], node: int | None = None) -> None:
        position = Position(kind="edge") if node is None else Position(kind="node", node=node)
        super().__init__(s, ("read", "modify"), edits, position, injections=0)
        self._threat = ThreatModel(position, frozenset({"read", "modify"}), "defense")


class Coarse(Defense[DefenseConfig]):
    """Rounds payloads: no gradient passes."""

    name = "coarse"
    order = "content"
    refuses = False

    def aggregate(self, inbox: object, memory: dict[str, Tensor]) -> Tensor | None:
        payload: Tensor = inbox.payload  # type: ignore[attr-defined]
        return payload.round()


class Coin(Defense[DefenseConfig]):
    """Scales payloads by random numbers."""

    name = "coin"
    order = "content"
    refuses = False
    draws = True

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        return Verdicts(scale=delivered.rand(*delivered.present.shape))


def made(*classes: type[Defense]) -> list[Defense]:
    return [defense_(DefenseConfig(), S) for defense_ in classes]


def run(network: Attacked, exchanges: Sequence[Exchange]) -> list[Inbox]:
    out = []
    for e in exchanges:
        out.append(network.exchange(e.spoken, e.links, e.step, e.round, reader))
        network.reset(e.ended)
    return out


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("node", [None, 1])
def test_what_is_predicted_is_what_happens(stack: tuple[str, ...], node: int | None) -> None:
    expected: list[Tensor] = []

    def edits(view: MessageView) -> MessageEdits:
        change = 3 * view.randn(*view.reach.shape, view.width)
        some = view.reach & (view.rand(*view.reach.shape) < 0.5)
        change = torch.where(some.unsqueeze(-1), change, 0.0)
        expected.append(view.predict_logits(change))
        return MessageEdits(modify=some, change=change)

    network = comms(S, [Knowing(S, edits, node)], [defense(name, S) for name in stack])
    inboxes = run(network, conversation(S, 5, closed=0.2))
    for predicted, inbox in zip(expected, inboxes, strict=True):
        torch.testing.assert_close(reader(inbox), predicted, atol=1e-4, rtol=1e-4)


def test_predicting_changes_nothing_of_the_run() -> None:
    exchanges = conversation(S, 5)

    def stack() -> list[Defense]:
        return [*(defense(name, S) for name in ("authenticate", "hold_last", "median")), *made(Coin)]

    def edits(view: MessageView) -> MessageEdits:
        view.predict_logits(torch.ones(*view.reach.shape, view.width))
        return MessageEdits()

    watched, plain = comms(S, [Knowing(S, edits)], stack()), comms(S, [], stack())
    for seen, alone in zip(run(watched, exchanges), run(plain, exchanges), strict=True):
        assert same_inbox(seen, alone)
    ours, theirs = watched.network.snapshot(), plain.network.snapshot()
    assert str(ours["memories"]) == str(theirs["memories"])


@pytest.mark.parametrize("classes", [(Coarse,), (Coin,)])
def test_a_defense_without_gradients_counts_as_the_identity(classes: tuple[type[Defense], ...]) -> None:
    found: list[Tensor] = []

    @torch.enable_grad()
    def edits(view: MessageView) -> MessageEdits:
        change = torch.zeros(*view.reach.shape, view.width, requires_grad=True)
        found.append(torch.autograd.grad(view.predict_logits(change)[..., 0].sum(), change)[0])
        return MessageEdits()

    exchanges = conversation(S, 1, closed=0)
    run(comms(S, [Knowing(S, edits)], made(*classes)), exchanges[:1])
    run(comms(S, [Knowing(S, edits)]), exchanges[:1])
    torch.testing.assert_close(found[0], found[1])


def test_draws_are_not_those_of_the_defense() -> None:
    found: list[Tensor] = []

    def edits(view: MessageView) -> MessageEdits:
        nothing = torch.zeros(*view.reach.shape, view.width)
        found.extend(view.predict_logits(nothing) for _ in range(2))
        return MessageEdits()

    inbox = run(comms(S, [Knowing(S, edits)], made(Coin)), conversation(S, 1, closed=0)[:1])[0]
    assert not torch.allclose(found[0], found[1])
    assert not torch.allclose(found[0], reader(inbox))


def damage(attacks: Sequence[object], stack: Sequence[str]) -> Tensor:
    """The mean loss of the best actions of a reader, over a conversation."""
    exchanges = conversation(S, 3, seed=3, closed=0)
    network = comms(S, attacks, [defense(name, S) for name in stack])  # type: ignore[arg-type]
    plain = comms(S, [], [defense(name, S) for name in stack])
    losses = []
    for attacked, clean in zip(run(network, exchanges), run(plain, exchanges), strict=True):
        best = reader(clean).argmax(-1).flatten()
        losses.append(torch.nn.functional.cross_entropy(reader(attacked).flatten(0, 1), best))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("stack", [("median",), ("clip", "median")])
def test_who_knows_the_defense_does_more_harm_to_it(stack: tuple[str, ...]) -> None:
    arguments = {"epsilon": 1.0, "steps": 4, "links": [[0, 1], [1, 2], [2, 3], [3, 4], [4, 0]]}
    knowing, blind = (attack("gradient", S, adaptive=adaptive, **arguments) for adaptive in (True, False))
    noise = attack("noise", S, epsilon=1.0, links=arguments["links"])
    assert damage([knowing], stack) >= damage([blind], stack) - 1e-3
    assert damage([knowing], stack) > damage([noise], stack)


def test_samples_need_knowledge_of_the_defenses() -> None:
    with pytest.raises(ConfigError, match="needs adaptive=true"):
        attack("gradient", S, samples=4)


def test_the_white_box_is_at_least_as_strong_as_the_black_box_on_a_trained_team() -> None:
    """At equal norm, on a published team; episodes take longer the more harm is done."""
    saved = policy_file.load(Path(__file__).parents[2] / "studies/runs/capture/teams/team-0/policy")
    steps = {}
    arguments: dict[str, Any]
    for name, arguments in (
        ("gradient", {"epsilon": 0.5, "steps": 2}),
        ("noise", {"epsilon": 0.5}),
        ("tamper", {"how": "bias", "strength": 0.5}),
        ("learned", {"untrained": True, "budget": {"norm": 0.5}}),
    ):
        with closing(make_world(saved.environment, 32, "cpu")) as world:
            s = team_shape_of(world, saved.policy)
            steps[name] = play(world, saved.policy, comms(s, [attack(name, s, **arguments)]), 1_000_003).length
    white = steps.pop("gradient").float().mean()
    assert white > 1.5 * max(taken.float().mean() for taken in steps.values())
