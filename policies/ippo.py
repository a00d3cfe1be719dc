"""IPPO (de Witt et al. 2020, arXiv 2011.09533): no messages, and a decentralized critic per agent.

Deviations: feed-forward unless there is a ``memory``, where the paper has a GRU; actor and critic share the encoder,
and all agents share both, distinguished by agent embeddings.
"""

from __future__ import annotations

from policies.mappo import MAPPO


class IPPO(MAPPO):
    """MAPPO with critics that see only their own agent's observation."""

    central_critic = False
