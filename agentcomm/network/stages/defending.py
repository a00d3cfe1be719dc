"""Defenses: they judge single messages and whole inboxes, close links and gates, and renew keys."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from agentcomm.base.answers import check_tensor
from agentcomm.base.calling import answered, calling
from agentcomm.base.masks import zero_unless
from agentcomm.base.state import Memory
from agentcomm.contracts.defense import Defense, defense_hooks
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.verdicts import (
    Delivered,
    Draws,
    ExchangeOutcome,
    InboxView,
    Replacement,
    Responses,
    Verdicts,
    Verifier,
)
from agentcomm.network.exchange import Exchange
from agentcomm.network.stages.stage import DefenseStage, Stage
from agentcomm.wire.keyring import Keyring


class Screen(DefenseStage):
    """One defense judges message by message.

    Args:
        defense: The defense.
        memory: Its memory, which its other hooks share; the network resets and saves it.
        transport: Tells whose seal it is.
    """

    def __init__(self, defense: Defense, memory: Memory, transport: Verifier) -> None:
        super().__init__(defense, memory)
        self.transport = transport
        self.judges_singly = "aggregate" not in defense_hooks(type(defense))

    def __call__(self, x: Exchange) -> None:
        """Refuse messages, scale and replace payloads, note scores."""
        shown = x.arrived, x.link, x.arrived_size, self.draws, x.refused.get("gate"), x.traced
        delivered = Delivered(x.traffic, self.transport, x.step, x.round, *shown)
        with calling(self.who, "screen"):
            verdicts = self.defense.screen(delivered, self.memory.tensors)
        self._check(verdicts, x)
        if verdicts.score is not None:
            x.note(self.who, "score (screen)", verdicts.score, x.traffic.present)
            flagged = verdicts.flagged(x.traffic.present) if self.judges_singly else None
            x.suspect(self.defense.name, verdicts.score, flagged)
        if verdicts.answerable is not None:
            x.answerable[self.defense.name] = verdicts.answerable
        if verdicts.refuse is not None:
            x.refuse(self.defense.name, verdicts.refuse)
        if verdicts.scale is not None:
            x.note(self.who, "scale (screen)", verdicts.scale)
            x.traffic = x.traffic.scale_payload(verdicts.scale)
        if verdicts.replace is not None:
            where = verdicts.replace.where & x.traffic.present
            x.note(self.who, "replacement (screen)", verdicts.replace.payload, where)
            x.traffic = x.traffic.edit_payload(where, verdicts.replace.payload)
        if verdicts.repair is not None:
            where = verdicts.repair.where & delivered.refused
            x.note(self.who, "repair (screen)", verdicts.repair.payload, where)
            x.repair(where, verdicts.repair.payload)

    def _check(self, verdicts: Verdicts, x: Exchange) -> None:
        answered(verdicts, Verdicts, self.who, "screen", "Verdicts(...)")
        shape = tuple(x.traffic.present.shape)
        check_tensor(self.who, "refuse", verdicts.refuse, shape, torch.bool)
        check_tensor(self.who, "scale", verdicts.scale, shape, torch.float32)
        check_tensor(self.who, "score", verdicts.score, shape, torch.float32)
        check_tensor(self.who, "answerable", verdicts.answerable, shape, torch.int64)
        for name in ("replace", "repair"):
            new = getattr(verdicts, name)
            if new is not None:
                answered(new, Replacement, self.who, "screen", f"a Replacement as {name}")
                check_tensor(self.who, f"{name}.where", new.where, shape, torch.bool, optional=False)
                sizes = (*shape, x.spoken.shape[-1])
                check_tensor(self.who, f"{name}.payload", new.payload, sizes, torch.float32, optional=False)


class Aggregate(DefenseStage):
    """One defense changes the accepted messages of each inbox together."""

    def __call__(self, x: Exchange) -> None:
        """Put its payloads in the place of those received."""
        t, inbox = x.traffic, inbox_view(x, self.draws)
        with calling(self.who, "aggregate"):
            new = self.defense.aggregate(inbox, self.memory.tensors)
        check_tensor(self.who, "aggregate", new, tuple(inbox.payload.shape), torch.float32)
        if new is not None:
            x.note(self.who, "payload (aggregate)", new, t.present)
            x.traffic = t.offset_payload(t.present, new)


class Quarantine(Stage):
    """Links and gates that a defense has closed for some time.

    Args:
        defense: The defense in whose name messages are rejected.
        shape: Shape of the team.

    Attributes:
        until: [B, N, N + 1] int64, step up to which a receiver rejects a sender; the last column, for outsiders, is -1.
        shut_until: [B, N] int64, step up to which a receiver accepts nothing.
        used: Whether the defense has ever answered which links or gates to close.
    """

    keeps = ("until", "shut_until", "used")

    def __init__(self, defense: Defense, shape: TeamShape) -> None:
        self.defense = defense
        sizes = (shape.num_worlds, shape.num_agents, shape.num_agents + 1)
        self.until = torch.full(sizes, -1, dtype=torch.int64, device=shape.device)
        self.shut_until = self.until[..., 0].clone()
        self.used = False

    def __call__(self, x: Exchange) -> None:
        """Reject what comes in by a closed link or gate, or in the name of the agent at the link's other end."""
        if not self.used:
            return
        closed = self.until.maximum(self.shut_until.unsqueeze(-1)) >= x.step.view(-1, 1, 1)
        sender = x.traffic.sender.clamp(0, closed.shape[-1] - 1)
        where = closed.gather(2, sender) | closed.gather(2, x.link)
        x.refuse(self.defense.name, where)
        x.shut_out = where if x.shut_out is None else x.shut_out | where

    def close(self, steps: Tensor, now: Tensor) -> None:
        """Close links [B, N, N] for so many steps after the present one [B]; where that is 0, nothing changes."""
        self.used = True
        later = torch.where(steps > 0, now.view(-1, 1, 1) + steps, -1)
        self.until[..., :-1] = self.until[..., :-1].maximum(later)

    def shut(self, steps: Tensor, now: Tensor) -> None:
        """Close gates [B, N] for so many steps after the present one [B]; where that is 0, nothing changes."""
        self.used = True
        later = torch.where(steps > 0, now.view(-1, 1) + steps, -1)
        self.shut_until = self.shut_until.maximum(later)

    def reset(self, worlds: Tensor) -> None:
        """Open all links and gates of the given worlds ([W] indices)."""
        self.until[worlds] = -1
        self.shut_until[worlds] = -1


class Respond(DefenseStage):
    """One defense answers what has happened.

    Args:
        defense: The defense.
        memory: Its memory, which its other hooks share; the network resets and saves it.
        quarantine: The links and gates that it has closed.
        keyring: The agents' keys.
        proofs: Names of the defenses that authenticate senders.
    """

    def __init__(
        self, defense: Defense, memory: Memory, quarantine: Quarantine, keyring: Keyring, proofs: Collection[str]
    ) -> None:
        super().__init__(defense, memory)
        self.quarantine, self.keyring, self.proofs = quarantine, keyring, proofs

    def __call__(self, x: Exchange) -> None:
        """Close links and gates and renew keys, from the next exchange on."""
        outcome = ExchangeOutcome(
            step=x.step,
            round=x.round,
            arrived=x.arrived.present,
            accepted=x.accepted,
            sender=x.traffic.sender,
            audience=x.traffic.audience,
            link=x.link,
            unproven=self._unproven(x),
            refused={by: _judged(where, x.shut_out) for by, where in x.refused.items()},
            scores=dict(x.scores),
        )
        with calling(self.who, "respond"):
            responses = self.defense.respond(outcome, self.memory.tensors)
        answered(responses, Responses, self.who, "respond", "Responses(...)")
        worlds, agents = x.spoken.shape[:2]
        check_tensor(self.who, "quarantine", responses.quarantine, (worlds, agents, agents), torch.int64)
        check_tensor(self.who, "shut", responses.shut, (worlds, agents), torch.int64)
        check_tensor(self.who, "rekey", responses.rekey, (worlds, agents), torch.bool)
        if responses.quarantine is not None:
            self.quarantine.close(responses.quarantine, x.step)
        if responses.shut is not None:
            self.quarantine.shut(responses.shut, x.step)
        if responses.rekey is not None:
            self.keyring.renew(responses.rekey)

    def _unproven(self, x: Exchange) -> Tensor:
        """[B, N, M] bool, messages whose claimed senders did not prove to have sent them."""
        unproven = torch.zeros_like(x.traffic.present)
        for name in self.proofs:
            unproven = unproven | x.refused[name] if name in x.refused else unproven
        return unproven


def _judged(refused: Tensor, shut_out: Tensor | None) -> Tensor:
    """Refused messages [B, N, M] that were judged, and not only refused because a link or gate was closed."""
    return refused if shut_out is None else refused & ~shut_out


def inbox_view(x: Exchange, draws: Draws) -> InboxView:
    """The accepted messages of an exchange, as defenses see inboxes."""
    t = x.traffic
    payload = zero_unless(t.present, t.payload() if x.traced else t.payload().detach())
    return InboxView(x.step, x.round, t.present, t.sender, payload, x.spoken.detach(), t.sent_at, x.link, draws)
