"""agentcomm: a testbed for multi-agent communication and its security.

import agentcomm
run = agentcomm.train("examples/predator_capture_prey.yaml")
agentcomm.evaluate(run, attacks=["drop:probability=0.5"], defenses=["authenticate"])
agentcomm.report(run)
"""

import os
from typing import Any

# Torch's OpenMP threads spin while they wait for each other. When another process wants the same cores
# that costs up to 40 times the run time (benchmarks/README.md); with a short spin the two share fairly.
# It must be set before torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

_API = ("train", "evaluate", "report")
__all__ = ["evaluate", "report", "train"]


def __getattr__(name: str) -> Any:
    """Load the API when it is first used: `import agentcomm` alone stays cheap."""
    if name in _API:
        from agentcomm import api

        return getattr(api, name)
    raise AttributeError(f"module 'agentcomm' has no attribute {name!r}")
