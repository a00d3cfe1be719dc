"""Exchange: one round of messages passing through the stages, from the payloads of agents to the receivers' inboxes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from agentcomm.base.masks import zero_unless
from agentcomm.base.numbers import Numbers
from agentcomm.contracts.inbox import Inbox, Members
from agentcomm.contracts.traffic import Links, Traffic
from agentcomm.guards.effects import Effects
from agentcomm.guards.messages import MessageGuard

# Action parameters [B, N, P] given an inbox, and given some traffic.
PredictLogits = Callable[[Inbox], Tensor]
PredictOfTraffic = Callable[[Traffic], Tensor]


@dataclass
class Exchange:
    """One round of messages in all worlds; the stages change it in place.

    Attributes:
        spoken: [B, N, D] payloads of all agents.
        links: Links over which messages travel.
        step: [B] int64, step of each world's episode.
        round: Round within the step.
        predict_logits: Action parameters [B, N, P] given some traffic, for attacks that know the policy; None where
            they cannot be predicted.
        traffic: The messages in their current form.
        sent: [B, N, M] bool, messages that agents send.
        put: [B, N, M] bool, all messages that agents, defenses and attacks put on the wire.
        effects: Effects of attacks in this exchange.
        insider: Effects of compromised senders among them; None without such attacks.
        forged: [B, N, M] bool, messages in ``traffic`` that an attack put on the wire.
        tampered: [B, N, M] bool, messages in ``traffic`` that an attack changed.
        altered: [B, N, M] bool, messages in ``traffic`` that an attack changed after their senders had sealed them.
        lost: [B, N, M] bool, messages that the channels lost.
        covered: [B, N, M] bool, delayed messages in whose slots an earlier message arrives now.
        size: [B, N, M] int64 bytes of the messages put on the wire.
        arrived_size: [B, N, M] int64 bytes of the messages that arrive, which may have been sent earlier.
        written: The messages as their senders wrote and sealed them; None without attacks on the wire.
        departed: The messages on the wire after all attacks.
        arrived: The messages that reach the receivers, before gates and defenses refuse any.
        refused: [B, N, M] bool, refused messages, by the name of the defense, or ``gate``.
        scores: [B, N, M] float32, suspicion scores, by the name of the defense; 0 in empty slots.
        scored: [B, N, M] bool, messages that got a score, by the name of the defense.
        flagged: [B, N, M] bool, those of them that the defense refused, scaled or replaced, by its name; without
            defenses that judge inboxes as a whole.
        shut_out: [B, N, M] bool, messages refused for a link or gate that a defense has closed; None for none.
        repaired: [B, N, M] bool, refused messages in whose places receivers hear something else; None for none.
        answerable: [B, N, M] int64, the accountable sender of each message, by the name of the defense that names it.
        coding: [B, N, D] coding error of each payload; None without a codec.
        payload_bytes: [B, N] int64 bytes of each agent's encoded payload; None without a codec.
        numbers: Where numbers are noted that must be finite; None for nowhere.
        members: The members of a vote, if a defense lets the policy decide by one. None for none.
        dummy: [B, N, M] bool, dummies that defenses put on the wire; None without any.
        covered_from: The traffic before and after dummies were added; None without any.
        predict_defended: Action parameters [B, N, P] after the deployed defenses, given this exchange,
            ``predict_logits``, whether the messages are still to be sealed, and some traffic; None without defenses or
            attacks that know them.
        traced: Whether defenses are shown payloads with their gradients, as in predictions.
    """

    spoken: Tensor
    links: Links
    step: Tensor
    round: int
    predict_logits: PredictOfTraffic | None
    traffic: Traffic
    sent: Tensor
    put: Tensor
    effects: Effects
    forged: Tensor
    tampered: Tensor
    altered: Tensor
    lost: Tensor
    covered: Tensor
    size: Tensor
    arrived_size: Tensor
    departed: Traffic
    arrived: Traffic
    written: Traffic | None = None
    refused: dict[str, Tensor] = field(default_factory=dict)
    scores: dict[str, Tensor] = field(default_factory=dict)
    scored: dict[str, Tensor] = field(default_factory=dict)
    flagged: dict[str, Tensor] = field(default_factory=dict)
    insider: Effects | None = None
    shut_out: Tensor | None = None
    repaired: Tensor | None = None
    answerable: dict[str, Tensor] = field(default_factory=dict)
    coding: Tensor | None = None
    payload_bytes: Tensor | None = None
    numbers: Numbers | None = None
    members: Members | None = None
    dummy: Tensor | None = None
    covered_from: tuple[Traffic, Traffic] | None = None
    predict_defended: Callable[[Exchange, PredictOfTraffic, bool, Traffic], Tensor] | None = None
    traced: bool = False

    @classmethod
    def begin(
        cls,
        spoken: Tensor,
        links: Links,
        step: Tensor,
        round_: int,
        rounds: int,
        spare: int,
        predict_logits: PredictLogits | None,
    ) -> Exchange:
        """A new exchange, before any stage.

        Args:
            spoken: [B, N, D] payloads of all agents.
            links: Links over which messages travel.
            step: [B] int64.
            round_: Round within the step.
            rounds: Rounds per step.
            spare: Empty slots to add for injected messages.
            predict_logits: Action logits of the team given an inbox; None where they cannot be predicted.
        """
        traffic = Traffic.on_links(spoken, links, step, round_, rounds, spare)
        none, zero = torch.zeros_like(traffic.present), torch.zeros_like(traffic.source)

        return cls(
            spoken=spoken,
            links=links,
            step=step,
            round=round_,
            predict_logits=None if predict_logits is None else partial(_of_traffic, predict_logits, links, step),
            traffic=traffic,
            sent=traffic.present,
            put=traffic.present,
            effects=Effects(none, none, none, zero),
            forged=none,
            tampered=none,
            altered=none,
            lost=none,
            covered=none,
            size=zero,
            arrived_size=zero,
            departed=traffic,
            arrived=traffic,
        )

    @cached_property
    def link(self) -> Tensor:
        """[B, N, M] int64, the agent at the other end of the link that each slot belongs to; N for spare slots."""
        source = self.links.source
        spare = self.traffic.slots - source.shape[-1]
        return nn.functional.pad(source, (0, spare), value=source.shape[1]) if spare else source

    @property
    def accepted(self) -> Tensor:
        """[B, N, M] bool, messages that no gate or defense has refused so far."""
        present = self.traffic.present
        return present if self.repaired is None else present & ~self.repaired

    def prediction(self, guard: MessageGuard) -> PredictOfTraffic | None:
        """Maps traffic to action parameters [B, N, P] as an attack predicts them: through defenses if it knows them."""
        knows = guard.base.threat.knowledge == "defense"
        if self.predict_logits is None or self.predict_defended is None or not knows:
            return self.predict_logits
        return partial(self.predict_defended, self, self.predict_logits, guard.at_sender)

    def attacked(self, traffic: Traffic, did: Effects) -> None:
        """Take over the traffic that an attack returned, and its effects."""
        self.traffic, self.effects = traffic, self.effects.and_then(did)
        self.forged, self.tampered = self.effects.forged, self.effects.tampered & ~self.effects.dropped
        self.put = self.put | self.forged

    def refuse(self, by: str, where: Tensor) -> None:
        """Refuse the present messages ``where`` [B, N, M], on behalf of a defense or ``gate``."""
        where = where & self.traffic.present
        self.refused[by] = where | self.refused[by] if by in self.refused else where
        self.traffic = replace(self.traffic, present=self.traffic.present & ~where)

    def repair(self, where: Tensor, payload: Tensor) -> None:
        """Put payloads [B, N, M, D] into the places ``where`` [B, N, M] of refused messages."""
        traffic = self.traffic.edit_payload(where, payload)
        self.traffic = replace(traffic, present=traffic.present | where)
        self.repaired = where if self.repaired is None else self.repaired | where

    def suspect(self, by: str, score: Tensor, flagged: Tensor | None) -> None:
        """Note a defense's scores [B, N, M] of the messages that are still present.

        Args:
            by: Name of the defense.
            score: [B, N, M] float32.
            flagged: [B, N, M] bool, those that it refuses, scales or replaces; None if it judges inboxes as a whole.
        """
        present = self.traffic.present
        score = score.masked_fill(~present, 0.0)
        self.scores[by] = score.maximum(self.scores[by]) if by in self.scores else score
        self.scored[by] = present | self.scored[by] if by in self.scored else present
        if flagged is not None:
            self.flagged[by] = flagged | self.flagged[by] if by in self.flagged else flagged

    def note(self, what: str, field: str, value: Tensor, where: Tensor | None = None) -> None:
        """Note numbers [B, N, ...] of a plug-in that must be finite.

        Args:
            what: The plug-in.
            field: What the numbers are.
            value: The numbers.
            where: [B, N, M] bool, slots whose numbers [B, N, M, ...] matter; None for all.
        """
        if self.numbers is None:
            return
        if where is not None:
            value = value.masked_fill(~where, 0.0) if value.dim() == where.dim() else zero_unless(where, value)
        self.numbers.note(what, f"{field}, round {self.round},", value)

    def deliver(self, degree: int, dated: bool = False) -> Inbox:
        """The receivers' inboxes; without the spare slots if all of them are empty.

        Args:
            degree: k, number of slots for the graph's links.
            dated: Whether messages can be older than this step.
        """
        t = self.traffic
        delta, scale = t.delta, t.scale
        age = t.age(self.step).masked_fill(~t.present, 0) if dated else None
        if age is not None and not bool(age.any()):
            age = None
        if delta is not None:
            # Refused payloads must not reach the policy: even if masked, a huge one overflows to NaN.
            delta = zero_unless(t.present, delta)
        source, present, members = t.source, t.present, self.members
        if t.slots > degree and not bool(present[..., degree:].any()):
            source, present = source[..., :degree], present[..., :degree]
            scale = None if scale is None else scale[..., :degree]
            delta = None if delta is None else delta[..., :degree, :]
            age = None if age is None else age[..., :degree]
            members = None if members is None else replace(members, heard=members.heard[..., :degree])
        links, coding = self.links.source, self.coding
        return Inbox(t.spoken, source, present, links, scale, delta, coding=coding, age=age, members=members)


def _of_traffic(predict: PredictLogits, links: Links, step: Tensor, traffic: Traffic) -> Tensor:
    """Action parameters [B, N, P] if this traffic on these links is delivered in the steps [B]."""
    return predict(replace(traffic.to_inbox(traffic.present, links.source), age=traffic.age(step)))
