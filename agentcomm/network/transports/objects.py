"""The objects transport: every message is an envelope with a real seal, written as bytes and read from bytes.

It is slow, and serves to check the batch transport: both give the same verdicts, the same ledger and the same inboxes.
Loss, delay and hops are computed by the same channels as in the batch, and applied to the bytes.
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
    """Carries one message at a time, as bytes.

    Args:
        team_shape: Shape of the team.
        keyring: The symbolic keys, which determine the real key for a symbolic seal.
        seed: Seed of the real keys.

    Attributes:
        wire: The bytes on the wire in this exchange, by world, receiver and slot.
    """

    keeps = ("_kept_back", "_seals")
    writes_codecs: ClassVar[bool] = False

    def __init__(self, team_shape: TeamShape, keyring: Keyring, seed: int) -> None:
        self._seed, self._agents = seed, team_shape.num_agents
        self._keys: dict[int, HmacKeys] = {}  # by how often they were renewed
        self.wire: dict[Place, bytes] = {}
        self._keyring = keyring
        self._kept_back: dict[tuple[int, int, Place], bytes] = {}  # by round, and step in which they are due
        self._seals: dict[int, bytes] = {0: b""}  # symbolic seal -> real seal, which attackers may copy
        self._signers = torch.zeros(0, dtype=torch.int64)

    def send(self, sent: Traffic, departed: Traffic, wire: Wire) -> Tensor:
        """Write every message as its sender or an attacker does, and apply what attacks did on the wire to the bytes.

        Returns:
            [B, N, M] int64 length of each message in bytes.
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
        """Store bytes until they are due; forwarding agents rewrite the number of hops."""
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
        """Decode the bytes that arrive, and verify their seals with the real keys."""
        fields = {name: getattr(traffic, name).clone() for name in (*NUMBERS, "key")}
        self._signers = torch.full_like(traffic.source, -1)
        payload = traffic.payload()
        for place in _places(traffic.present):
            envelope = decode(self.wire[place])
            for name in NUMBERS:
                fields[name][place] = getattr(envelope, name)
            fields["key"][place] = -1 if envelope.key is None else envelope.key
            payload[place] = torch.from_numpy(unpack_floats(envelope.payload))
            if envelope.key is not None:
                signer = self._keys_of(place, envelope.key).signer(envelope, self._episode(place))
                self._signers[place] = -1 if signer is None else signer
        return replace(traffic, **fields).edit_payload(traffic.present, payload)

    def verify(self, traffic: Traffic) -> Tensor:
        """[B, N, M] bool, whether the real keys verified the seals."""
        return (self._signers >= 0) & (self._signers == traffic.sender)

    def signers(self, traffic: Traffic) -> Tensor:
        """[B, N, M] int64, whose real key made each seal; -1 for none."""
        return self._signers

    def reset(self, worlds: Tensor) -> None:
        """Discard the bytes in transit in the given worlds ([W] indices)."""
        ended = set(worlds.tolist())
        self._kept_back = {key: data for key, data in self._kept_back.items() if key[2][0] not in ended}

    def _written(self, traffic: Traffic, place: Place, sealed: bool) -> Envelope:
        """An agent's message, with its own seal if all agents seal; otherwise only compromised agents may seal."""
        if not sealed:
            return self._forgery(traffic, place)
        origin, plain = int(traffic.origin[place]), self._envelope(traffic, place, None, b"")
        envelope = self._keys_of(place, origin).seal(plain, origin, self._episode(place))
        self._seals[int(traffic.seal[place])] = envelope.seal
        return envelope

    def _forgery(self, traffic: Traffic, place: Place) -> Envelope:
        """An attack's message: with a copied seal, a seal by its own key, or an invalid one."""
        key, tag = int(traffic.key[place]), int(traffic.seal[place])
        if tag in self._seals:
            return self._envelope(traffic, place, None if key < 0 else key, self._seals[tag])
        envelope = self._envelope(traffic, place, key, bytes(32))
        if bool(self._keyring.tag(traffic, traffic.key)[place] == tag):
            envelope = self._keys_of(place, key).seal(envelope, key, self._episode(place))
            self._seals[tag] = envelope.seal
        return envelope

    def _keys_of(self, place: Place, agent: int) -> HmacKeys:
        """The keys as often renewed as that of an agent in a place's world; agents are any numbers."""
        renewed = int(self._keyring.generation[place[0], min(agent, self._agents)])
        if renewed not in self._keys:
            generation = (renewed,) if renewed else ()
            self._keys[renewed] = HmacKeys(derive(self._seed, "real keys", *generation), self._agents)
        return self._keys[renewed]

    def _episode(self, place: Place) -> int:
        """Number of the episode that runs in a place's world."""
        return int(self._keyring.episode[place[0]])

    def _envelope(self, traffic: Traffic, place: Place, key: int | None, seal: bytes) -> Envelope:
        fields: dict[str, int | bytes | None] = {name: int(getattr(traffic, name)[place]) for name in NUMBERS}
        said = traffic.spoken[place[0], traffic.source[place]]
        scale = 1.0 if traffic.scale is None else traffic.scale[place]
        delta = 0.0 if traffic.delta is None else traffic.delta[place]
        payload = pack_floats((scale * said + delta).numpy())
        return Envelope.model_validate(fields | {"key": key, "payload": payload, "seal": seal})


def _places(where: Tensor) -> Iterator[Place]:
    yield from map(tuple, where.nonzero().tolist())
