"""Stages at the senders, before messages are on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from agentcomm.base.answers import check_tensor
from agentcomm.base.calling import answered, calling
from agentcomm.base.state import Memory
from agentcomm.contracts.codec import Codec, Coded
from agentcomm.guards.messages import MessageGuard
from agentcomm.network.exchange import Exchange
from agentcomm.network.stages.stage import Stage
from agentcomm.wire.keyring import Keyring


class Encode(Stage):
    """A codec encodes payloads.

    Args:
        codec: The codec.
        memory: Its memory, shared with :class:`Decode`.
    """

    keeps = ("memory",)

    def __init__(self, codec: Codec, memory: Memory) -> None:
        self.codec, self.memory = codec, memory
        self.who = f"codec {codec.name!r}"

    def __call__(self, x: Exchange) -> None:
        """Replace payloads by the values that their encoding represents."""
        with calling(self.who, "encode"):
            coded = self.codec.encode(x.spoken, self.memory.tensors, x.step, x.round)
        answered(coded, Coded, self.who, "encode", "a Coded")
        values, bits = coded
        check_tensor(self.who, "encode: values", values, tuple(x.spoken.shape), x.spoken.dtype, optional=False)
        check_tensor(self.who, "encode: bits", bits, tuple(x.spoken.shape[:2]), torch.int64, optional=False)
        x.note(self.who, "values (encode)", values)
        x.coding, x.payload_bytes = values - x.spoken, (bits + 7) // 8
        x.traffic = replace(x.traffic, spoken=values)

    def reset(self, worlds: Tensor) -> None:
        """Reset the codec's memory of the given worlds ([W] indices)."""
        self.memory.reset(worlds)


class AttackSenders(Stage):
    """Compromised agents change their messages before they are sealed and encoded as bytes."""

    def __init__(self, guards: Sequence[MessageGuard], keyring: Keyring) -> None:
        self.guards, self.keyring = guards, keyring

    def __call__(self, x: Exchange) -> None:
        """Apply each attack in turn; messages dropped here were never sent."""
        for guard in self.guards:
            predict = x.prediction(guard)
            x.attacked(*guard.apply(x.traffic, self.keyring, x.step, x.round, x.links.due, predict))
        x.effects = x.insider = replace(x.effects, unsaid=x.effects.dropped)


class Seal(Stage):
    """Senders seal their messages."""

    def __init__(self, keyring: Keyring) -> None:
        self.keyring = keyring

    def __call__(self, x: Exchange) -> None:
        """Seal every message with its true sender's key."""
        x.traffic = self.keyring.seal(x.traffic)
