"""Transports over agent protocols: every message is a request to the server of its receiver, on a loopback socket.

What goes over the sockets are the bytes of the objects transport: envelopes with real seals, after everything that
attacks and channels do to them in transit. So both give the same verdicts, the same ledger and the same inboxes, unless
a protocol changes or loses bytes.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import ClassVar

from agentcomm.base.errors import ProtocolError
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.traffic import Traffic
from agentcomm.network.transports.objects import ObjectTransport, Place
from agentcomm.protocols.carrier import Handle, Protocol, load
from agentcomm.protocols.team_servers import TeamServers
from agentcomm.wire.keyring import Keyring


class ProtocolTransport(ObjectTransport):
    """Carries one message at a time over a protocol.

    Servers start with the first message, one per agent for all worlds, and end with :meth:`close`. Requests to one
    agent follow each other in the order of worlds and slots; those to different agents overlap.

    Args:
        team_shape: Shape of the team.
        keyring: As for the objects transport.
        seed: As for the objects transport.

    Raises:
        PluginError: If the protocol's package is not installed.
    """

    protocol: ClassVar[Protocol]

    def __init__(self, team_shape: TeamShape, keyring: Keyring, seed: int) -> None:
        super().__init__(team_shape, keyring, seed)
        self._carrier = load(self.protocol)
        self._arrived: list[list[bytes]] = [[] for _ in range(team_shape.num_agents)]
        self._servers: TeamServers | None = None

    def receive(self, traffic: Traffic) -> Traffic:
        """Send the bytes to their receivers, and read what arrives there.

        Raises:
            ProtocolError: If a message does not arrive, or more than once.
        """
        present: list[Place] = list(map(tuple, traffic.present.nonzero().tolist()))
        if present:
            if self._servers is None:
                handles: list[Handle] = [partial(_take, arrived) for arrived in self._arrived]
                self._servers = TeamServers(self._carrier, handles)
            self.wire = self._servers.run(self._deliver(self._servers, present))
        return super().receive(traffic)

    async def _deliver(self, servers: TeamServers, places: list[Place]) -> dict[Place, bytes]:
        """What arrives of the bytes at some places."""
        read: dict[Place, bytes] = {}

        async def to(receiver: int) -> None:
            for place in (place for place in places if place[1] == receiver):
                arrived = self._arrived[receiver]
                arrived.clear()
                await servers.senders[receiver].send(self.wire[place])
                if len(arrived) != 1:
                    world, _, slot = place
                    raise ProtocolError(
                        f"transport {self.protocol!r}: the message to agent {receiver} in world {world}, slot {slot},"
                        f" arrived {len(arrived)} times; what loses or repeats messages is configured as an attack"
                    )
                read[place] = arrived[0]

        await asyncio.gather(*(to(receiver) for receiver in sorted({place[1] for place in places})))
        return read

    def close(self) -> None:
        """End the servers."""
        if self._servers is not None:
            self._servers.close()
            self._servers = None


async def _take(arrived: list[bytes], data: bytes) -> bytes:
    """Keep the bytes of a message; the answer is empty."""
    arrived.append(data)
    return b""


class A2ATransport(ProtocolTransport):
    """Carries messages over A2A."""

    protocol: ClassVar[Protocol] = "a2a"


class MCPTransport(ProtocolTransport):
    """Carries messages over MCP."""

    protocol: ClassVar[Protocol] = "mcp"
