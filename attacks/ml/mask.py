"""mask: drop messages by an attacker policy that was trained to harm the team (environment ``attacker``, power drop).

After DMAC (Ma et al., IJCAI 2025, arXiv 2504.21278): one masking agent per link keeps or masks the link's message; its
reward is the negated team reward minus a price per masked message.
"""

from __future__ import annotations

from typing import Any

from attacks.ml.learned import Learned


class Mask(Learned):
    """Chooses by a trained policy which messages are dropped."""

    risks = ("ua.l1.availability", "aa.l3.contextual_fragmentation")
    power = "drop"

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Random choices: a trained attacker needs a file."""
        return {"": {"untrained": True}}
