"""The topologies that the policies here have by default, and the one that nobody listens on.

They are named with their package, so that they are found whatever other packages call their own.
"""

from __future__ import annotations

from agentcomm.contracts.topology import TopologyChoice

NO_LINKS = TopologyChoice(name="agentcomm/none")
FULL = TopologyChoice(name="agentcomm/full")
LEARNED = TopologyChoice(name="agentcomm/learned")
DYNAMIC = TopologyChoice(name="agentcomm/dynamic")
