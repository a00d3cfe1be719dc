"""Which texts this user wrote or has consented to, known by a key that only this user can read.

The key lies in the user's folder of settings, for example ``~/.config/agentcomm/key``. Without a place for it nothing
counts as the user's own.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

import click


def signature(text: bytes, create: bool = True) -> str:
    """The user's signature of a text; empty without a key, which is made when it is first needed if ``create``."""
    if create:
        with suppress(OSError, ValueError):
            _create_key()
    key = _key()
    return "" if key is None else hmac.new(key, text, hashlib.sha256).hexdigest()


def is_own(text: bytes, signed: str) -> bool:
    """Whether the user has signed the text."""
    own = signature(text, create=False)
    return bool(own) and hmac.compare_digest(own.encode(), signed.strip().encode())


def has_consent(text: bytes) -> bool:
    """Whether :func:`remember_consent` was called for this text."""
    own = signature(b"consent:" + text, create=False)
    return bool(own) and own in _consents()


def remember_consent(text: bytes) -> None:
    """Remember that the user trusts what a text describes."""
    own = signature(b"consent:" + text)
    if own and own not in _consents():
        with suppress(OSError), (_home() / "consents").open("a", encoding="utf-8") as file:
            file.write(own + "\n")


def _home() -> Path:
    return Path(click.get_app_dir("agentcomm"))


def _consents() -> list[str]:
    try:
        return (_home() / "consents").read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return []


def _create_key() -> None:
    path = _home() / "key"
    if path.exists():
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f"key-{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
    with suppress(FileExistsError):  # another process was faster
        os.link(temporary, path)
    temporary.unlink()


def _key() -> bytes | None:
    """The user's key; None if there is none that only this user can read."""
    path = _home() / "key"
    with suppress(OSError, ValueError):
        about = path.stat()
        if about.st_uid == os.getuid() and not about.st_mode & 0o077:
            key = bytes.fromhex(path.read_text(encoding="utf-8"))
            return key if len(key) == 32 else None
    return None
