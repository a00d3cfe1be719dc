"""Small teams, networks and attacks made up on the spot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from functools import cache
from typing import Any

import torch
from forms import attack_forms, defenses
from torch import Tensor

from agentcomm.base import registry
from agentcomm.conformance.conversations import Exchange as Exchange
from agentcomm.conformance.conversations import clean_examples
from agentcomm.conformance.conversations import conversation as conversation
from agentcomm.contracts.attack import Attack
from agentcomm.contracts.calibrating import Learned, learn, take_over
from agentcomm.contracts.channel import Channel
from agentcomm.contracts.codec import Codec
from agentcomm.contracts.defense import Defense
from agentcomm.contracts.discrete import Discrete
from agentcomm.contracts.edits import Envelopes, MessageEdits
from agentcomm.contracts.inbox import Inbox, Members
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.threat_model import Budget, Position, Power, ThreatModel
from agentcomm.contracts.views import MessageView
from agentcomm.contracts.world import World
from agentcomm.directory.hub import Directory
from agentcomm.directory.screens import DirectoryScreens
from agentcomm.guards.base import GuardBase
from agentcomm.runs.assembly import shape_of
from agentcomm.runs.ppo_settings import PPOSettings
from agentcomm.step.adversary import Adversary
from agentcomm.step.comms import Comms
from agentcomm.training.rollout import Sampler

FIVE = Discrete(("a", "b", "c", "d", "e"))
CLEAN = 16  # clean episodes for a calibration


def team_shape(worlds: int = 3, agents: int = 4, degree: int = 2, width: int = 8, rounds: int = 2) -> TeamShape:
    return TeamShape(worlds, agents, degree, width, rounds, torch.device("cpu"), FIVE)


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
    name, arguments = attack_forms()[form]
    return attack(name, s, **(arguments | more))


def known_defenses(form: str, s: TeamShape) -> list[Defense]:
    made = [defense(name, s, **arguments) for name, arguments in defenses(form)]
    for at, one in enumerate(made):
        if one.calibration:
            take_over(one, _learned(form, at, replace(s, num_worlds=CLEAN)))
    return made


@cache
def _learned(form: str, at: int, s: TeamShape) -> Learned:
    """What the defense at this place of a stack learns from random conversations of a team."""
    name, arguments = defenses(form)[at]
    return learn(defense(name, s, **arguments), clean_examples(s, s.num_worlds), seed=0)


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


def install(
    directory: Directory, attacks: Sequence[Attack], seed: int = 0, defenses: Mapping[str, dict[str, Any]] | None = None
) -> Adversary:
    """Let attacks, and defenses given by name, act on a directory alone."""
    s = team_shape(directory.num_worlds, directory.members, 1, 4, 1)
    adversary = Adversary(attacks, s, seed, directory.shape)
    whole = team_shape(directory.num_worlds, 2 * directory.members, 1, 4, 1)  # members, and who asks for them
    made = [defense(name, whole, **arguments) for name, arguments in (defenses or {}).items()]
    directory.install(adversary.directory_guards, DirectoryScreens(made, directory.shape))
    return adversary


def same_inbox(first: Inbox, second: Inbox) -> bool:
    """Bit for bit."""
    for field in fields(Inbox):
        a, b = getattr(first, field.name), getattr(second, field.name)
        if isinstance(a, Members) and isinstance(b, Members):
            if a.noise != b.noise:
                return False
            a, b = a.heard, b.heard
        if (a is None) != (b is None) or (a is not None and not torch.equal(a, b)):
            return False
    return True


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
    return shape_of(world, policy)


def sampler(
    world: World, policy: CommPolicy, form: str | None = None, defenses: str = "none", seed: int = 0, **attack_: Any
) -> Sampler:
    s = team_shape_of(world, policy)
    attacks = [] if form is None else [known_attack(form, s, **attack_)]
    made = comms(s, attacks, known_defenses(defenses, s), seed)
    return Sampler(world, policy, made, PPOSettings(held_out=0.25), seed)
