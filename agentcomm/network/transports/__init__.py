"""Transports by name: ``batch`` carries messages as tensors, ``objects`` one by one as bytes."""

from __future__ import annotations

from collections.abc import Callable

from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.transport import Transport
from agentcomm.network.transports.batch import BatchTransport
from agentcomm.network.transports.objects import ObjectTransport
from agentcomm.wire.keyring import Keyring

# Makes a transport from the shape of the team, the keyring of symbolic seals and the seed of its own keys.
MakeTransport = Callable[[TeamShape, Keyring, int], Transport]

TRANSPORTS: dict[str, MakeTransport] = {"batch": BatchTransport, "objects": ObjectTransport}
