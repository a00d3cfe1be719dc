"""The attacker on the path of agent protocols, in the batch: the same function of events, on the team's messages.

Each message of an exchange is an event whose body is the message's envelope as it is carried over A2A and MCP. Messages
are numbered per world, by exchange, receiver and slot. The function is Python, called once per message, so this attack
is for comparing the batch with real protocols; ``drop``, ``replay``, ``tamper`` and ``delay`` are its fast equivalents.

``--plugin agentcomm.protocols.batch`` registers it as ``on_path``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor

from agentcomm.base.errors import ConfigError
from agentcomm.base.registry import register
from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.edits import Envelopes, MessageEdits
from agentcomm.contracts.threat_model import Position, Power, ThreatModel
from agentcomm.contracts.views import MessageView
from agentcomm.protocols.event import Event
from agentcomm.protocols.tampering import Delay, Drop, Duplicate, Payload, read_rules
from agentcomm.wire.encoding import decode, encode
from agentcomm.wire.envelope import Envelope, pack_floats, unpack_floats

METHOD = "message"  # what the method of every event is called here
POWERS: dict[type, Power] = {Drop: "drop", Duplicate: "replay", Delay: "delay", Payload: "modify"}
FIELDS = ("sender", "audience", "sequence", "sent_at", "sent_round", "key", "seal", "expiry", "hops")


class OnPathConfig(AttackConfig):
    """Arguments of ``on_path``."""

    rules: tuple[str, ...] = Field(
        ("drop:probability=0.5",),
        description="what to do to messages: drop, duplicate, delay or payload, as of the proxy",
    )
    seed: int = Field(0, description="decides which messages are attacked, if a probability is below 1")

    @field_validator("rules")
    @classmethod
    def _possible(cls, rules: tuple[str, ...]) -> tuple[str, ...]:
        try:
            kinds = [type(rule) for rule in read_rules(rules).rules]
        except ConfigError as error:
            raise ValueError(str(error)) from None
        if wrong := [kind.name for kind in kinds if kind not in POWERS]:
            raise ValueError(
                f"{', '.join(wrong)} is for JSON: in the batch, messages are dropped, duplicated, delayed"
                " or given another payload"
            )
        if Duplicate in kinds and set(kinds) - {Duplicate, Drop}:
            raise ValueError("duplicate cannot be combined with delay or payload: a copy is exact and arrives at once")
        return rules


@register("attack", "on_path")
class OnPath(Attack[OnPathConfig]):
    """Does to each message what the rules of ``agentcomm proxy`` do to an event."""

    risks = ("ua.l1.integrity", "ua.l1.availability")

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """One of each rule."""
        return {
            "": {},
            "duplicate": {"rules": ["duplicate:copies=2"]},
            "payload": {"rules": ["payload:how=flip,probability=0.5", "delay:by=1,probability=0.5"]},
        }

    def threat_model(self) -> ThreatModel:
        """On the path of all links, with the powers that the rules need; reads messages."""
        powers: set[Power] = {"read", *(POWERS[type(rule)] for rule in read_rules(self.config.rules).rules)}
        return ThreatModel(Position(kind="edge"), frozenset(powers), "protocol", self.config.budget)

    def injections(self) -> int:
        """The copies of one message per link."""
        rules = read_rules(self.config.rules).rules
        copies = math.prod(rule.copies for rule in rules if isinstance(rule, Duplicate))
        return (min(copies, 8) - 1) * self.team_shape.degree

    def memory(self) -> dict[str, Tensor]:
        """How many messages each world has seen."""
        s = self.team_shape
        return {"seen": torch.zeros(s.num_worlds, dtype=torch.int64, device=s.device)}

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Ask the function about each message."""
        places = view.reach.nonzero().tolist()
        drop, delay = torch.zeros_like(view.reach), torch.zeros_like(view.reach, dtype=torch.int64)
        change = torch.zeros(*view.reach.shape, view.width, device=view.reach.device)
        copied: list[tuple[int, int, int]] = []
        for world, receiver, slot in places:
            at = (world, receiver, slot)
            event = Event("a2a", "request", "request", METHOD, self._body(view, at), int(view.memory["seen"][world]))
            view.memory["seen"][world] += 1
            passed = read_rules(self.config.rules, self.config.seed + world)(event)
            drop[at] = not passed
            copied += [at] * (len(passed) - 1)
            if passed:
                delay[at] = math.ceil(passed[0][0])
                if passed[0][1].body != event.body:
                    numbers = unpack_floats(decode(passed[0][1].body).payload)
                    change[at] = torch.from_numpy(numbers).to(change) - view.payload[at]
        injected = self._copies(view, copied) if copied else None
        return MessageEdits(drop=drop, modify=(change != 0).any(-1), change=change, delay=delay, inject=injected)

    def _body(self, view: MessageView, at: tuple[int, int, int]) -> bytes:
        """A message's envelope. Seals are symbolic in the batch, so it has none."""
        names = ("sender", "audience", "sequence", "sent_at", "expiry", "hops", "sent_round")
        headers: dict[str, Any] = {name: int(getattr(view, name)[at]) for name in names}
        payload = pack_floats(np.asarray(view.payload[at].tolist(), dtype=np.float32))
        return encode(Envelope(payload=payload, **headers))

    def _copies(self, view: MessageView, copied: list[tuple[int, int, int]]) -> Envelopes:
        """Exact copies, in the order of their messages."""
        worlds, agents, _ = view.reach.shape
        shape = (worlds, agents, self.injections())
        where = torch.zeros(shape, dtype=torch.bool, device=view.reach.device)
        fields: dict[str, Any] = {
            name: torch.full(shape, -1, dtype=torch.int64, device=view.reach.device) for name in FIELDS
        }
        payload = torch.zeros(*shape, view.width, device=view.reach.device)
        for at in copied:
            slot = int(where[at[0], at[1]].sum())
            if slot == shape[2]:
                continue
            to = (at[0], at[1], slot)
            where[to], payload[to] = True, view.payload[at]
            for name in FIELDS:
                fields[name][to] = getattr(view, name)[at]
        return Envelopes(where=where, payload=payload, **fields)
