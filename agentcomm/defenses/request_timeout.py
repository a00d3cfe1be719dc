"""request_timeout: a directory gives up requests that are left half open sooner than it does by itself.

Answers ``half_open``. With one step, a half-open request costs the hub no more than any other.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.directory_defense import DirectoryRequests, DirectoryVerdicts


class RequestTimeoutConfig(DefenseConfig):
    """Arguments of ``request_timeout``."""

    steps: int = Field(1, ge=1, le=64, description="steps that a request left half open occupies the hub at most")


class RequestTimeout(Defense[RequestTimeoutConfig]):
    """Closes requests once they have occupied the hub for that many steps."""

    order = "quota"
    answers = ("aa.l2.dos_defense",)
    adaptive = ("blast",)

    def on_directory(self, requests: DirectoryRequests, memory: dict[str, Tensor]) -> DirectoryVerdicts:
        """Close what is too old."""
        age = torch.arange(1, requests.half_open.shape[1] + 1, device=requests.half_open.device)
        return DirectoryVerdicts(close=(age >= self.config.steps).expand_as(requests.half_open))
