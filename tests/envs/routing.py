"""Distance vectors as a callable: nodes of ``relay`` that advertise their distances and route by what they hear."""

from __future__ import annotations

import numpy as np

from agentcomm.pettingzoo.message_actions import Received, Vectors, foreign_policy
from agentcomm.pettingzoo.message_actions_inbox import Array
from envs.relay.graph import grid

SLOTS, FAR = 4, 20.0  # links of a node on a grid; a distance that counts as unknown
COSTS = np.array([1 / 0.95, 1 / 0.3])  # transmissions over good and poor links


@foreign_policy(Vectors(width=1, limit=FAR), batched=True, state=SLOTS)
def route(observation: Array, inbox: Received, state: Array) -> tuple[Array, Array, Array]:
    """Send over the link of the best route, and advertise its length; the state is what neighbors told last."""
    nodes = observation.shape[-1] - 1 - 2 * SLOTS - 3
    links = observation[..., nodes + 1 : nodes + 1 + 2 * SLOTS].reshape(*observation.shape[:-1], SLOTS, 2)
    heard = np.full((*observation.shape[:-1], nodes + 1), np.nan)
    said = np.where(inbox.mask, inbox.payload[..., 0], np.nan)
    for row in range(said.shape[-1]):
        spot = inbox.sender[..., row, None]
        before = np.take_along_axis(heard, spot, -1)[..., 0]
        value = np.where(np.isnan(said[..., row]), before, said[..., row])
        np.put_along_axis(heard, spot, value[..., None], -1)
    neighbor = np.broadcast_to(np.asarray(grid(nodes).neighbor), (*observation.shape[:-1], SLOTS))
    now = np.take_along_axis(heard, neighbor, -1).clip(0, FAR)
    told = np.where(np.isnan(now), FAR - state, now)
    via = np.where(links.any(-1), (links * COSTS).sum(-1) + told, np.inf)
    best = np.where(observation[..., nodes] > 0, 0.0, via.min(-1))
    action = np.where(best < FAR, via.argmin(-1), SLOTS)
    return action.astype(np.int64), best.clip(0, FAR)[..., None], (FAR - told).astype(np.float32)
