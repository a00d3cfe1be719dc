"""constant_rate: every link carries a message in every exchange, a dummy where there is nothing to say.

Who talks when tells what agents see: gates and learned links open for a reason (``ua.l1.confidentiality``). With a
dummy on every silent link an observer of times and directions sees the same in every step, so nothing can be inferred
from them (constant-rate cover traffic; Chaum, CACM 1981; Levine et al., FC 2004). Receivers discard dummies. Every
dummy costs the bytes of a message and occupies slow channels like one.

It assumes that payloads are encrypted: readers tell dummies apart. Sizes that depend on the content need
``padding``. It cannot hide which senders a graph picks, if a team picks fewer than all and others in every step; what
the endpoints know; an agent that a compromised node silences; nor anything from observers that also see actions.
"""

from __future__ import annotations

from torch import Tensor

from agentcomm.contracts.defense import Defense
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.outgoing import Outgoing


class ConstantRate(Defense):
    """Covers all links of the graph, closed gates included."""

    order = "schema"
    answers = ("ua.l1.encryption_and_traffic_obfuscation",)
    adaptive = ("eavesdrop:encrypted=true",)
    refuses = False

    def assumes(self, deployment: Deployment) -> dict[str, bool | float | str]:
        """Payloads that observers cannot read."""
        return super().assumes(deployment) | {"encryption": True}

    def cover(self, outgoing: Outgoing, memory: dict[str, Tensor]) -> Tensor:
        """[B, N, k] bool, all links without a message."""
        return ~outgoing.sent & outgoing.due.unsqueeze(-1)
