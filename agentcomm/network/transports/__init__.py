"""Transports: ``batch`` carries messages as tensors, ``objects`` one by one as bytes; others are found by name."""

from __future__ import annotations

from collections.abc import Callable

from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.transport import Transport
from agentcomm.wire.keyring import Keyring

# Makes a transport from the shape of the team, the keyring of symbolic seals and the seed of its own keys.
MakeTransport = Callable[[TeamShape, Keyring, int], Transport]
