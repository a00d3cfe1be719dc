"""IPPO (de Witt et al. 2020, arXiv 2011.09533): no messages, and everyone's critic sees what its agent sees.

Deviations: feed-forward where the paper has a GRU; actor and critic share the encoder, and all agents share
both, told apart by their embeddings.
"""

from __future__ import annotations

from policies.mappo import MAPPO


class IPPO(MAPPO):
    """MAPPO with an own critic for everyone."""

    central_critic = False
