"""Cost: messages, bytes and delay that communication takes, and how dense it is."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from agentcomm.contracts.metric import Group, Metric, PooledMetric
from agentcomm.contracts.outcome import Episodes

IC3NET = "Singh et al., IC3Net, ICLR 2019, section 3"
SCHEDNET = "Kim et al., Learning to schedule communication in multi-agent reinforcement learning, ICLR 2019, section 2"
COMMFORMER = "Hu et al., Learning multi-agent communication from graph modeling perspective, ICLR 2024, section 4"
SLIM = "Canesse et al., Decoupling communication from policy, arXiv 2605.21085 (2026)"
RFC = "Almes et al., A one-way delay metric for IP performance metrics, RFC 7679, section 3"


class GateOpen(Metric):
    """Share of open gates over all steps and agents."""

    group: ClassVar[Group] = "cost"
    source = IC3NET

    def value(self, episodes: Episodes) -> float:
        """The share."""
        return episodes.gate_open


class MessagesPerStep(PooledMetric):
    """Messages that the team sends per step."""

    unit, better, source = "messages", "lower", SCHEDNET
    group: ClassVar[Group] = "cost"

    def parts(self, episodes: Episodes) -> tuple[Tensor, Tensor]:
        """Messages and steps."""
        return episodes.messages["sent"], episodes.length


class BytesPerStep(PooledMetric):
    """Bytes that the team puts on the wire per step."""

    unit, better, source = "bytes", "lower", SCHEDNET
    group: ClassVar[Group] = "cost"

    def parts(self, episodes: Episodes) -> tuple[Tensor, Tensor]:
        """Bytes and steps."""
        return episodes.bytes, episodes.length


class BytesPerAgentStep(PooledMetric):
    """Bytes that each agent puts on the wire per step, with ids, sequence numbers and tags."""

    unit, better, source = "bytes", "lower", SCHEDNET
    group: ClassVar[Group] = "cost"

    def parts(self, episodes: Episodes) -> tuple[Tensor, Tensor] | None:
        """Bytes, and steps of all members."""
        if episodes.links is None:
            return None
        return episodes.bytes, episodes.length * episodes.links.agents


class BandwidthBudget(PooledMetric):
    """beta: message width x rounds x share of links in use, as numbers per step from each agent to each other one.

    The paper normalizes by constants of its tasks that we do not know; this one compares any two teams of a task, and
    gates and actions told in turns are counted as they happen. Codecs change bytes, not this number.
    """

    unit, better, source = "numbers", "lower", SLIM
    group: ClassVar[Group] = "cost"

    def parts(self, episodes: Episodes) -> tuple[Tensor, Tensor] | None:
        """Numbers in the messages sent, and pairs of agents in all steps."""
        if episodes.links is None or episodes.links.agents < 2 or not episodes.numbers:
            return None
        agents = episodes.links.agents
        return episodes.messages["sent"] * episodes.numbers, episodes.length * agents * (agents - 1)


class Density(Metric):
    """Share of ordered pairs of agents of which the one accepted a message from the other in an episode."""

    better, source = "lower", COMMFORMER
    group: ClassVar[Group] = "cost"

    def by_episode(self, episodes: Episodes) -> Tensor | None:
        """[B] shares."""
        if episodes.links is None or episodes.links.agents < 2:
            return None
        agents = episodes.links.agents
        return episodes.links.used() / (agents * (agents - 1))


class LatencySteps(PooledMetric):
    """Mean latency of arrived messages, in steps; applies if channels or attacks delay messages."""

    unit, better, source = "steps", "lower", RFC
    group: ClassVar[Group] = "cost"

    def parts(self, episodes: Episodes) -> tuple[Tensor, Tensor] | None:
        """Latency in steps, and arrived messages."""
        steps, seconds = episodes.late_by
        return (steps, _arrived(episodes)) if seconds.any() else None


class LatencyMs(PooledMetric):
    """Mean latency of arrived messages, in milliseconds; applies if channels or attacks delay messages."""

    unit, better, source, scale = "ms", "lower", RFC, 1000
    group: ClassVar[Group] = "cost"

    def parts(self, episodes: Episodes) -> tuple[Tensor, Tensor] | None:
        """Latency in seconds, and arrived messages."""
        seconds = episodes.late_by[1]
        return (seconds, _arrived(episodes)) if seconds.any() else None


def _arrived(episodes: Episodes) -> Tensor:
    return episodes.messages["accepted"] + episodes.messages["refused"]
