"""agentcomm: a testbed for multi-agent communication and its security.

import agentcomm
run = agentcomm.train("examples/predator_capture_prey.yaml")
agentcomm.evaluate(run, attacks=["drop:probability=0.5"], defenses=["authenticate"])
agentcomm.report(run)
"""

import os
import sys
from types import ModuleType
from typing import Any

# Torch's OpenMP threads spin while they wait for each other. When another process uses the same cores,
# this increases the run time up to 40 times (benchmarks/README.md); with a short spin, the cores are shared fairly.
# The variable must be set before torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

_API = (
    *("train", "from_callable", "evaluate", "certify", "rerun", "messages", "report", "pictures", "compare", "export"),
    "grid",
)
__all__ = [
    *("certify", "compare", "evaluate", "export", "from_callable", "grid", "messages", "pictures", "report", "rerun"),
    "train",
]


def __getattr__(name: str) -> Any:
    """Load the API on first use, so that `import agentcomm` is fast."""
    if name in _API:
        from agentcomm import api, grids

        return getattr(grids if name == "grid" else api, name)
    raise AttributeError(f"module 'agentcomm' has no attribute {name!r}")


class _Package(ModuleType):
    """Keeps ``agentcomm.report`` the function when the folder of that name is imported, which would hide it."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _API and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
