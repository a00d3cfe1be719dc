"""Default topologies of the policies in this package, and the one without links.

They have full names, so that they are found even if other packages have plug-ins of the same names.
"""

from __future__ import annotations

from agentcomm.contracts.topology import TopologyChoice

NO_LINKS = TopologyChoice(name="agentcomm/none")
FULL = TopologyChoice(name="agentcomm/full")
LEARNED = TopologyChoice(name="agentcomm/learned")
DYNAMIC = TopologyChoice(name="agentcomm/dynamic")
