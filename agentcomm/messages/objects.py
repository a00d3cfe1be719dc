"""The message layer message by message: real envelopes, real bytes, real seals.

An :class:`ObjectNetwork` does what :class:`agentcomm.messages.network.Network` does, one message at a time: every
message is sealed with a real key, written as bytes, attacked as bytes, read back by its receiver, and judged on what
was read. It is slow, and it is the proof that the batch means what it says: both give the same verdicts, the same
ledger and the same inboxes. Channels and codecs are the batch's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from agentcomm.contracts.shape import Setting
from agentcomm.defense import Defense, Verifier
from agentcomm.guards.effects import Effects
from agentcomm.guards.messages import MessageGuard
from agentcomm.messages.envelope import Envelope, pack_floats, unpack_floats
from agentcomm.messages.network import Network
from agentcomm.messages.seals import HmacKeys
from agentcomm.messages.traffic import HEADER, Traffic
from agentcomm.messages.wire import decode, encode
from agentcomm.seeds import derive

Place = tuple[int, int, int]  # world, receiver, slot
NUMBERS = [name for name in HEADER if name not in ("key", "seal")]


class _Verdicts:
    """What real verification said of every slot."""

    def __init__(self, verdicts: Tensor) -> None:
        self._verdicts = verdicts

    def verify(self, traffic: Traffic) -> Tensor:
        """[B, N, M] bool."""
        return self._verdicts


class ObjectNetwork(Network):
    """Attacks and defenses on real messages.

    Args:
        setting: Sizes.
        guards: As for ``Network``.
        defenses: As for ``Network``.
        seed: As for ``Network``; also of the real keys.

    Attributes:
        wire: The bytes on the wire in this exchange, by world, receiver and slot.
    """

    def __init__(
        self, setting: Setting, guards: Sequence[MessageGuard] = (), defenses: Sequence[Defense] = (), seed: int = 0
    ) -> None:
        super().__init__(setting, guards, defenses, seed)
        self.keys = HmacKeys(derive(seed, "real keys"), setting.num_agents)
        self.wire: dict[Place, bytes] = {}
        self._kept_back: dict[tuple[int, int, Place], bytes] = {}  # by attacks: exchange and step in which it is due
        self._length: dict[Place, int] = {}  # of all that was put on the wire, dropped or not
        self._seals: dict[int, bytes] = {0: b""}  # symbolic seal -> the real one: what attackers may have copied
        self._read = _Verdicts(torch.zeros(0))

    @property
    def quiet(self) -> bool:
        """Never: every message is made."""
        return False

    @property
    def _verifier(self) -> Verifier:
        return self._read

    def _send(self, traffic: Traffic) -> Traffic:
        traffic = super()._send(traffic)
        self.wire.clear()
        self._length.clear()
        for place in _places(traffic.present):
            envelope = self._envelope(traffic, place, None, b"")
            if self.sealed:
                envelope = self.keys.seal(envelope, int(traffic.origin[place]))
                self._seals[int(traffic.seal[place])] = envelope.seal
            elif int(traffic.seal[place]):  # only a compromised agent's own seals, where nobody else seals anything
                envelope = self._forgery(traffic, place)
            self._put(place, envelope)
        return traffic

    def _act(
        self,
        guard: MessageGuard,
        traffic: Traffic,
        step: Tensor,
        kind: int,
        due: Tensor | None,
        foresee: Callable[[Traffic], Tensor] | None,
    ) -> tuple[Traffic, Effects]:
        after, did = super()._act(guard, traffic, step, kind, due, foresee)
        if guard.at_sender:  # nothing is on the wire yet
            return after, did
        payload = after.payload()
        for place in _places(did.tampered):
            changed = pack_floats(payload[place].numpy())
            self._put(place, decode(self.wire[place]).model_copy(update={"payload": changed}))
        for place in _places(did.forged):
            self._put(place, self._forgery(after, place))
        for place in _places(did.dropped):
            del self.wire[place]
        return after, did

    def _attack(
        self,
        traffic: Traffic,
        step: Tensor,
        kind: int,
        due: Tensor | None,
        foresee: Callable[[Traffic], Tensor] | None,
    ) -> tuple[Traffic, Effects]:
        after, did = super()._attack(traffic, step, kind, due, foresee)
        for place in _places((did.delay > 0) & after.present):
            when = int(step[place[0]] + did.delay[place])
            self._kept_back[kind, when, place] = self.wire.pop(place)
        return after, did

    def reset(self, worlds: Tensor) -> None:
        """Start the given worlds ([W] indices) afresh; counters go on."""
        super().reset(worlds)
        gone = set(worlds.tolist())
        self._kept_back = {at: data for at, data in self._kept_back.items() if at[2][0] not in gone}

    def _forgery(self, traffic: Traffic, place: Place) -> Envelope:
        """What an attack wrote: with a seal it copied, one by its own key, or one it made up."""
        key, tag = int(traffic.key[place]), int(traffic.seal[place])
        if tag in self._seals:
            return self._envelope(traffic, place, None if key < 0 else key, self._seals[tag])
        envelope = self._envelope(traffic, place, key, bytes(32))
        own = self.keyring.tag(traffic, traffic.key)[place] == tag
        if bool(own):
            envelope = self.keys.seal(envelope, key)
            self._seals[tag] = envelope.seal
        return envelope

    def _envelope(self, traffic: Traffic, place: Place, key: int | None, seal: bytes) -> Envelope:
        fields: dict[str, int | bytes | None] = {name: int(getattr(traffic, name)[place]) for name in NUMBERS}
        world, _, _ = place
        said = traffic.spoken[world, traffic.source[place]]
        scale = 1.0 if traffic.scale is None else traffic.scale[place]
        delta = 0.0 if traffic.delta is None else traffic.delta[place]
        payload = pack_floats((scale * said + delta).numpy())
        return Envelope.model_validate(fields | {"key": key, "payload": payload, "seal": seal})

    def _put(self, place: Place, envelope: Envelope) -> None:
        self.wire[place] = encode(envelope)
        self._length[place] = len(self.wire[place])

    def _bytes(self, t: Traffic, payload: Tensor | int) -> Tensor:
        size = torch.zeros_like(t.source)
        for place, length in self._length.items():
            size[place] = length
        return size

    def _receive(self, traffic: Traffic, step: Tensor, kind: int) -> Traffic:
        """Everything that a receiver knows comes from bytes, and every verdict on a seal from a real key."""
        fields = {name: getattr(traffic, name).clone() for name in (*NUMBERS, "key")}
        verdicts = torch.zeros_like(traffic.present)
        payload = traffic.payload()
        for place in _places(traffic.present):
            if place not in self.wire:
                self.wire[place] = self._kept_back.pop((kind, int(step[place[0]]), place))
            envelope = decode(self.wire[place])
            for name in NUMBERS:
                fields[name][place] = getattr(envelope, name)
            fields["key"][place] = -1 if envelope.key is None else envelope.key
            payload[place] = torch.from_numpy(unpack_floats(envelope.payload))
            verdicts[place] = self.keys.verify(envelope)
        self._read = _Verdicts(verdicts)
        traffic = replace(traffic, **fields).edit_payload(traffic.present, payload)
        return super()._receive(traffic, step, kind)


def _places(where: Tensor) -> Iterator[Place]:
    yield from map(tuple, where.nonzero().tolist())
