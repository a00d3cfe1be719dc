"""What cheats found out, kept where guards do not look: in a module that is not their own."""

from __future__ import annotations

from typing import Any

FOUND: dict[str, Any] = {}
