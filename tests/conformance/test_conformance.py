"""Every registered policy and attack keeps its contract, and the checks notice those that do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from forms import attack_forms, one_of_each_kind
from thinning import one_of_each_plugin, thinned
from torch import Tensor, nn

from agentcomm.base import registry
from agentcomm.conformance import check_attack, check_policy
from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.policy import CommPolicy, PolicyConfig
from agentcomm.contracts.threat_model import Position, ThreatModel
from agentcomm.contracts.topology import Graph, Topology, TopologyConfig
from agentcomm.contracts.views import MessageView
from agentcomm.contracts.world import World


def make_world(num_worlds: int) -> World:
    config = registry.build_config("environment", "predator_capture_prey", {"size": 4, "max_steps": 5})
    world: World = registry.find("environment", "predator_capture_prey")(config, num_worlds)
    return world


# ---- what is registered

POLICIES = registry.forms("policy")
# Each policy, and all parts that a team can be put together of.
FAST_POLICIES = {*one_of_each_plugin(POLICIES), *(form for form in POLICIES if form.startswith("commformer"))}
FAST_ATTACKS = {*one_of_each_plugin(attack_forms()), *one_of_each_kind(attack_forms())}


@pytest.mark.parametrize("form", thinned(POLICIES, FAST_POLICIES))
def test_registered_policies_conform(form: str) -> None:
    name, arguments = POLICIES[form]
    config = registry.build_config("policy", name, arguments)
    check_policy(lambda world: registry.find("policy", name).for_world(config, world), make_world)


@pytest.mark.parametrize("form", thinned(attack_forms(), FAST_ATTACKS))
def test_registered_attacks_conform(form: str) -> None:
    name, arguments = attack_forms()[form]
    check_attack(registry.find("attack", name), arguments)


# ---- policies that break the contract


class Silent(Topology):
    """Nobody listens."""

    degree = 0

    def __init__(self, agents: int) -> None:
        super().__init__(TopologyConfig())
        self.agents = agents

    @classmethod
    def for_team(cls, config: TopologyConfig, num_agents: int, width: int) -> Topology:
        return cls(num_agents)

    def graph(self, draw: Tensor | None, num_worlds: int, hidden: Tensor | None = None) -> Graph:
        agents = torch.arange(self.agents)
        source = (agents.view(-1, 1) + 1 + torch.arange(self.degree)) % self.agents
        return Graph(source.expand(num_worlds, -1, -1))

    def resize(self, identity: Tensor) -> None:
        self.agents = len(identity)


class Next(Silent):
    """Everybody hears its right-hand neighbor."""

    degree = 1


class SelfListening(Next):
    def graph(self, draw: Tensor | None, num_worlds: int, hidden: Tensor | None = None) -> Graph:
        return Graph(torch.arange(self.agents).view(1, -1, 1).expand(num_worlds, -1, -1))


class Averager(CommPolicy):
    """The smallest policy that conforms: adds the mean of what it hears."""

    name, rounds, width = "averager", 1, 4
    graph = Next

    def __init__(self, config: PolicyConfig, world: World, graph: type[Silent] | None = None) -> None:
        super().__init__(config)
        self.num_agents, self.actions = world.num_agents, world.actions
        self.topology = (graph or self.graph)(world.num_agents)
        self.gate = None
        self.into = nn.Linear(world.layout.width, 4)
        self.out = nn.Linear(4, world.num_actions)
        self.worth = nn.Linear(4, 1)

    @classmethod
    def for_world(cls, config: PolicyConfig, world: World) -> Averager:
        return cls(config, world, Silent if getattr(config, "_silent", False) else None)

    @classmethod
    def without_messages(cls, config: PolicyConfig) -> PolicyConfig:
        return SilentConfig()

    def encode(self, observation: Tensor) -> Tensor:
        return self.into(observation)

    def speak(self, hidden: Tensor, round_: int) -> Tensor:
        return hidden

    def hear(self, hidden: Tensor, inbox: Inbox, round_: int) -> Tensor:
        heard = inbox.payload().masked_fill(~inbox.mask.unsqueeze(-1), 0.0)
        if inbox.weight is not None:
            heard = heard * inbox.weight.unsqueeze(-1)
        return hidden + heard.sum(2) / inbox.mask.sum(2, keepdim=True).clamp_min(1)

    def act(self, hidden: Tensor) -> Tensor:
        return self.out(hidden)

    def value(self, hidden: Tensor) -> Tensor:
        return self.worth(hidden).squeeze(-1)


class SilentConfig(PolicyConfig):
    _silent: bool = True


class Telepath(Averager):
    def encode(self, observation: Tensor) -> Tensor:
        return self.into(observation + observation.mean(1, keepdim=True))


class Deafless(Averager):
    def hear(self, hidden: Tensor, inbox: Inbox, round_: int) -> Tensor:
        return hidden + inbox.payload().sum(2)


class Noisy(Averager):
    def speak(self, hidden: Tensor, round_: int) -> Tensor:
        return hidden + torch.randn(hidden.shape)


class BatchMixing(Averager):
    def act(self, hidden: Tensor) -> Tensor:
        return self.out(hidden - hidden.mean((0, 1)).detach())


class ForgetsOffsets(Averager):
    def hear(self, hidden: Tensor, inbox: Inbox, round_: int) -> Tensor:
        if hidden.requires_grad:  # a shortcut in the update only
            inbox = replace(inbox, scale=None, delta=None)
        return super().hear(hidden, inbox, round_)


class IdlePart(Averager):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.idle = nn.Linear(2, 2)


class WrongWidth(Averager):
    def speak(self, hidden: Tensor, round_: int) -> Tensor:
        return hidden[..., :3]


class WrongActions(Averager):
    def act(self, hidden: Tensor) -> Tensor:
        return super().act(hidden)[..., :-1]


class OwnNeighbor(Averager):
    graph = SelfListening


class TalkativeControl(Averager):
    @classmethod
    def without_messages(cls, config: PolicyConfig) -> PolicyConfig:
        return config


def checking(policy: type[Averager]) -> Callable[[], None]:
    return lambda: check_policy(lambda world: policy.for_world(PolicyConfig(), world), make_world)


def test_the_smallest_policy_conforms() -> None:
    checking(Averager)()


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Telepath, "depend on observations of others"),
        (Deafless, "messages that were not accepted have an effect|depend on observations of others"),
        (Noisy, "give different logits"),
        (BatchMixing, "the other worlds of its batch"),
        (ForgetsOffsets, "changes its log-probabilities"),
        (IdlePart, "no gradient reaches idle.weight, idle.bias"),
        (WrongWidth, "speak returns"),
        (WrongActions, "act returns"),
        (OwnNeighbor, "its own neighbor"),
        (TalkativeControl, "without_messages has links"),
    ],
)
def test_broken_policies_are_noticed(broken: type[Averager], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        checking(broken)()


# ---- attacks that break the contract


class Tap(Attack):
    """Drops what it has counted often enough; the base of the broken ones."""

    name = "tap"

    def threat_model(self) -> ThreatModel:
        return ThreatModel(Position(kind="edge"), frozenset({"read", "drop"}), "none", self.config.budget)

    def memory(self) -> dict[str, Tensor]:
        return {"count": torch.zeros(self.team_shape.num_worlds)}

    def on_messages(self, view: MessageView) -> MessageEdits:
        view.memory["count"] += 1
        return MessageEdits(drop=view.reach & (view.memory["count"] % 3 == 0).view(-1, 1, 1))


class WidensItsBudget(Tap):
    """Puts its own bound in the place of a stricter one."""

    def threat_model(self) -> ThreatModel:
        threat = super().threat_model()
        return replace(threat, budget=threat.budget.model_copy(update={"norm": 1.0}))


class IgnoresBudget(Tap):
    def threat_model(self) -> ThreatModel:
        return ThreatModel(Position(kind="edge"), frozenset({"drop"}))


class Overreaches(Tap):
    def on_messages(self, view: MessageView) -> MessageEdits:
        return MessageEdits(drop=torch.ones_like(view.reach))


class Remembers(Tap):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.calls = 0

    def on_messages(self, view: MessageView) -> MessageEdits:
        self.calls += 1
        return MessageEdits(drop=view.reach & bool(self.calls % 5 == 0))


class Gossips(Tap):
    def on_messages(self, view: MessageView) -> MessageEdits:
        return MessageEdits(drop=view.reach & bool(view.payload[0].sum() > view.payload[1].sum()))


class DrawsElsewhere(Tap):
    def on_messages(self, view: MessageView) -> MessageEdits:
        return MessageEdits(drop=view.reach & (torch.rand(view.reach.shape) < 0.5))


class SharesMemory(Tap):
    kept: dict[str, Tensor] | None = None

    def memory(self) -> dict[str, Tensor]:
        self.kept = self.kept or super().memory()
        return self.kept


class WrongMemory(Tap):
    def memory(self) -> dict[str, Tensor]:
        return {"count": torch.zeros(self.team_shape.num_worlds + 1)}


class WrongRisk(Tap):
    risks = ("spoofing",)


class UndescribedConfig(AttackConfig):
    strength: float = 1.0


class Undescribed(Tap):
    Config = UndescribedConfig


def test_the_smallest_attack_conforms() -> None:
    check_attack(Tap)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (WidensItsBudget, "threat_model allows norm=1.0, although its budget says 0"),
        (IgnoresBudget, "acts without a budget"),
        (Overreaches, "more than its threat model allows: .*drop out of reach"),
        (Remembers, "keeps state outside its memory"),
        (Gossips, "not independent of each other"),
        (DrawsElsewhere, "global generator"),
        (SharesMemory, "it must create new tensors"),
        (WrongMemory, "leading dimension 4, not 3"),
        (WrongRisk, "'spoofing' is not a risk id"),
        (Undescribed, "argument 'strength' has no description"),
    ],
)
def test_broken_attacks_are_noticed(broken: type[Attack], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_attack(broken)
