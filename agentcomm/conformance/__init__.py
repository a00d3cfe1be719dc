"""Conformance checks for plug-ins, to be called by their authors.

``check(MyPlugin)`` checks a plug-in of any axis in all variants of its ``forms()``, as ``agentcomm check`` does, and
names the line of its code where something is wrong. The checks of the axes take more arguments:
``check_world(lambda num_worlds: MyWorld(config, num_worlds))``, ``check_policy(lambda world: MyPolicy.for_world(config,
world), make_world)``, ``check_attack(MyAttack, {"argument": 1})``, ``check_defense(MyDefense)``,
``check_channel(MyChannel)``, ``check_codec(MyCodec)``, ``check_topology(MyTopology)``, ``check_metric(MyMetric)`` and,
for any PettingZoo environment, ``check_seeds(MyParallelEnv)`` raise ``AssertionError`` with a description of the
problem. No test framework is needed.
"""

from agentcomm.conformance.attacks import check_attack
from agentcomm.conformance.axes import check
from agentcomm.conformance.channels import check_channel
from agentcomm.conformance.codecs import check_codec
from agentcomm.conformance.defenses import check_defense
from agentcomm.conformance.metrics import check_metric
from agentcomm.conformance.policies import check_policy
from agentcomm.conformance.seeds import check_seeds
from agentcomm.conformance.topologies import check_topology
from agentcomm.conformance.worlds import check_world

__all__ = [
    "check",
    "check_attack",
    "check_channel",
    "check_codec",
    "check_defense",
    "check_metric",
    "check_policy",
    "check_seeds",
    "check_topology",
    "check_world",
]
