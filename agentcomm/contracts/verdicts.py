"""What a defense is shown of messages and actions, and what it decides about them.

Shapes: B worlds, N agents, M inbox slots per receiver, D payload width, R agents that act together, A actions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from agentcomm.base.errors import HookError
from agentcomm.contracts.traffic import Traffic


class Draws:
    """Random numbers from a defense's own generator, which is saved and restored with its memory.

    Args:
        generator: The generator; None for a defense that does not declare that it draws.
        device: Where the numbers are needed.
        defense: Name of the defense.
    """

    def __init__(self, generator: torch.Generator | None, device: torch.device, defense: str) -> None:
        self._generator, self._device, self._defense = generator, device, defense

    def rand(self, *shape: int) -> Tensor:
        """Uniform random numbers in [0, 1)."""
        return torch.rand(shape, generator=self._source(), device=self._device)

    def randn(self, *shape: int) -> Tensor:
        """Standard normal random numbers."""
        return torch.randn(shape, generator=self._source(), device=self._device)

    def copy(self) -> Draws:
        """The same random numbers once more, from the present one on."""
        if self._generator is None:
            return self
        again = torch.Generator(self._device)
        again.set_state(self._generator.get_state())
        return Draws(again, self._device, self._defense)

    def _source(self) -> torch.Generator:
        if self._generator is None:
            raise HookError(f"defense {self._defense!r} draws random numbers, but does not say so: set draws = True")
        return self._generator


class Verifier(Protocol):
    """Who can tell whose seal it is: the batch's keyring, or real keys."""

    def verify(self, traffic: Traffic) -> Tensor:
        """[B, N, M] bool, whether the claimed sender's key made the seal over these very fields."""
        ...

    def signers(self, traffic: Traffic) -> Tensor:
        """[B, N, M] int64, the key that made the seal over these very fields, under whatever name; or -1."""
        ...


class Delivered:
    """What receivers see of an exchange: everything on the envelope, never its true origin.

    Args:
        traffic: The messages; a defense sees ``present`` as left by the defenses before it.
        verifier: Verifies seals.
        step: [B] int64, the receivers' clock.
        round_: Exchange within the step.
        arrived: The messages before any defense touched them, which is what their seals are about.
        link: [B, N, M] int64, the agent at the other end of the link that each slot belongs to; N for spare slots.
        size: [B, N, M] int64 bytes of each message on the wire.
        draws: The defense's random numbers.
        unheard: [B, N, M] bool, messages to closed gates, which no defense judged; None for none.
        traced: Whether ``payload`` carries gradients, as in an attacker's prediction.
    """

    def __init__(
        self,
        traffic: Traffic,
        verifier: Verifier,
        step: Tensor,
        round_: int,
        arrived: Traffic,
        link: Tensor,
        size: Tensor,
        draws: Draws,
        unheard: Tensor | None = None,
        traced: bool = False,
    ) -> None:
        self._unheard = unheard
        self._traffic = traffic
        self._verifier = verifier
        self._arrived = arrived
        self.link = link
        self.size = size
        self._draws = draws
        self._traced = traced
        self.step = step
        self.round = round_
        self.present = traffic.present
        self.receiver = traffic.receiver
        self.sender = traffic.sender
        self.audience = traffic.audience
        self.sequence = traffic.sequence
        self.sent_at = traffic.sent_at
        self.expiry = traffic.expiry
        self.hops = traffic.hops
        self.sent_round = traffic.sent_round
        self.key = traffic.key

    @property
    def own(self) -> Tensor:
        """[B, N, D] what the receiver itself says in this exchange."""
        return self._traffic.spoken.detach()

    @cached_property
    def payload(self) -> Tensor:
        """[B, N, M, D] payloads as received."""
        payload = self._traffic.payload()
        return payload if self._traced else payload.detach()

    @cached_property
    def refused(self) -> Tensor:
        """[B, N, M] bool, messages that the defenses before it refused."""
        refused = self._arrived.present & ~self.present
        return refused if self._unheard is None else refused & ~self._unheard

    def rand(self, *shape: int) -> Tensor:
        """Uniform random numbers in [0, 1) from the defense's generator."""
        return self._draws.rand(*shape)

    def randn(self, *shape: int) -> Tensor:
        """Standard normal random numbers from the defense's generator."""
        return self._draws.randn(*shape)

    @cached_property
    def sealed_by_sender(self) -> Tensor:
        """[B, N, M] bool, whether the seal is the claimed sender's and covers these very fields."""
        return self._verifier.verify(self._arrived)

    @cached_property
    def sealed_by(self) -> Tensor:
        """[B, N, M] int64, agent whose key made the seal over these very fields, under any name; -1 for no key."""
        return self._verifier.signers(self._arrived)


class Replacement(NamedTuple):
    """Payloads to use in place of those received.

    Attributes:
        where: [B, N, M] bool, whose payload to replace.
        payload: [B, N, M, D] float32, by what; only read at ``where``.
    """

    where: Tensor
    payload: Tensor


@dataclass(frozen=True)
class Verdicts:
    """What a defense decides about single messages. Refusals come first, then factors, then replacements.

    Attributes:
        refuse: [B, N, M] bool, messages to reject.
        scale: [B, N, M] float32 factor for the payloads of the rest.
        replace: Payloads to use instead. No gradient reaches the sender of a replaced payload.
        score: [B, N, M] float32, how suspicious each message is: what detection is measured by. Finite; larger is more
            suspicious.
        repair: Payloads to put into the places of refused messages (:attr:`Delivered.refused`), which receivers then
            hear instead, and take to be as old as those.
        answerable: [B, N, M] int64, the accountable sender of each message: an agent, N for an outsider, -1 if it is
            unknown.
    """

    refuse: Tensor | None = None
    scale: Tensor | None = None
    replace: Replacement | None = None
    score: Tensor | None = None
    repair: Replacement | None = None
    answerable: Tensor | None = None

    def flagged(self, present: Tensor) -> Tensor:
        """[B, N, M] bool, which of the messages ``present`` are refused, scaled or replaced."""
        where = torch.zeros_like(present) if self.refuse is None else self.refuse
        if self.scale is not None:
            where = where | (self.scale != 1)
        if self.replace is not None:
            where = where | self.replace.where
        return where & present


@dataclass(frozen=True, eq=False)
class InboxView:
    """The accepted messages of an exchange, to be judged together, inbox by inbox.

    Attributes:
        step: [B] int64.
        round: Exchange within the step.
        present: [B, N, M] bool, accepted messages.
        sender: [B, N, M] int64, claimed sender of each.
        payload: [B, N, M, D] as received and screened; 0 where no message was accepted.
        own: [B, N, D], what the receiver itself says in this exchange.
        sent_at: [B, N, M] int64, step in which each claims to have been sent.
        link: [B, N, M] int64, the agent at the other end of the link that each slot belongs to; N for spare slots.
        draws: The defense's random numbers.
    """

    step: Tensor
    round: int
    present: Tensor
    sender: Tensor
    payload: Tensor
    own: Tensor
    sent_at: Tensor
    link: Tensor
    draws: Draws

    def rand(self, *shape: int) -> Tensor:
        """Uniform random numbers in [0, 1) from the defense's generator."""
        return self.draws.rand(*shape)

    def randn(self, *shape: int) -> Tensor:
        """Standard normal random numbers from the defense's generator."""
        return self.draws.randn(*shape)


@dataclass(frozen=True, eq=False)
class ExchangeOutcome:
    """What became of the messages of an exchange, as far as receivers know.

    Attributes:
        step: [B] int64.
        round: Exchange within the step.
        arrived: [B, N, M] bool, messages that reached their receivers.
        accepted: [B, N, M] bool, those of them that no defense refused.
        sender: [B, N, M] int64, claimed sender of each, which every sender can choose: see ``link``.
        audience: [B, N, M] int64, the receiver that each is written for.
        link: [B, N, M] int64, the agent at the other end of the link that a message came in by; N for messages that
            came in by none.
        refused: [B, N, M] bool, rejected messages, by the name of the defense that rejected them, or ``gate``; without
            those that came in by closed links, which say nothing new about their senders.
        unproven: [B, N, M] bool, messages rejected by a defense that authenticates senders: their senders are unknown.
        scores: [B, N, M] float32, the scores that defenses gave, by name.
    """

    step: Tensor
    round: int
    arrived: Tensor
    accepted: Tensor
    sender: Tensor
    audience: Tensor
    link: Tensor
    unproven: Tensor
    refused: Mapping[str, Tensor] = field(default_factory=dict)
    scores: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Responses:
    """What a defense does about an attack, from the next exchange on.

    Attributes:
        quarantine: [B, N, N] int64, for how many steps after this one receiver i rejects everything that comes in by
            the link from agent j or in its name; 0 leaves the link as it is.
        shut: [B, N] int64, for how many steps after this one a receiver accepts nothing; 0 leaves its gate as it is.
        rekey: [B, N] bool, agents that get a new key. Seals by their old keys no longer verify, also those of honest
            messages in transit.
    """

    quarantine: Tensor | None = None
    shut: Tensor | None = None
    rekey: Tensor | None = None


@dataclass(frozen=True, eq=False)
class ActionRequest:
    """Actions that agents are about to carry out.

    Attributes:
        step: [B] int64.
        world: [R] int64, world of each agent.
        agent: [R] int64.
        logits: [R, P] parameters of its policy's action distribution, such as logits.
        action: [R, ...], what it is about to do.
        committed: [R, ...], what it would do by its policy and the random numbers that it has committed to: the
            likeliest action of a greedy team, else the sample that these numbers give.
    """

    step: Tensor
    world: Tensor
    agent: Tensor
    logits: Tensor
    action: Tensor
    committed: Tensor


@dataclass(frozen=True)
class ActionVerdicts:
    """What a defense decides about actions.

    Attributes:
        resample: [R] float64 in [0, 1], chance that the action is sampled again from the policy's distribution.
        replace: [R, ...], action to carry out instead; -1 to leave it, or NaN where actions are continuous.
    """

    resample: Tensor | None = None
    replace: Tensor | None = None
