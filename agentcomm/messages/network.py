"""Network: everything that happens to messages between speaking and hearing.

Order: codec -> compromised agents change what they say -> seals -> attacks on the wire -> channels and transit ->
shut gates -> defenses up to authorization -> decoding -> the other defenses. State (memories of all stages, budgets,
messages on their way, counters) is kept per world and reset with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agentcomm.contracts.shape import Setting
from agentcomm.defense import ORDERS, Defense, Delivered, Verifier
from agentcomm.guards.effects import Effects, count_fragments
from agentcomm.guards.messages import MessageGuard
from agentcomm.messages.channel import Channel
from agentcomm.messages.codec import Codec, Received
from agentcomm.messages.envelope import PLAIN
from agentcomm.messages.identity import Keyring
from agentcomm.messages.ledger import Ledger
from agentcomm.messages.memory import Memory
from agentcomm.messages.path import Path
from agentcomm.messages.traffic import Inbox, Links, Traffic, gather_agents
from agentcomm.messages.wire import sizes
from agentcomm.seeds import derive

FATES = ("none", "delivered", "dropped", "tampered", "forged", "lost", "delayed")


@dataclass(frozen=True)
class Notes:
    """One exchange in plain arrays, all [B, N, M].

    Attributes:
        kind: Exchange within the step.
        fields: ``sender`` (claimed), ``origin`` (true), ``sequence``, ``sent_at``, ``expiry``, ``hops``, ``fate`` (into
            ``FATES``), ``accepted``, ``size`` in bytes, and ``length`` of the payload.
        refused: bool, by whom.
    """

    kind: int
    fields: dict[str, np.ndarray]
    refused: dict[str, np.ndarray]


SEAL_BYTES = 32  # of an HMAC-SHA256 tag
LARGEST = {"kind": 0xFF, "hops": 0xFF, "sender": 0xFFFF, "audience": 0xFFFF}
LARGEST |= dict.fromkeys(("sequence", "sent_at", "expiry"), 0xFFFF_FFFF)
# Defenses from this one on look at what payloads say, so they come after decoding.
READING = ORDERS.index("content")


class Network:
    """The message layer of B worlds.

    Args:
        setting: Sizes.
        guards: Guards of attacks on messages, applied in this order within their phase; the adversary that owns them
            resets and saves them.
        defenses: Defenses; sorted into their fixed order.
        seed: Seeds keys, and the generator of the channels.
        channels: What messages pass on their way, in this order.
        codec: How payloads are written; None for float32 numbers as they are.
        step_seconds: Seconds that a step of an episode takes.
        numbers: Entries per payload that are sent; None for all.
    """

    def __init__(
        self,
        setting: Setting,
        guards: Sequence[MessageGuard] = (),
        defenses: Sequence[Defense] = (),
        seed: int = 0,
        channels: Sequence[Channel] = (),
        codec: Codec | None = None,
        step_seconds: float = 0.1,
        numbers: int | None = None,
    ) -> None:
        self.setting = setting
        self._plain = 4 * (setting.width if numbers is None else numbers)
        self.ledger = Ledger(setting.num_worlds, setting.device)
        self.guards = guards
        slot = guards[-1].slots.stop if guards else setting.degree
        self.spare = slot - setting.degree
        self.defenses = sorted(defenses, key=lambda d: ORDERS.index(d.order))
        self.sealed = any(d.needs_seal for d in self.defenses)
        keys = torch.Generator(setting.device)
        keys.manual_seed(derive(seed, "keys"))
        self.keyring = Keyring(setting.num_agents, setting.width, keys, setting.device)
        self._screens = [Memory(d.memory) for d in self.defenses]
        self.codec = codec
        self._coding = Memory(dict if codec is None else codec.memory)
        keeps_back = any({"delay", "reorder"} & guard.base.threat.powers for guard in self.guards)
        self.path = None
        if channels or keeps_back:
            self.path = Path(channels, setting, slot, step_seconds, derive(seed, "channel"))
        self.tape: list[Notes] | None = None
        self._turned_away: dict[str, Tensor] = {}

    @property
    def quiet(self) -> bool:
        """Whether nothing can happen to a message on its way."""
        return not self.guards and not self.defenses and self.path is None and self.codec is None

    def reset(self, worlds: Tensor) -> None:
        """Start the given worlds ([W] indices) afresh; counters go on."""
        for memory in (*self._screens, self._coding):
            memory.reset(worlds)
        if self.path is not None:
            self.ledger.cut_off(worlds, self.path.reset(worlds))

    @torch.no_grad()
    def exchange(
        self,
        spoken: Tensor,
        links: Links,
        step: Tensor,
        kind: int,
        foresee: Callable[[Inbox], Tensor] | None = None,
    ) -> Inbox:
        """Carry one round of messages.

        Args:
            spoken: [B, N, D] what each agent says.
            links: Who listens to whom.
            step: [B] int64, steps since each world's episode began.
            kind: Round within the step, 0 .. rounds - 1; rounds of a step come in this order.
            foresee: What the team will do with an inbox: action logits [B, N, A], for attacks that know the policy.

        Returns:
            The receivers' inboxes. Spare slots are left out of exchanges without injections, so that an
            attack that does nothing leaves a run bit-identical.
        """
        if self.quiet and self.tape is None:
            self.ledger.count(sent=links.present, accepted=links.present)
            traffic = Traffic.on_links(spoken, links, step, kind, self.setting.rounds, 0)
            self.ledger.carry(links.present, self._bytes(traffic, self._plain))
            return Inbox(spoken, links.source, links.present, links.source)
        written, size = spoken, None
        if self.codec is not None:
            written, bits = self.codec.encode(spoken, self._coding.tensors, step, kind)
            size = (bits + 7) // 8
        traffic = Traffic.on_links(written, links, step, kind, self.setting.rounds, self.spare)
        sent = traffic.present
        ahead = None if foresee is None else lambda t: foresee(t.to_inbox(t.present, links.source))
        traffic, did = self._attack(traffic, step, kind, links.due, ahead)
        dropped, tampered, forged = did.dropped, did.tampered, did.forged
        payload: Tensor | int = self._plain
        if size is not None:  # a forged message is as long as one that is written plainly
            said = gather_agents(size.unsqueeze(-1), traffic.source).squeeze(-1)
            payload = said.masked_fill(forged, self._plain)
        on_wire = self._bytes(traffic, payload)
        if did.unsaid is not None and bool(did.unsaid.any()):
            on_wire = on_wire.masked_fill(did.unsaid, 0)
        lost = torch.zeros_like(sent)
        marks = (forged, tampered & ~dropped)
        leaving, hidden = traffic, torch.zeros_like(sent)
        if self.path is not None:
            passed = self.path.carry(traffic, on_wire, *marks, did.delay, step, kind, did.fragments)
            traffic, lost, marks = passed.traffic, passed.lost, (passed.forged, passed.tampered)
            on_wire = on_wire + passed.extra
            hidden = (sent | forged) & traffic.present & (passed.steps > 0)
            self.ledger.count(lost=lost, late=passed.late)
            self.ledger.arrive(traffic.present, passed.steps, passed.seconds)
        self.ledger.carry(sent | forged, on_wire)
        came = traffic
        traffic = self._receive(self._shut(traffic, links.listening), step, kind)
        accepted = traffic.present
        if traffic.delta is not None:
            # What is refused must not reach the policy: masked or not, a huge payload overflows to NaN.
            traffic = replace(traffic, delta=traffic.delta.masked_fill(~accepted.unsqueeze(-1), 0.0))
        self.ledger.count(
            sent=sent,
            dropped=dropped,
            delayed=did.delay > 0,
            tampered=tampered & ~dropped,
            forged=forged,
            accepted=accepted,
            accepted_forged=accepted & marks[0],
            accepted_tampered=accepted & marks[1],
        )
        if did.fragments is not None:
            self.ledger.count(fragments=count_fragments(did.fragments))
        for guard in self.guards:
            guard.turn(accepted)
        if self.tape is not None:
            self._record(came, kind, sent | forged, accepted, dropped, lost, *marks, on_wire)
            if bool(hidden.any()):  # what left in the place of something that came
                no = torch.zeros_like(sent)
                leaving = replace(leaving, present=no)
                self._record(leaving, kind, hidden, no, dropped & hidden, lost & hidden, no, no, on_wire)
        degree = self.setting.degree
        if self.spare and not bool(accepted[..., degree:].any()):
            traffic = replace(
                traffic,
                source=traffic.source[..., :degree],
                present=accepted[..., :degree],
                scale=None if traffic.scale is None else traffic.scale[..., :degree],
                delta=None if traffic.delta is None else traffic.delta[..., :degree, :],
            )
        inbox = traffic.to_inbox(traffic.present, links.source)
        return inbox if self.codec is None else replace(inbox, coding=written - spoken)

    def _bytes(self, t: Traffic, payload: Tensor | int) -> Tensor:
        """[B, N, M] int64, how long each message is on the wire; numbers no envelope can hold count as the largest."""
        fields = {name: getattr(t, name).clamp(0, top) for name, top in LARGEST.items()}
        return sizes(
            **fields,
            key=t.key,
            payload_bytes=payload,
            seal_bytes=(t.seal != 0) * SEAL_BYTES,
            codec=PLAIN if self.codec is None else self.codec.name,
        )

    def _attack(
        self,
        traffic: Traffic,
        step: Tensor,
        kind: int,
        due: Tensor | None,
        foresee: Callable[[Traffic], Tensor] | None,
    ) -> tuple[Traffic, Effects]:
        """What goes onto the wire, and what all attacks together did."""
        nothing = torch.zeros_like(traffic.present)
        all_ = Effects(nothing, nothing, nothing, torch.zeros_like(traffic.source))
        for at_sender in (True, False):
            for guard in self.guards:
                if guard.at_sender == at_sender:
                    traffic, did = self._act(guard, traffic, step, kind, due, foresee)
                    all_ = all_.and_then(did)
            if at_sender:
                all_ = replace(all_, unsaid=all_.dropped)
                traffic = self._send(traffic)
        return traffic, all_

    def _act(
        self,
        guard: MessageGuard,
        traffic: Traffic,
        step: Tensor,
        kind: int,
        due: Tensor | None,
        foresee: Callable[[Traffic], Tensor] | None,
    ) -> tuple[Traffic, Effects]:
        return guard.apply(traffic, self.keyring, step, kind, due, foresee)

    def _send(self, traffic: Traffic) -> Traffic:
        return self.keyring.seal(traffic) if self.sealed else traffic

    def _shut(self, traffic: Traffic, listening: Tensor) -> Traffic:
        """Who does not listen hears nobody: what was injected or comes late is turned away, too."""
        unheard = traffic.present & ~listening.unsqueeze(-1)
        if (not self.spare and self.path is None) or not bool(unheard.any()):
            return traffic
        self._refuse("gate", unheard)
        return replace(traffic, present=traffic.present & ~unheard)

    def _receive(self, traffic: Traffic, step: Tensor, kind: int) -> Traffic:
        """Defenses, and between those that check envelopes and those that read payloads, decoding."""
        arrived, reading = traffic, False
        for defense, memory in zip(self.defenses, self._screens, strict=True):
            if not reading and ORDERS.index(defense.order) >= READING:
                traffic, reading = self._decode(traffic, step, kind), True
            delivered = Delivered(traffic, self._verifier, step, kind, arrived)
            verdicts = defense.screen(delivered, memory.tensors)
            if verdicts.refuse is not None:
                refused = verdicts.refuse & traffic.present
                self._refuse(defense.name, refused)
                traffic = replace(traffic, present=traffic.present & ~refused)
            if verdicts.scale is not None:
                traffic = traffic.scale_payload(verdicts.scale)
        return traffic if reading else self._decode(traffic, step, kind)

    @property
    def _verifier(self) -> Verifier:
        """Who tells receivers whose seal it is."""
        return self.keyring

    def _refuse(self, by: str, where: Tensor) -> None:
        self.ledger.refuse(by, where)
        if self.tape is not None:
            self._turned_away[by] = where

    def _decode(self, traffic: Traffic, step: Tensor, kind: int) -> Traffic:
        """Payloads as receivers make them of what arrived, if they need to remember for that."""
        if self.codec is None or not self.codec.stateful:
            return traffic
        wire = traffic.payload()
        received = Received(wire, traffic.present, traffic.sender, traffic.sequence, step, kind)
        return traffic.add_payload(traffic.present, self.codec.decode(received, self._coding.tensors) - wire)

    def _record(
        self,
        traffic: Traffic,
        kind: int,
        put: Tensor,
        accepted: Tensor,
        dropped: Tensor,
        lost: Tensor,
        forged: Tensor,
        tampered: Tensor,
        size: Tensor,
    ) -> None:
        """Note every message of the exchange for whoever wants to see it drawn, or read."""
        arrived = traffic.present
        waits = put & ~arrived & ~dropped & ~lost
        fate = arrived.to(torch.int8).masked_fill(waits, 6).masked_fill(lost & ~arrived, 5)
        fate = fate.masked_fill(dropped & ~arrived, 2)
        fate = fate.masked_fill(tampered & arrived, 3).masked_fill(forged & arrived, 4)
        noted = {name: getattr(traffic, name) for name in ("sender", "origin", "sequence", "sent_at", "expiry", "hops")}
        noted |= {"fate": fate, "accepted": accepted, "size": size, "length": traffic.payload().norm(dim=-1)}
        assert self.tape is not None
        self.tape.append(
            Notes(
                kind,
                {name: value.cpu().numpy().copy() for name, value in noted.items()},
                {by: where.cpu().numpy().copy() for by, where in self._turned_away.items()},
            )
        )
        self._turned_away.clear()

    def get_state(self) -> dict[str, Any]:
        """State of channels, codec, defenses and the ledger, as numpy arrays."""
        return {
            "screens": [memory.get_state() for memory in self._screens],
            "coding": self._coding.get_state(),
            "path": None if self.path is None else self.path.get_state(),
            "ledger": self.ledger.get_state(),
        }

    def set_state(self, saved: dict[str, Any]) -> None:
        """Restore what :meth:`get_state` saved."""
        for memory, state in zip(self._screens, saved["screens"], strict=True):
            memory.set_state(state)
        self._coding.set_state(saved["coding"])
        if self.path is not None:
            self.path.set_state(saved["path"])
        self.ledger.set_state(saved["ledger"])
