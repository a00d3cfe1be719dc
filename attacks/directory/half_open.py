"""half_open: start requests and never finish them, so that the hub waits for each until its timeout."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from agentcomm.contracts.directory_hook import DirectoryEdits, DirectoryView
from attacks.directory.blast import Blast, BlastConfig


class HalfOpenConfig(BlastConfig):
    """Arguments of ``half_open``."""

    rate: int = Field(3, ge=0, le=4096, description="requests per step that are left half open")


class HalfOpen(Blast[HalfOpenConfig]):
    """Like ``blast``, but each request occupies the hub for four steps, so a few are enough.

    The defense ``request_timeout`` closes them earlier.
    """

    risks = ("aa.l2.dos", "ua.l1.availability")

    def on_directory(self, view: DirectoryView) -> DirectoryEdits:
        """Send requests and leave them half open."""
        return replace(super().on_directory(view), half_open=True)
