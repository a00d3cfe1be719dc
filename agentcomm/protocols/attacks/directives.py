"""Directives in results, against a member that obeys them: the testbed's obedient interpreter behind a client."""

from __future__ import annotations

from typing import Any

import torch

from agentcomm.contracts.discrete import Discrete
from agentcomm.contracts.inbox import Inbox
from agentcomm.step.interpreter import Interpreter, directive
from agentcomm.wire.encoding import decode, encode
from agentcomm.wire.envelope import Envelope, pack_floats, unpack_floats

WIDTH = 32
OWN, WANTED = 0, 2  # the member's own action, and the one that the attacker wants
ACTIONS = Discrete(("wait", "left", "right"))


def message(poisoned: bool) -> bytes:
    """An envelope of a worker: an ordinary payload, or a directive."""
    ordinary = torch.randn(WIDTH, generator=torch.Generator().manual_seed(0))
    payload = directive(WANTED, WIDTH) if poisoned else ordinary
    headers: dict[str, Any] = dict.fromkeys(("sent_round", "sequence", "sent_at", "expiry", "hops"), 0)
    return encode(Envelope(sender=1, audience=0, payload=pack_floats(payload.numpy()), **headers))


def action_after(data: bytes) -> int:
    """What an obedient member does after it has read an envelope."""
    payload = torch.from_numpy(unpack_floats(decode(data).payload)).view(1, 1, 1, WIDTH)
    slot = torch.zeros(1, 1, 1, dtype=torch.int64)
    inbox = Inbox(
        torch.zeros(1, 1, WIDTH), slot, torch.ones(1, 1, 1, dtype=torch.bool), slot, torch.zeros(1, 1, 1), payload
    )
    reader = Interpreter(1.0, ACTIONS, WIDTH, torch.Generator().manual_seed(0))
    reader.begin(1, 1)
    reader.read(inbox)
    return int(reader.obey(torch.tensor([OWN]), torch.tensor([0])))
