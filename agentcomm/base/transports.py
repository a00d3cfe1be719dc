"""Transports by name: the testbed's own, and those that installed packages announce.

A package announces a transport as an entry point in the group ``agentcomm.transports``. It names what makes one: a
subclass of :class:`agentcomm.contracts.transport.Transport`, or a function, called with the shape of the team, the
keyring of symbolic seals and the seed of the transport's own keys. A transport is imported when it is first used.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from agentcomm.base.announced import load

GROUP = "agentcomm.transports"
OWN = "agentcomm"  # the distribution whose transports keep their names
FIRST = ("batch", "objects")


@cache
def _announced() -> dict[str, EntryPoint]:
    """Entry points by name; by ``package/name`` where another package has the name, too."""
    points = {(point.dist.name if point.dist else "", point.name): point for point in entry_points(group=GROUP)}
    count = Counter(name for _, name in points)
    return {
        name if package == OWN or count[name] == 1 else f"{package}/{name}": point
        for (package, name), point in points.items()
    }


def names() -> tuple[str, ...]:
    """Names of all transports: ``batch``, which is the default, and the others."""
    return (*FIRST, *sorted(name for name in _announced() if name not in FIRST))


def find(name: str) -> Any:
    """What makes the transport with this name.

    Raises:
        PluginError: If no package announces it, or its module cannot be imported.
    """
    return load("transport", name, _announced())
