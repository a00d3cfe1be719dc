"""The objects transport: every message is an envelope with a real seal, written as bytes and read from bytes.

It is slow, and it is the check that the batch means what it says: both give the same verdicts, the same ledger and the
same inboxes. Channels decide about messages as they do in the batch; what waits, takes hops or is lost are bytes here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from agentcomm.base.seeds import derive
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.traffic import HEADER, Traffic
from agentcomm.contracts.transport import Transport, Wire
from agentcomm.wire.encoding import decode, encode
from agentcomm.wire.envelope import Envelope, pack_floats, unpack_floats
from agentcomm.wire.keyring import Keyring
from agentcomm.wire.seals import HmacKeys

Place = tuple[int, int, int]  # world, receiver, slot
NUMBERS = [name for name in HEADER if name not in ("key", "seal")]


class ObjectTransport(Transport):
    """One message at a time.

    Args:
        team_shape: Sizes.
        keyring: The symbolic keys: tells which real key stands for a symbolic seal.
        seed: Seeds the real keys.

    Attributes:
        wire: The bytes on the wire in this exchange, by world, receiver and slot.
    """

    keeps = ("_kept_back", "_seals")
    writes_codecs: ClassVar[bool] = False

    def __init__(self, team_shape: TeamShape, keyring: Keyring, seed: int) -> None:
        self.keys = HmacKeys(derive(seed, "real keys"), team_shape.num_agents)
        self.wire: dict[Place, bytes] = {}
        self._keyring = keyring
        self._kept_back: dict[tuple[int, int, Place], bytes] = {}  # by round and the step in which it is due
        self._seals: dict[int, bytes] = {0: b""}  # symbolic seal -> the real one: attackers may have copied it
        self._verdicts = torch.zeros(0, dtype=torch.bool)

    def send(self, sent: Traffic, departed: Traffic, wire: Wire) -> Tensor:
        """Write every message as its sender or an attacker does, and then do to the bytes what attacks did on the wire.

        Returns:
            [B, N, M] int64, the length of the bytes.
        """
        self.wire.clear()
        size, payload = torch.zeros_like(departed.source), departed.payload()
        written = {place: self._written(sent, place, wire.sealed) for place in _places(sent.present)}
        written |= {place: self._forgery(departed, place) for place in _places(wire.put & ~sent.present)}
        for place, envelope in written.items():
            if bool(wire.tampered[place]):
                envelope = envelope.model_copy(update={"payload": pack_floats(payload[place].numpy())})
            data = encode(envelope)
            size[place] = len(data)
            if bool(departed.present[place]):
                self.wire[place] = data
        return size

    def carry(self, step: Tensor, round_: int, lost: Tensor, waits: Tensor, hops: Tensor, released: Tensor) -> None:
        """Keep bytes until they are due; forwarding agents rewrite the number of hops."""
        arriving: dict[Place, bytes] = {}
        for place, data in self.wire.items():
            if bool(lost[place]):
                continue
            if taken := int(hops[place]):
                envelope = decode(data)
                data = encode(envelope.model_copy(update={"hops": envelope.hops - taken}))
            if wait := int(waits[place]):
                self._kept_back[round_, int(step[place[0]]) + wait, place] = data
            else:
                arriving[place] = data
        for key in [key for key in self._kept_back if key[0] == round_ and key[1] <= int(step[key[2][0]])]:
            _, due, place = key
            data = self._kept_back.pop(key)
            if bool(released[place]) and due == int(step[place[0]]):
                arriving[place] = data
        self.wire = arriving

    def receive(self, traffic: Traffic) -> Traffic:
        """Everything a receiver knows comes from bytes, and every verdict on a seal from a real key."""
        fields = {name: getattr(traffic, name).clone() for name in (*NUMBERS, "key")}
        self._verdicts = torch.zeros_like(traffic.present)
        payload = traffic.payload()
        for place in _places(traffic.present):
            envelope = decode(self.wire[place])
            for name in NUMBERS:
                fields[name][place] = getattr(envelope, name)
            fields["key"][place] = -1 if envelope.key is None else envelope.key
            payload[place] = torch.from_numpy(unpack_floats(envelope.payload))
            self._verdicts[place] = self.keys.verify(envelope)
        return replace(traffic, **fields).edit_payload(traffic.present, payload)

    def verify(self, traffic: Traffic) -> Tensor:
        """[B, N, M] bool, what the real keys said of the bytes."""
        return self._verdicts

    def reset(self, worlds: Tensor) -> None:
        """Forget the bytes that are on their way in the given worlds ([W] indices)."""
        gone = set(worlds.tolist())
        self._kept_back = {key: data for key, data in self._kept_back.items() if key[2][0] not in gone}

    def _written(self, traffic: Traffic, place: Place, sealed: bool) -> Envelope:
        """What an agent wrote, with its own seal if all agents seal; else only a compromised one may have sealed it."""
        if not sealed:
            return self._forgery(traffic, place)
        envelope = self.keys.seal(self._envelope(traffic, place, None, b""), int(traffic.origin[place]))
        self._seals[int(traffic.seal[place])] = envelope.seal
        return envelope

    def _forgery(self, traffic: Traffic, place: Place) -> Envelope:
        """What an attack wrote: with a seal it copied, one by its own key, or one it made up."""
        key, tag = int(traffic.key[place]), int(traffic.seal[place])
        if tag in self._seals:
            return self._envelope(traffic, place, None if key < 0 else key, self._seals[tag])
        envelope = self._envelope(traffic, place, key, bytes(32))
        if bool(self._keyring.tag(traffic, traffic.key)[place] == tag):
            envelope = self.keys.seal(envelope, key)
            self._seals[tag] = envelope.seal
        return envelope

    def _envelope(self, traffic: Traffic, place: Place, key: int | None, seal: bytes) -> Envelope:
        fields: dict[str, int | bytes | None] = {name: int(getattr(traffic, name)[place]) for name in NUMBERS}
        said = traffic.spoken[place[0], traffic.source[place]]
        scale = 1.0 if traffic.scale is None else traffic.scale[place]
        delta = 0.0 if traffic.delta is None else traffic.delta[place]
        payload = pack_floats((scale * said + delta).numpy())
        return Envelope.model_validate(fields | {"key": key, "payload": payload, "seal": seal})


def _places(where: Tensor) -> Iterator[Place]:
    yield from map(tuple, where.nonzero().tolist())
