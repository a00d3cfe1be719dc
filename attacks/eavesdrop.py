"""eavesdrop: read along, and change nothing.

What it hears can be kept (``tape``) for who wants to know what it tells: see ``agentcomm/evaluation/overhear.py``.
"""

from __future__ import annotations

from pydantic import Field

from agentcomm.threats import Attack, AttackConfig, Edits, Position, Setting, ThreatModel, View


class EavesdropConfig(AttackConfig):
    """Arguments of ``eavesdrop``."""

    links: tuple[tuple[int, int], ...] | None = Field(
        None, description="tapped links as [sender, receiver]; all when not given"
    )


class Eavesdrop(Attack):
    """An observer of links.

    Attributes:
        tape: What it was shown, exchange by exchange; None to keep nothing. It is for whoever evaluates, not part of
            any episode: nothing is read from it.
    """

    Config = EavesdropConfig
    config: EavesdropConfig
    name = "eavesdrop"
    risks = ("ua.l1.confidentiality", "aa.l3.privacy_leakage")

    def __init__(self, config: EavesdropConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        self.tape: list[View] | None = None

    def threat_model(self) -> ThreatModel:
        """Sees links, and reads."""
        position = Position(kind="observer", links=self.config.links)
        return ThreatModel(position, frozenset({"read"}), "none", self.config.budget, "exfiltrate")

    def apply(self, view: View) -> Edits:
        """Nothing."""
        if self.tape is not None:
            self.tape.append(view)
        return Edits()
