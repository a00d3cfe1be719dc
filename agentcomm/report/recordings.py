"""Recordings for the player, as compressed JSON: most of a page's size."""

from __future__ import annotations

import base64
import json
import math
import zlib
from typing import Any

from agentcomm.base.text import visible
from agentcomm.report.graphs import kind_of, kinds_of, short_name


def player(episodes: dict[str, Any] | None) -> str:
    """Recordings with each agent's short name and shape, as JSON, deflated, in base64; empty without any.

    Args:
        episodes: Content of ``episodes.json``.
    """
    if episodes is None:
        return ""
    agents = [str(name) for name in episodes.get("agents") or []]
    kinds = [str(kind) for kind in episodes.get("kinds") or map(kind_of, agents)]
    shapes = kinds_of(list(dict.fromkeys(kinds)))
    data = {
        "agents": agents,
        "short": [short_name(name) for name in agents],
        "shapes": [shapes.get(kind_of(kind), "circle") for kind in kinds],
        "size": episodes.get("size"),
        "vision": episodes.get("vision"),
        "episodes": [
            {key: e.get(key) for key in ("label", "scene", "attack", "defense", "seed", "success")}
            | {"steps": [_frame(frame) for frame in e["steps"]]}
            for e in episodes["episodes"]
        ],
    }
    text = json.dumps(_finite(data), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def _frame(frame: dict[str, Any]) -> dict[str, Any]:
    """The data of a frame for the player; messages as short rows."""
    messages = [
        [m.get("sender"), m.get("receiver"), _verdict(m), m.get("refused_by"), m.get("age") or 0, m.get("round") or 0]
        for m in frame.get("messages") or []
    ]
    keys = ("agents", "prey", "alive", "actions", "gates", "observations", "altered", "facts")
    return {key: frame[key] for key in keys if frame.get(key) is not None} | {"messages": messages}


def _verdict(message: dict[str, Any]) -> list[str]:
    """What an attack or a channel did to a message, and whether its receiver accepted it."""
    fate = str(message.get("fate"))
    if fate == "delivered" and (message.get("age") or 0) > 0:
        fate = "late"
    gone = fate in ("dropped", "lost", "delayed")
    return [fate, "gone" if gone else "accepted" if message.get("accepted") else "refused"]


def _finite(data: Any) -> Any:
    """Plain data with control characters in texts made visible, and None for numbers that JSON lacks."""
    if isinstance(data, str):
        return visible(data)
    if isinstance(data, dict):
        return {str(key): _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
