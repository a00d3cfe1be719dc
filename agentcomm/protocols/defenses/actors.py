"""Actor chains: who delegated to whom, signed by each hop.

The first hop is signed by an originator, someone who may start work; every other actor must extend the chain that it
was asked under. That, not a depth that a caller reports, bounds recursion: an agent that hides the chain it was given
has no right to start another. A hop names the digest of the chain before it and the next actor, so hops can be neither
cut out nor put together from two chains. A chain that visits an actor twice is a cycle and refused. An earlier part of
a chain is itself a valid chain and could be handed on many times, so a receiver also counts the requests of each root.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from contextvars import ContextVar

import msgspec

from agentcomm.protocols.defenses.canonical import digest
from agentcomm.protocols.defenses.claims import MAX_TOKEN, decode, encode
from agentcomm.protocols.defenses.errors import RefusedError
from agentcomm.protocols.defenses.keys import SignKey, VerifyKey
from agentcomm.protocols.defenses.store import MemoryStore, Store

DOMAIN = b"agentcomm/actor-chain/1\0"
FIELD = "actorChain"  # of metadata

asked_under: ContextVar[Sequence[str]] = ContextVar("asked_under", default=())
"""The chain under which the running request was asked, over whatever protocol; what it asks of others extends it."""


class Hop(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """One delegation.

    Attributes:
        actor: Who delegates.
        audience: To whom.
        root: Random name of the whole chain.
        expires: Seconds since the epoch.
        before: SHA-256 of the hop before, as a token; empty at the root.
    """

    actor: str
    audience: str
    root: str
    expires: float
    before: bytes


class Actor:
    """Starts and extends chains.

    Args:
        name: Its name.
        key: Its key.
    """

    def __init__(self, name: str, key: SignKey) -> None:
        self.name, self._key = name, key

    def start(self, audience: str, expires: float) -> list[str]:
        """A chain of one hop; receivers accept it from originators only."""
        return [self._hop(audience, secrets.token_hex(8), expires, b"")]

    def extend(self, chain: Sequence[str], audience: str) -> list[str]:
        """The chain under which this actor was asked, with a hop to the next one.

        Raises:
            RefusedError: If the chain is empty or malformed.
        """
        if not chain:
            raise RefusedError("there is no chain to extend")
        last = _parse(chain[-1])[0]
        return [*chain, self._hop(audience, last.root, last.expires, digest(chain[-1].encode()))]

    def carry(self, audience: str, expires: float) -> list[str]:
        """The chain for a request to the next actor: the one that this actor was asked under, or a new one."""
        chain = asked_under.get()
        return self.extend(chain, audience) if chain else self.start(audience, expires)

    def _hop(self, audience: str, root: str, expires: float, before: bytes) -> str:
        body = msgspec.msgpack.encode(Hop(self.name, audience, root, expires, before))
        return f"{encode(body)}.{encode(self._key.sign(DOMAIN + body))}"


class ChainVerifier:
    """Verifies chains that end at one actor.

    Args:
        name: Its name.
        keys: Keys of all actors by name.
        originators: Who may start a chain.
        max_depth: Most hops.
        per_root: Most requests accepted under one root.
        max_lifetime: Longest lifetime accepted, in seconds.
        store: Counts the requests of each root.
    """

    def __init__(
        self,
        name: str,
        keys: Mapping[str, VerifyKey],
        originators: Collection[str],
        max_depth: int = 8,
        per_root: int = 32,
        max_lifetime: float = 600.0,
        store: Store | None = None,
    ) -> None:
        self._name, self._keys, self._originators = name, keys, frozenset(originators)
        self._max_depth, self._per_root, self._max_lifetime = max_depth, per_root, max_lifetime
        self._store = MemoryStore() if store is None else store

    def verify(self, chain: Sequence[str], caller: str | None = None) -> list[str]:
        """The actors of a chain, the originator first.

        Args:
            chain: One token per hop.
            caller: Who handed it over, as authenticated; None if that is not known.

        Raises:
            RefusedError: If the chain is missing, too long, broken, cyclic, expired, forged, or used too often.
        """
        if not 0 < len(chain) <= self._max_depth:
            raise RefusedError(f"an actor chain must have 1 to {self._max_depth} hops; this one has {len(chain)}")
        hops = [self._authentic(token) for token in chain]
        actors = [hop.actor for hop in hops]
        if actors[0] not in self._originators or hops[0].before:
            raise RefusedError(f"{actors[0]!r} may not start a chain; it must extend the one under which it was asked")
        if len({*actors, self._name}) != len(actors) + 1:
            raise RefusedError("the chain visits an actor twice")
        for token, hop, following in zip(chain, hops, hops[1:], strict=False):
            same = (following.root, following.expires) == (hop.root, hop.expires)
            if hop.audience != following.actor or following.before != digest(token.encode()) or not same:
                raise RefusedError("the hops of the chain do not belong together")
        last = hops[-1]
        if last.audience != self._name or (caller is not None and caller != last.actor):
            raise RefusedError(f"the chain leads from {last.actor!r} to {last.audience!r}")
        now = self._store.clock()
        if not now < last.expires <= now + self._max_lifetime:
            raise RefusedError("the chain has expired or lives too long")
        self._store.update(actors[0], last.root, self._count, self._max_lifetime)
        return actors

    def _authentic(self, token: str) -> Hop:
        hop, body, signature = _parse(token)
        key = self._keys.get(hop.actor)
        if key is None or not key.verify(signature, DOMAIN + body):
            raise RefusedError(f"the hop of {hop.actor[:40]!r} is not signed by it")
        return hop

    def _count(self, old: bytes | None) -> bytes:
        count = 1 + (0 if old is None else int.from_bytes(old))
        if count > self._per_root:
            raise RefusedError(f"more than {self._per_root} requests came under one root")
        return count.to_bytes(4)


def _parse(token: object) -> tuple[Hop, bytes, bytes]:
    """A hop, its bytes and its signature, which is not verified here."""
    if not isinstance(token, str) or len(token) > MAX_TOKEN or token.count(".") != 1:
        raise RefusedError("a hop of the chain is malformed")
    body, signature = map(decode, token.split("."))
    try:
        return msgspec.msgpack.decode(body, type=Hop), body, signature
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise RefusedError(f"a hop of the chain is malformed: {error}") from error
