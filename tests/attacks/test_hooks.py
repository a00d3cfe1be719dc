"""An attack overrides the hooks that it needs: which these are, what they share, and how the adversary calls them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from builders import Scripted, comms, team_shape
from torch import Tensor

from agentcomm.base import registry
from agentcomm.base.errors import NumberError, ThreatModelError
from agentcomm.conformance import check_attack
from agentcomm.conformance.conversations import conversation
from agentcomm.contracts.attack import HOOKS, Attack, AttackConfig, hooks
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.threat_model import Budget, Position, ThreatModel
from agentcomm.contracts.views import ActionView, MessageView, ObservationView, RewardView
from agentcomm.step.adversary import Adversary

S = team_shape()


class Hookless(Attack):
    """Overrides nothing; the base of the others."""

    powers: Any = frozenset()

    def threat_model(self) -> ThreatModel:
        return ThreatModel(Position(kind="node", node=1), self.powers, "none", self.config.budget)


class Both(Hookless):
    """Drops a message and changes a reward, of one budget and in one memory."""

    powers = frozenset({"drop", "reward"})

    def memory(self) -> dict[str, Tensor]:
        return {"dropped": torch.zeros(self.team_shape.num_worlds)}

    def on_messages(self, view: MessageView) -> MessageEdits:
        view.memory["dropped"] += view.reach.flatten(1).any(1)
        return MessageEdits(drop=view.reach)

    def on_rewards(self, view: RewardView) -> Tensor:
        return view.reward - view.memory["dropped"].unsqueeze(1)


class Actor(Hookless):
    powers = frozenset({"act"})

    def on_action(self, view: ActionView) -> Tensor:
        return view.probability.unsqueeze(1)


def test_every_registered_attack_has_a_hook_and_only_those_that_it_overrides() -> None:
    assert hooks(Hookless) == frozenset()
    assert hooks(Both) == {"on_messages", "on_rewards"}
    assert hooks(type("Inherits", (Both,), {})) == hooks(Both)
    found = {name: hooks(registry.find("attack", name)) for name in registry.names("attack")}
    assert all(found.values())
    assert frozenset().union(*found.values()) == set(HOOKS), "each hook is used by some attack"
    assert found["covert"] == {"on_action"}
    assert found["force_gate"] == {"on_observations"}
    assert found["half_open"] == {"on_directory"}
    assert found["backdoor"] == {"on_messages", "on_rewards"}


def test_hooks_share_budget_memory_and_randomness() -> None:
    n = comms(S, [Both(AttackConfig(budget=Budget(per_step=3)), S)])
    base = n.adversary.guards[0]
    assert n.adversary.message_guards[0].base is n.adversary.reward_guards[0].base is base
    for e in conversation(S, 3, ends=0, closed=0):
        n.exchange(e.spoken, e.links, e.step, e.round)
        if e.round == S.rounds - 1:
            reward = n.adversary.on_rewards(torch.zeros(S.num_worlds, S.num_agents), torch.zeros(0), e.step)
    assert (base.spent == 9).all(), "three in each step, over both hooks"
    assert torch.equal(base.spent, base.total)
    assert (reward <= 0).all()
    n.reset(torch.tensor([1]))
    assert base.spent.tolist() == [9, 0, 9]
    assert base.total.tolist() == [9, 9, 9], "over all episodes"
    assert base.memory.tensors["dropped"][1] == 0


def test_an_adversary_is_saved_and_restored_with_all_that_its_guards_keep() -> None:
    first, second = (comms(S, [Both(AttackConfig(), S), Actor(AttackConfig(), S)], seed=4) for _ in range(2))
    for e in conversation(S, 3, ends=0):
        first.exchange(e.spoken, e.links, e.step, e.round)
    second.restore(first.snapshot())
    for a, b in zip(first.guards, second.guards, strict=True):
        assert torch.equal(a.spent, b.spent)
        assert all(torch.equal(value, b.memory.tensors[name]) for name, value in a.memory.tensors.items())
        assert torch.equal(a.generator.get_state(), b.generator.get_state())
        assert a.violations == b.violations


def test_attacks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="two attacks act for the same node"):
        Adversary([Actor(AttackConfig(), S), Actor(AttackConfig(), S)], S, 0)
    blast = registry.find("attack", "blast")
    with pytest.raises(ValueError, match="blast acts on a directory, but there is none"):
        Adversary([blast(blast.Config(), S)], S, 0)


def test_a_view_says_what_it_takes_to_see_more() -> None:
    seen: list[MessageView] = []

    def look(view: MessageView) -> MessageEdits:
        seen.append(view)
        return MessageEdits()

    n, e = comms(S, [Scripted(S, ["read"], look)]), conversation(S, 1)[0]
    n.exchange(e.spoken, e.links, e.step, e.round, lambda inbox: inbox.payload())
    view = seen[0]
    assert view.shows("payload")
    assert not view.shows("predict_logits")
    with pytest.raises(
        ThreatModelError, match=r"reads view\.predict_logits, which requires knowledge 'policy'.*'protocol'"
    ):
        _ = view.predict_logits
    with pytest.raises(AttributeError, match="MessageView has no attribute 'wisdom'"):
        _ = view.wisdom  # type: ignore[attr-defined]


# ---- attacks that break the contract of a hook


class Blinds(Hookless):
    """Shows agents what no sensor could, from where it holds no sensors of theirs."""

    powers = frozenset({"read", "modify"})

    def threat_model(self) -> ThreatModel:
        return ThreatModel(Position(kind="sensor", node=1), self.powers, "none", self.config.budget)

    def on_observations(self, view: ObservationView) -> Tensor:
        return view.observation + 100


class Bribes(Both):
    """More than its own bound."""

    def on_rewards(self, view: RewardView) -> Tensor:
        return view.reward / 0


class Ignores(Actor):
    """No budget keeps it from acting."""

    def threat_model(self) -> ThreatModel:
        return ThreatModel(Position(kind="node", node=1), self.powers)

    def on_action(self, view: ActionView) -> Tensor:
        return view.probability.roll(1, -1).unsqueeze(1)


class Counts(Both):
    """In an attribute, not in its memory."""

    calls = 0

    def on_rewards(self, view: RewardView) -> Tensor:
        self.calls += 1
        return view.reward + self.calls


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Hookless, "it overrides no hook"),
        (Blinds, "show what no sensor could|modify out of reach"),
        (Ignores, "threat_model ignores|although its budget says 0"),
        (Counts, "keeps state outside its memory"),
    ],
)
def test_broken_hooks_are_noticed(broken: type[Attack], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_attack(broken)


def test_rewards_that_are_not_finite_are_named() -> None:
    with pytest.raises(NumberError, match=r"what on_rewards returns is .* in world"):
        check_attack(Bribes)


@pytest.mark.parametrize("whole", [Both, Actor])
def test_whole_ones_conform(whole: type[Attack]) -> None:
    check_attack(whole)
