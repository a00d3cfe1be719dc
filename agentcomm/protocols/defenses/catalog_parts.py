"""What the catalogs of both protocols share: keys of systems under test, and the middleware in front of any server."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from agentcomm.protocols.defenses.keys import PrivateKey, SharedKey, SignKey, VerifyKey

NAME = "worker"  # audience of messages, and name of the key of the card, in the systems under attack


class DerivedKeys(Mapping[str, SignKey]):
    """A key for every name, for systems under test: no secret from anyone who reads this file.

    Args:
        kind: ``hmac`` or ``ed25519``.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def __getitem__(self, name: str) -> SignKey:
        seed = hashlib.sha256(f"agentcomm/test/{self._kind}/{name}".encode()).digest()
        return SharedKey(seed) if self._kind == "hmac" else PrivateKey(seed)

    def __contains__(self, name: object) -> bool:
        return bool(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def get(self, name: str, default: object = None) -> VerifyKey | None:  # type: ignore[override]
        """The key, or None for no name."""
        return self[name] if name else None


def sign_answers(parts: Any) -> None:
    """Answers are signed, and checked by the client below everything else."""
    from agentcomm.protocols.defenses.http_answers import SignAnswers, VerifyAnswers

    key = DerivedKeys("ed25519")[NAME]
    parts.middleware.append(lambda app: SignAnswers(app, NAME, key))
    parts.http.append(lambda inner, user: VerifyAnswers(inner, NAME, key))


def limits(parts: Any) -> None:
    """Size, depth, rate and time of requests."""
    from agentcomm.protocols.defenses.asgi import LimitRequests
    from agentcomm.protocols.defenses.limits import Quota

    parts.middleware.append(lambda app: LimitRequests(app, quota=Quota()))


def browsers(parts: Any) -> None:
    """Host, Origin and content type of requests."""
    from agentcomm.protocols.defenses.asgi import CheckOrigin

    parts.middleware.append(CheckOrigin)
