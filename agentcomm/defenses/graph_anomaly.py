"""graph_anomaly: refuse messages that do not fit into their inbox, learned without a labelled attack.

BlindGuard (Miao et al., "BlindGuard: safeguarding LLM-based multi-agent systems under unknown attacks", 2025)
describes an agent by itself, its neighborhood and the whole graph, corrupts clean examples, and trains an encoder
that tells both apart. Here a node is a message: it is described by itself, the messages of its inbox that are similar
to it, the whole inbox, what the receiver itself says, the claimed sender and the round. The score is the logit of a
small network for "corrupted"; the threshold comes from held-out clean episodes
(:mod:`agentcomm.defenses.parts.detector`).

What it cannot stop: a lie that an honest sender could have told in that inbox, since nothing about it is unusual (the
attack ``substitute``); lies of a majority of the inbox, which set what is usual there; changes below the smallest
corruption that it was trained on; messages that are only missing or late.
"""

from __future__ import annotations

from torch import Tensor, nn

from agentcomm.contracts.examples import Examples
from agentcomm.defenses.parts.detector import Detector, DetectorConfig, Messages
from agentcomm.defenses.parts.features import Features
from agentcomm.defenses.parts.networks import balanced, network, train


class GraphAnomalyConfig(DetectorConfig):
    """Arguments of ``graph_anomaly``."""


class GraphAnomaly(Detector[GraphAnomalyConfig]):
    """Scores messages by a network that tells clean messages from corrupted ones."""

    answers = ("aa.l3.cross_agent_input_detection",)
    adaptive = ("substitute", "slow_drift")

    def fit(self, messages: Messages, examples: Examples) -> None:
        """Train the network on clean messages and corrupted copies of them."""
        features = Features(messages, self.team_shape.num_agents, self.rounds)
        self.network = nn.Sequential(features, network(features.size, 1, messages.payload.device))

        def loss(made: Messages, corrupted: Tensor, clean: Messages) -> Tensor:
            logit: Tensor = self.network(made).squeeze(-1)
            return balanced(logit, corrupted, clean.present)

        train(self.network, messages, features.spread, loss, examples.generator)

    def score(self, messages: Messages, memory: dict[str, Tensor]) -> Tensor:
        """The logit for "corrupted"."""
        logit: Tensor = self.network(messages).squeeze(-1)
        return logit
