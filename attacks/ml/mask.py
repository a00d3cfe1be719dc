"""mask: take messages off the wire as an attacker does that was trained to (environment ``attacker``, power drop).

After DMAC (Ma et al., IJCAI 2025, arXiv 2504.21278): one masking agent per link, which keeps or masks its message, and
whose reward is minus the team's and minus a price per message masked.
"""

from __future__ import annotations

from typing import Any

from attacks.ml.learned import Learned


class Mask(Learned):
    """Chooses by a trained policy which messages vanish."""

    risks = ("ua.l1.availability", "aa.l3.contextual_fragmentation")
    power = "drop"

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Random choices: a trained attacker needs a file."""
        return {"": {"untrained": True}}
