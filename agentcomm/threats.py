"""Threat models, and the contract between an attack and the guard.

An attack is a function from a :class:`View` to :class:`Edits`. The guard (``agentcomm/messages/guard.py``)
shows it only what its position and powers let it read, and carries out only what they let it write.

A compromised agent may besides choose how its node acts (power ``act``): a function from an :class:`ActionView` to
the law that its next action is drawn from, one for each secret that it may have to tell
(``agentcomm/messages/action_guard.py``).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor
from typing_extensions import TypeVar

from agentcomm.contracts.outcome import Episodes
from agentcomm.plugin import Plugin, PluginConfig

Power = Literal["read", "modify", "inject", "drop", "delay", "reorder", "replay", "register", "act", "reward"]
Knowledge = Literal["none", "protocol", "graph", "policy", "defense"]
Objective = Literal["untargeted", "targeted", "exfiltrate", "exhaust", "evade"]


class Position(BaseModel):
    """Where the attacker stands.

    ``edge``: on the path of links; ``node``: a compromised agent of the team; ``newcomer``: an outsider
    that can only address agents; ``observer``: sees all links, touches none; ``hub``: runs the directory that agents
    find each other by, and is on no message's path; ``sensor``: between the world and what agents see of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["edge", "node", "newcomer", "observer", "hub", "sensor"]
    links: tuple[tuple[int, int], ...] | None = Field(
        None, description="attacked links as [sender, receiver]; none given means every link (edge)"
    )
    node: int | None = Field(
        None, ge=0, description="the compromised agent (node), or whose sensors they are; none for everybody's (sensor)"
    )
    obeyed: bool = Field(False, description="who accepts its messages obeys it from then on: one more of its nodes")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.kind != "sensor" and (self.kind == "node") != (self.node is not None):
            raise ValueError(f"position {self.kind!r} with node={self.node}: a node is named for position 'node' only")
        if self.links is not None and self.kind not in ("edge", "observer"):
            raise ValueError(f"position {self.kind!r} has no links of its own")
        if self.obeyed and self.kind != "node":
            raise ValueError(f"position {self.kind!r} is obeyed by nobody: obeyed is for position 'node'")
        return self


class Budget(BaseModel):
    """How much an attack may do; None is no limit.

    A message touched or injected, an action, a reward, and what one sensor shows cost 1: an index that is replaced, or
    an agent's whole vector of numbers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_step: int | None = Field(None, ge=0, description="messages touched per world and step")
    per_episode: int | None = Field(None, ge=0, description="messages touched per world and episode")
    norm: float | None = Field(
        None, ge=0, description="largest change of a payload coordinate, or a number seen (l-inf)"
    )
    length: float | None = Field(None, ge=0, description="largest length of a payload's change (l2)")
    reward: float | None = Field(None, ge=0, description="largest change of a reward")
    deviation: float | None = Field(
        None, ge=0, description="largest change of an action's probability, to who does not know the secret"
    )
    start_step: int = Field(0, ge=0, description="first step of the episode at which the attack may act")

    def at_most(self, **limits: float | None) -> Budget:
        """The same with these limits, too: of each field the smaller one holds; None is no limit."""
        both = {name: [x for x in (limit, getattr(self, name)) if x is not None] for name, limit in limits.items()}
        return self.model_copy(update={name: min(found, default=None) for name, found in both.items()})


@dataclass(frozen=True)
class ThreatModel:
    """Position, powers, knowledge, budget and objective of an attack."""

    position: Position
    powers: frozenset[Power]
    knowledge: Knowledge = "protocol"
    budget: Budget = field(default_factory=Budget)
    objective: Objective = "untargeted"

    def __post_init__(self) -> None:
        if "act" in self.powers and self.position.kind != "node":
            raise ValueError(f"position {self.position.kind!r} has no node to act for: power 'act' is a node's")


@dataclass(frozen=True)
class View:
    """What an attack is shown of one exchange: copies, blanked outside its reach.

    Header and payload fields are None without the power to read; slots outside ``reach`` hold -1 and 0.

    Attributes:
        reach: [B, N, M] bool, messages on the attacker's links that are present now.
        step: [B] int64, step of the episode.
        round: Exchange within the step.
        remaining: [B] int64, messages the budget still allows in this step (a large number if unlimited).
        memory: The attack's own tensors [B, ...], reset with their world; change them in place.
        generator: The attack's own randomness.
        width: Payload width D.
        identity: Whom the attacker's own key belongs to: its node, or N for an outsider.
        payload: [B, N, M, D].
        sender: [B, N, M] claimed sender.
        audience: [B, N, M].
        sequence: [B, N, M].
        sent_at: [B, N, M].
        expiry: [B, N, M].
        hops: [B, N, M].
        kind: [B, N, M].
        key: [B, N, M].
        seal: [B, N, M].
        foresee: With knowledge of the policy: what it will do. Takes changes [B, N, M, D] of the payloads in reach and
            returns the action logits [B, N, A] of all agents if nobody else interferes; differentiable.
    """

    reach: Tensor
    step: Tensor
    round: int
    remaining: Tensor
    memory: dict[str, Tensor]
    generator: torch.Generator
    width: int
    identity: int
    payload: Tensor | None = None
    sender: Tensor | None = None
    audience: Tensor | None = None
    sequence: Tensor | None = None
    sent_at: Tensor | None = None
    expiry: Tensor | None = None
    hops: Tensor | None = None
    kind: Tensor | None = None
    key: Tensor | None = None
    seal: Tensor | None = None
    foresee: Callable[[Tensor], Tensor] | None = None

    def rand(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1) from the attack's generator."""
        return torch.rand(shape, generator=self.generator, device=self.reach.device)

    def randn(self, *shape: int) -> Tensor:
        """Standard normal numbers from the attack's generator."""
        return torch.randn(shape, generator=self.generator, device=self.reach.device)


@dataclass(frozen=True)
class ActionView:
    """What a compromised agent is shown when its node is about to act: the W worlds in which it is.

    Attributes:
        probability: [W, A] float64, the policy's law for its next action; one 1 where the team decides greedily.
        worlds: [W] int64 indices, for ``memory``.
        step: [W] int64, step of the episode.
        remaining: [W] int64, what the budget still allows in this step.
        memory: The attack's own tensors [B, ...], the same that ``apply`` sees; change them in place.
        generator: The attack's own randomness.
    """

    probability: Tensor
    worlds: Tensor
    step: Tensor
    remaining: Tensor
    memory: dict[str, Tensor]
    generator: torch.Generator


@dataclass(frozen=True)
class SensorView:
    """What an attack on sensors is shown before the team decides.

    Attributes:
        reach: [B, N] bool, whose sensors it holds: of members that are there.
        observation: [B, N, O] what they would see, with the power to read; -1 (indices) or 0 elsewhere.
        readings: [N, O, V + 1] bool, what each entry of index observations can show: the index, plus one, so that the
            first stands for -1, nothing; None where observations are numbers.
        step: [B] int64, step of the episode.
        remaining: [B] int64, what the budget still allows in this step.
        memory: The attack's own tensors [B, ...], the same that ``apply`` sees; change them in place.
        generator: The attack's own randomness.
        foresee: With knowledge of the policy: gate logits [..., N] of observations [..., N, O], differentiable in
            numbers; None where the team has no gates.
    """

    reach: Tensor
    observation: Tensor
    readings: Tensor | None
    step: Tensor
    remaining: Tensor
    memory: dict[str, Tensor]
    generator: torch.Generator
    foresee: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True)
class RewardView:
    """What an attack on rewards is shown in training, after a step.

    Attributes:
        reward: [B, N] what the step earned each agent.
        action: [B, N] int64, what they did.
        step: [B] int64, step of the episode.
        remaining: [B] int64, what the budget still allows in this step.
        memory: The attack's own tensors [B, ...], the same that ``apply`` sees; change them in place.
        generator: The attack's own randomness.
    """

    reward: Tensor
    action: Tensor
    step: Tensor
    remaining: Tensor
    memory: dict[str, Tensor]
    generator: torch.Generator


@dataclass(frozen=True)
class Envelopes:
    """Messages an attack wants to put on the wire: S per receiver, all tensors [B, N, S] but the payload.

    Attributes:
        where: bool, which of them to send.
        payload: [B, N, S, D].
        sender: Whom they claim to come from.
        audience: Whom they claim to be for.
        sequence: Sequence number to write.
        sent_at: Step to write.
        kind: Round to write.
        key: Key id to name, -1 for none.
        seal: Seal to attach, 0 for none (a copied one, say).
        sign: Seal them with the attacker's own key instead.
        expiry: Last step of freshness to write; None for what honest senders write.
        hops: Hops they may still take; None for the most.
    """

    where: Tensor
    payload: Tensor
    sender: Tensor
    audience: Tensor
    sequence: Tensor
    sent_at: Tensor
    kind: Tensor
    key: Tensor
    seal: Tensor
    sign: bool = False
    expiry: Tensor | None = None
    hops: Tensor | None = None


@dataclass(frozen=True)
class Pieces:
    """Fragments of messages that an attack wants to put on the wire, all [B, N, M] by whose message they concern.

    A channel that cuts messages (``fragments``) puts them into the receivers' buffers; elsewhere they do nothing.

    Attributes:
        begin: int64, fragments of messages that nobody will complete, ahead of the message in the slot.
        early: bool, a first fragment in that message's name, ahead of the honest one.
        middle: bool, a fragment in that message's name that is not its sender's.
    """

    begin: Tensor
    early: Tensor
    middle: Tensor


@dataclass(frozen=True)
class Edits:
    """What an attack wants done to one exchange; None leaves that alone.

    Attributes:
        drop: [B, N, M] bool, messages to take off the wire (power drop).
        modify: [B, N, M] bool, messages whose payload to change (power modify).
        change: [B, N, M, D], what to add to those payloads.
        delay: [B, N, M] int64, for how many steps to keep messages back (power delay, or reorder); 0 for none.
        inject: Messages to add (power inject, or replay for exact copies of what it has seen).
        pieces: Fragments to add (power inject; with replay only those that begin what it has seen the headers of).
    """

    drop: Tensor | None = None
    modify: Tensor | None = None
    change: Tensor | None = None
    delay: Tensor | None = None
    inject: Envelopes | None = None
    pieces: Pieces | None = None


@dataclass(frozen=True)
class Setting:
    """Sizes an attack or defense may plan with: B worlds, N agents, k links and D wide payloads."""

    num_worlds: int
    num_agents: int
    degree: int
    width: int
    rounds: int
    device: torch.device


class AttackConfig(PluginConfig):
    """Arguments every attack has."""

    budget: Budget = Field(default_factory=Budget, description="how much it may do")
    harmless: bool = Field(False, description="control: it does as much, with content that harms nobody")


A_co = TypeVar("A_co", bound=AttackConfig, default=AttackConfig, covariant=True)


class Attack(Plugin[A_co]):
    """A stage that harms. Implement :meth:`threat_model` and :meth:`apply`.

    Its no-op control is itself with ``harmless``: the guard judges and counts everything as usual, but leaves payloads
    and messages as they are, actions to the policy, and lets it inject only what the claimed sender says anyway.

    Attributes:
        risks: Ids ``<class>.<layer>.<name>`` of the survey's risks it carries out (arXiv 2506.19676).
        cuts: Whether it acts on fragments, and so needs a channel that cuts messages.
    """

    risks: tuple[str, ...] = ()
    cuts: ClassVar[bool] = False

    def __init__(self, config: A_co, setting: Setting) -> None:
        self.config = config
        self.setting = setting

    @abstractmethod
    def threat_model(self) -> ThreatModel:
        """Position, powers, knowledge, budget and objective under these arguments."""

    @abstractmethod
    def apply(self, view: View) -> Edits:
        """Look at one exchange and say what to do to it."""

    def succeeded(self, attacked: Episodes, clean: Episodes) -> Tensor:
        """[B] bool, the success predicate: the team earned less than in the same episode without the attack.

        Args:
            attacked: Episodes under the attack.
            clean: The same episodes without it.
        """
        return attacked.total_reward < clean.total_reward - 1e-6

    def memory(self) -> dict[str, Tensor]:
        """Fresh memory: tensors [B, ...] that the guard resets with their world."""
        return {}

    def injections(self) -> int:
        """Messages per receiver and exchange that it may inject: inbox slots to provide."""
        return 0

    def perceive(self, view: SensorView) -> Tensor | None:
        """What agents shall see [B, N, O] instead; None leaves that to their sensors.

        Asked only at position ``sensor``, once a step, before anybody speaks.
        """
        return None

    def reward(self, view: RewardView) -> Tensor | None:
        """The rewards [B, N] that agents shall learn from instead; None leaves them.

        Asked only with the power ``reward``, and only in training: what is reported is what was earned.
        """
        return None

    def secrets(self) -> int:
        """M, how many secrets its node's actions may tell of. The guard draws one per episode, each as likely."""
        return 1

    def act(self, view: ActionView) -> Tensor | None:
        """The laws [W, M, A] float64 of its node's next action, one per secret; None leaves it to the policy.

        Asked only with the power ``act``. It is the guard that knows the secret and draws.
        """
        return None

    def acted(self, view: ActionView, law: Tensor, action: Tensor) -> None:
        """Told what its node did: actions [W], where its laws [W, M, A] were in force and the view was that one."""
