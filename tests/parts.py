"""What the tests of messages, attacks, defenses, policies and training share: small teams, random conversations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from agentcomm.base import registry
from agentcomm.conformance.conversations import Exchange as Exchange
from agentcomm.conformance.conversations import conversation as conversation
from agentcomm.conformance.conversations import reader
from agentcomm.contracts.attack import Attack
from agentcomm.contracts.channel import Channel
from agentcomm.contracts.codec import Codec
from agentcomm.contracts.defense import Defense
from agentcomm.contracts.edits import Envelopes, MessageEdits
from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.threat_model import Budget, Position, Power, ThreatModel
from agentcomm.contracts.views import MessageView
from agentcomm.contracts.world import World
from agentcomm.directory.hub import Directory
from agentcomm.guards.base import GuardBase
from agentcomm.runs.ppo_settings import PPOSettings
from agentcomm.step.adversary import Adversary
from agentcomm.step.comms import Comms
from agentcomm.training.rollout import Sampler

# Every registered attack on messages in each of its forms; test_network checks that none is missing.
ATTACKS: dict[str, tuple[str, dict[str, Any]]] = {
    "drop": ("drop", {"probability": 0.5}),
    "noise": ("noise", {}),
    "noise sometimes": ("noise", {"probability": 0.3, "links": [[0, 1], [2, 0]]}),
    "noise adaptive": ("noise", {"adaptive": True}),
    "noise at node": ("noise", {"position": "node", "node": 1}),
    "replay": ("replay", {"age": 2}),
    "replay besides": ("replay", {"age": 2, "suppress": False}),
    "impersonate": ("impersonate", {"copies": 2}),
    "impersonate stale": ("impersonate", {"content": "stale"}),
    "impersonate one": ("impersonate", {"content": "stale", "victim": 1}),
    "bias": ("tamper", {"how": "bias", "probability": 0.5}),
    "flip at node": ("tamper", {"how": "flip", "node": 1}),
    "permute": ("tamper", {"how": "permute", "links": [[0, 1], [2, 0]]}),
    "swap": ("tamper", {"how": "swap"}),
    "zero": ("tamper", {"how": "zero"}),
    "delay": ("delay", {"steps": 2}),
    "delay at node": ("delay", {"steps": 1, "node": 1, "probability": 0.5}),
    "reorder": ("reorder", {"window": 3}),
    "jam": ("jam", {}),
    "flood": ("flood", {"copies": 3}),
    "flood named": ("flood", {"copies": 3, "named": True}),
    "drift": ("drift", {"rate": 0.3}),
    "drift longer": ("drift", {"keep_length": False, "node": 1}),
    "pollute": ("pollute", {"node": 1}),
    "cut": ("cut", {"edges": 2}),
    "partial": ("partial", {"missing": 0.5}),
    "partial at the end": ("partial", {"pattern": "last", "missing": 0.3, "parts": 3}),
    "hijack": ("hijack", {}),
    "hijack one": ("hijack", {"victim": 1, "lead": 3}),
    "abuse": ("abuse", {"node": 2}),
    "abuse far": ("abuse", {"distance": 3}),
    "insider": ("insider", {"node": 1, "after": 2, "duty": 0.6}),
    "insider by pattern": ("insider", {"trigger": "pattern", "threshold": 0.2, "duty": 1.0}),
    "evade": ("evade", {"node": 1}),
    "evade sometimes": ("evade", {"scapegoat": 2, "share": 0.5}),
    "contradict": ("contradict", {"node": 1}),
    "churn": ("churn", {}),
    "hijack by ransom": ("hijack_edges", {"node": 2, "victims": [0, 1]}),
    "hijack by starving": ("hijack_edges", {"node": 2, "how": "starve", "share": 0.6}),
    "hijack by strike": ("hijack_edges", {"node": 0, "how": "strike"}),
    "backdoor": ("backdoor", {"node": 1, "share": 0.7}),
    "gradient": ("gradient", {"steps": 3}),
    "gradient l2": ("gradient", {"norm": "l2", "epsilon": 2.0, "goal": "worst", "steps": 1}),
    "rewrite": ("rewrite", {"steps": 2}),
    "rewrite blind": ("rewrite", {"blind": True, "epsilon": 2.0, "probability": 0.5}),
    "directive": ("directive", {"action": 1}),
    "directive at node": ("directive", {"node": 1, "targets": [0, 2], "probability": 0.5}),
    "directive hidden": ("directive", {"node": 1, "hidden": True, "length": 20.0}),
    "leak": ("leak", {"node": 1, "bits": 4}),
    "weakest link": ("gradient", {"weakest": 1, "goal": "target", "action": 2, "steps": 2}),
    "learned": ("learned", {"untrained": True}),  # trained ones: tests/attacks/test_learned.py
    "learned a little": ("learned", {"untrained": True, "budget": {"per_episode": 3, "norm": 0.3}}),
    "mask": ("mask", {"untrained": True}),
}
# One of each kind, for crossing them with everything else.
KINDS = (
    *("drop", "noise", "noise sometimes", "noise at node", "swap", "delay", "delay at node", "reorder"),
    *(
        "replay besides",
        "impersonate",
        "impersonate stale",
        "flood",
        "drift",
        "pollute",
        "gradient",
        "learned a little",
    ),
)
OTHERS = tuple(form for form in ATTACKS if form not in KINDS)
# Those that agents which act in turns can be under: gradients need a policy whose agents act all at once.
IN_TURNS = tuple(form for form, (name, _) in ATTACKS.items() if name not in ("gradient", "rewrite"))
# Those that only take messages away.
MISSING = ("drop", "mask", "jam", "cut", "churn", "hijack by ransom", "hijack by starving", "hijack by strike")
# Attacks that touch no message, or do so in some channels only.
SILENT: dict[str, tuple[str, dict[str, Any]]] = {
    "early fragment": ("fragment", {"how": "early"}),
    "replayed header": ("fragment", {"how": "header", "rate": 2.5}),
    "fake fragments": ("fragment", {"how": "fake", "rate": 2.5, "place": "newcomer"}),
    "middle fragment": ("fragment", {"how": "middle", "probability": 0.5}),
    "covert": ("covert", {"node": 1, "messages": 8}),
    "stall": ("stall", {"node": 1}),
    "eavesdrop": ("eavesdrop", {}),
    "infer": ("infer", {"node": 1}),
    "force gate": ("force_gate", {}),
    "force gate by guessing": ("force_gate", {"guess": True, "node": 1, "goal": "open", "swaps": 2}),
}
# Every registered attack on a directory in some forms.
DIRECTORY_ATTACKS: dict[str, tuple[str, dict[str, Any]]] = {
    "sybil": ("sybil", {}),
    "sybil crowd": ("sybil", {"count": 40, "distance": 0.5, "stalls": False}),
    "rank": ("rank", {}),
    "rank one name": ("rank", {"whitewash": False, "steps": 3, "stalls": True}),
    "blast": ("blast", {}),
    "copied card": ("copied_card", {}),
    "copied cards": ("copied_card", {"victims": 12, "lift": 0.0}),
    "rank blind": ("rank", {"knowledge": "none"}),
    "half open": ("half_open", {}),
    "description": ("description", {}),
    "recursive": ("recursive", {}),
    "recursive fails": ("recursive", {"copies": 40, "stalls": False}),
    "rug pull": ("rug_pull", {}),
    "badmouth": ("badmouth", {}),
    "badmouth the good": ("badmouth", {"rate": 9, "praise": False, "budget": {"per_step": 8}}),
    "scapegoat": ("scapegoat", {}),
    "hub": ("hub_poison", {}),
    "hub sometimes": ("hub_poison", {"probability": 0.5, "field": "claim", "budget": {"norm": 0.6}}),
}
DEFENSES: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "none": [],
    "clip": [("clip", {})],
    "authenticate": [("authenticate", {})],
    "both": [("clip", {}), ("authenticate", {})],
}


def team_shape(worlds: int = 3, agents: int = 4, degree: int = 2, width: int = 8, rounds: int = 2) -> TeamShape:
    return TeamShape(worlds, agents, degree, width, rounds, torch.device("cpu"))


def attack(name: str, s: TeamShape, **arguments: Any) -> Attack:
    config = registry.build_config("attack", name, arguments)
    made: Attack = registry.find("attack", name)(config, s)
    return made


def defense(name: str, s: TeamShape, **arguments: Any) -> Defense:
    config = registry.build_config("defense", name, arguments)
    made: Defense = registry.find("defense", name)(config, s)
    return made


def channel(name: str, s: TeamShape, slots: int, **arguments: Any) -> Channel:
    config = registry.build_config("channel", name, arguments)
    made: Channel = registry.find("channel", name)(config, s, slots)
    return made


def known_channel(form: str, s: TeamShape, slots: int) -> Channel:
    name, arguments = registry.forms("channel")[form]
    return channel(name, s, slots, **arguments)


def known_attack(form: str, s: TeamShape, **more: Any) -> Attack:
    name, arguments = (ATTACKS | SILENT)[form]
    return attack(name, s, **(arguments | more))


def known_defenses(form: str, s: TeamShape) -> list[Defense]:
    return [defense(name, s, **arguments) for name, arguments in DEFENSES[form]]


class Attacked(Comms):
    """Both, and what tests ask of the network and of the attacks' guards."""

    @property
    def guards(self) -> list[GuardBase]:
        return self.adversary.guards

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)


def comms(
    s: TeamShape,
    attacks: Sequence[Attack] = (),
    defenses: Sequence[Defense] = (),
    seed: int = 0,
    channels: Sequence[Channel] = (),
    codec: Codec | None = None,
    step_seconds: float = 0.1,
    numbers: int | None = None,
    transport: str = "batch",
) -> Attacked:
    """The message layer between a team's members, and the adversary."""
    return Attacked.between(s, attacks, defenses, seed, channels, codec, step_seconds, numbers, transport=transport)


def install(directory: Directory, attacks: Sequence[Attack], seed: int = 0) -> Adversary:
    """Let attacks act on a directory alone."""
    s = team_shape(directory.num_worlds, directory.members, 1, 4, 1)
    adversary = Adversary(attacks, s, seed, directory.shape)
    directory.install(adversary.directory_guards)
    return adversary


def carry(network: Comms, exchanges: Iterable[Exchange]) -> list[Inbox]:
    inboxes = []
    for e in exchanges:
        inboxes.append(network.network.exchange(e.spoken, e.links, e.step, e.round, reader))
        if len(e.ended):
            network.reset(e.ended)
    return inboxes


def same_inbox(first: Inbox, second: Inbox) -> bool:
    """Bit for bit."""
    for field in fields(Inbox):
        a, b = getattr(first, field.name), getattr(second, field.name)
        if (a is None) != (b is None) or (a is not None and not torch.equal(a, b)):
            return False
    return True


def heard(inbox: Inbox) -> Tensor:
    """Accepted payloads [B, N, M, D], zero elsewhere."""
    return inbox.payload().masked_fill(~inbox.mask.unsqueeze(-1), 0.0)


def same_heard(first: Inbox, second: Inbox, worlds: Tensor | slice = slice(None)) -> bool:
    """Whether receivers hear the same; spare slots that nobody uses make no difference."""
    a, b = heard(first)[worlds], heard(second)[worlds]
    mask, other = first.mask[worlds], second.mask[worlds]
    slots = max(a.shape[2], b.shape[2])

    def pad(x: Tensor) -> Tensor:
        return torch.nn.functional.pad(x, (0, 0, 0, slots - x.shape[2]))

    return torch.equal(pad(a), pad(b)) and torch.equal(pad(mask.unsqueeze(-1)), pad(other.unsqueeze(-1)))


class Scripted(Attack):
    """An attack made up on the spot: any threat model, any edits."""

    name = "scripted"

    def __init__(
        self,
        s: TeamShape,
        powers: Iterable[Power],
        edits: Callable[[MessageView], MessageEdits],
        position: Position | None = None,
        budget: Budget | None = None,
        injections: int = 1,
        memory: Callable[[], dict[str, Tensor]] = dict,
    ) -> None:
        super().__init__(self.Config(), s)  # type: ignore[arg-type]
        position = Position(kind="edge") if position is None else position
        self._threat = ThreatModel(position, frozenset(powers), "protocol", budget or Budget())
        self._edits, self._injections, self._memory = edits, injections, memory

    def threat_model(self) -> ThreatModel:
        return self._threat

    def on_messages(self, view: MessageView) -> MessageEdits:
        return self._edits(view)

    def injections(self) -> int:
        return self._injections

    def memory(self) -> dict[str, Tensor]:
        return self._memory()


def forge(view: MessageView, s: TeamShape, **fields_: Any) -> Envelopes:
    """One envelope per receiver: from its right-hand neighbor, fresh and well formed; change what you like."""
    shape = (s.num_worlds, s.num_agents, 1)
    receiver = torch.arange(s.num_agents).view(1, -1, 1).expand(shape)
    at = view.step.view(-1, 1, 1).expand(shape)
    none = torch.zeros(shape, dtype=torch.int64)
    made: dict[str, Any] = {
        "where": torch.ones(shape, dtype=torch.bool),
        "payload": torch.full((*shape, s.width), 0.5),
        "sender": (receiver + 1) % s.num_agents,
        "audience": receiver,
        "sequence": at * s.rounds + view.round,
        "sent_at": at,
        "sent_round": none + view.round,
        "key": none - 1,
        "seal": none,
    }
    for name, value in fields_.items():
        made[name] = none + value if type(value) is int else value
    return Envelopes(**made)


def team(
    worlds: int = 6,
    environment: str = "predator_capture_prey",
    seed: int = 0,
    world: dict[str, Any] | None = None,
    **policy: Any,
) -> tuple[World, CommPolicy]:
    """A small environment and a small CommFormer for it, whose actor is not as good as uniform."""
    arguments = {"size": 4, "max_steps": 7, **(world or {})}
    made: World = registry.find("environment", environment)(
        registry.build_config("environment", environment, arguments), worlds
    )
    config = registry.build_config("policy", "commformer", {"width": 16, **policy})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        built: CommPolicy = registry.find("policy", "commformer").for_world(config, made)
        with torch.no_grad():
            for parameter in built.get_submodule("actor").parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape))
    return made, built


def team_shape_of(world: World, policy: CommPolicy) -> TeamShape:
    return team_shape(world.num_worlds, world.num_agents, policy.topology.degree, policy.width, policy.exchanges)


def sampler(
    world: World, policy: CommPolicy, form: str | None = None, defenses: str = "none", seed: int = 0, **attack_: Any
) -> Sampler:
    s = team_shape_of(world, policy)
    attacks = [] if form is None else [known_attack(form, s, **attack_)]
    made = comms(s, attacks, known_defenses(defenses, s), seed)
    return Sampler(world, policy, made, PPOSettings(held_out=0.25), seed)
