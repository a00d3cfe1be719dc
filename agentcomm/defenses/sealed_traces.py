"""sealed_traces: a name on the trace of a task counts only if its owner has sealed it.

Answers scapegoats: an agent that fails a task cannot write another's name into its trace, and is blamed itself.
"""

from __future__ import annotations

from torch import Tensor

from agentcomm.contracts.defense import Defense
from agentcomm.contracts.directory_defense import DirectoryRequests, DirectoryVerdicts


class SealedTraces(Defense):
    """Refuses names without their owners' seals; the one that was asked counts instead."""

    order = "audit"
    answers = ("aa.l2.causal_tracing_and_localization",)
    adaptive = ("rank:stalls=true",)
    fails_open = False

    def on_directory(self, requests: DirectoryRequests, memory: dict[str, Tensor]) -> DirectoryVerdicts:
        """Refuse names that are not proved."""
        return DirectoryVerdicts(refuse_traces=~requests.trace_proved)
