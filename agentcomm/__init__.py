"""agentcomm: a testbed for multi-agent communication and its security."""

import os

# Torch's OpenMP threads spin while they wait for each other. When another process wants the same cores
# that costs up to 40 times the run time (benchmarks/README.md); with a short spin the two share fairly.
# It must be set before torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
