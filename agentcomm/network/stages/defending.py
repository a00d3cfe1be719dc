"""Defenses: they judge single messages and whole inboxes, and close links for the exchanges to come."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from agentcomm.base.answers import check_tensor
from agentcomm.base.calling import answered, calling
from agentcomm.base.state import Memory
from agentcomm.contracts.defense import Defense, defense_hooks
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.transport import Transport
from agentcomm.contracts.verdicts import Delivered, ExchangeOutcome, InboxView, Replacement, Responses, Verdicts
from agentcomm.network.exchange import Exchange
from agentcomm.network.stages.stage import Stage


class Screen(Stage):
    """One defense judges message by message.

    Args:
        defense: The defense.
        memory: Its memory, which its other hooks share; the network resets and saves it.
        transport: Tells whose seal it is.
    """

    def __init__(self, defense: Defense, memory: Memory, transport: Transport) -> None:
        self.defense, self.memory, self.transport = defense, memory, transport
        self.who = f"defense {defense.name!r}"
        self.judges_singly = "aggregate" not in defense_hooks(type(defense))

    def __call__(self, x: Exchange) -> None:
        """Refuse messages, scale and replace payloads, note scores."""
        delivered = Delivered(x.traffic, self.transport, x.step, x.round, x.arrived)
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

    def _check(self, verdicts: Verdicts, x: Exchange) -> None:
        answered(verdicts, Verdicts, self.who, "screen", "Verdicts(...)")
        shape, replace = tuple(x.traffic.present.shape), verdicts.replace
        check_tensor(self.who, "refuse", verdicts.refuse, shape, torch.bool)
        check_tensor(self.who, "scale", verdicts.scale, shape, torch.float32)
        check_tensor(self.who, "score", verdicts.score, shape, torch.float32)
        check_tensor(self.who, "answerable", verdicts.answerable, shape, torch.int64)
        if replace is not None:
            answered(replace, Replacement, self.who, "screen", "a Replacement as replace")
            check_tensor(self.who, "replace.where", replace.where, shape, torch.bool, optional=False)
            sizes = (*shape, x.spoken.shape[-1])
            check_tensor(self.who, "replace.payload", replace.payload, sizes, torch.float32, optional=False)


class Aggregate(Stage):
    """One defense changes the accepted messages of each inbox together.

    Args:
        defense: The defense.
        memory: Its memory, which its other hooks share; the network resets and saves it.
    """

    def __init__(self, defense: Defense, memory: Memory) -> None:
        self.defense, self.memory = defense, memory
        self.who = f"defense {defense.name!r}"

    def __call__(self, x: Exchange) -> None:
        """Put its payloads in the place of those received."""
        t = x.traffic
        payload = t.payload().detach().masked_fill(~t.present.unsqueeze(-1), 0.0)
        with calling(self.who, "aggregate"):
            new = self.defense.aggregate(InboxView(x.step, x.round, t.present, t.sender, payload), self.memory.tensors)
        check_tensor(self.who, "aggregate", new, tuple(payload.shape), torch.float32)
        if new is not None:
            x.note(self.who, "payload (aggregate)", new, t.present)
            x.traffic = t.offset_payload(t.present, new)


class Quarantine(Stage):
    """Links that a defense has closed for some time.

    Args:
        defense: The defense in whose name messages are rejected.
        shape: Shape of the team.

    Attributes:
        until: [B, N, N + 1] int64, step up to which a receiver rejects a sender; the last column, for outsiders, is -1.
    """

    keeps = ("until",)

    def __init__(self, defense: Defense, shape: TeamShape) -> None:
        self.defense = defense
        sizes = (shape.num_worlds, shape.num_agents, shape.num_agents + 1)
        self.until = torch.full(sizes, -1, dtype=torch.int64, device=shape.device)

    def __call__(self, x: Exchange) -> None:
        """Reject what comes in by a closed link, or in the name of the agent at its other end."""
        closed = self.until >= x.step.view(-1, 1, 1)
        sender = x.traffic.sender.clamp(0, closed.shape[-1] - 1)
        x.refuse(self.defense.name, closed.gather(2, sender) | closed.gather(2, links_of(x)))

    def close(self, steps: Tensor, now: Tensor) -> None:
        """Close links [B, N, N] for so many steps after the present one [B]; where that is 0, nothing changes."""
        later = torch.where(steps > 0, now.view(-1, 1, 1) + steps, -1)
        self.until[..., :-1] = self.until[..., :-1].maximum(later)

    def reset(self, worlds: Tensor) -> None:
        """Open all links of the given worlds ([W] indices)."""
        self.until[worlds] = -1


class Respond(Stage):
    """One defense answers what has happened.

    Args:
        defense: The defense.
        memory: Its memory, which its other hooks share; the network resets and saves it.
        quarantine: The links that it has closed.
    """

    def __init__(self, defense: Defense, memory: Memory, quarantine: Quarantine) -> None:
        self.defense, self.memory, self.quarantine = defense, memory, quarantine
        self.who = f"defense {defense.name!r}"

    def __call__(self, x: Exchange) -> None:
        """Close links from the next exchange on."""
        outcome = ExchangeOutcome(
            step=x.step,
            round=x.round,
            arrived=x.arrived.present,
            accepted=x.traffic.present,
            sender=x.traffic.sender,
            link=links_of(x),
            refused=dict(x.refused),
            scores=dict(x.scores),
        )
        with calling(self.who, "respond"):
            responses = self.defense.respond(outcome, self.memory.tensors)
        answered(responses, Responses, self.who, "respond", "Responses(...)")
        steps, (worlds, agents) = responses.quarantine, x.spoken.shape[:2]
        check_tensor(self.who, "quarantine", steps, (worlds, agents, agents), torch.int64)
        if steps is not None:
            self.quarantine.close(steps, x.step)


def links_of(x: Exchange) -> Tensor:
    """[B, N, M] int64, the agent at the other end of the link that each slot belongs to; N for spare slots."""
    source = x.links.source
    return nn.functional.pad(source, (0, x.traffic.slots - source.shape[-1]), value=source.shape[1])
