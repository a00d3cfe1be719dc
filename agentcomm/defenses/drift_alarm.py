"""drift_alarm: refuse the messages of a sender while they have drifted away from what it usually says.

For every receiver and claimed sender, a control chart follows the distance of the messages from the calibrated mean
of that sender and round, in units of its usual spread. ``cusum`` (Page, Biometrika 1954) sums how far the distance
exceeds its clean mean by more than ``slack`` standard deviations, and never falls below 0; ``ewma`` (Roberts,
Technometrics 1959) averages it with exponentially falling weights. The score is the chart; while it is above the
threshold, which comes from charts of held-out clean episodes, all messages of the sender are refused. Detection delay
is the metric that suits it.

What it cannot stop: a lie at the usual distance from the mean; a drift so slow that it stays below ``slack``, or one
that ends before the chart crosses the threshold (``slow_drift``); the first messages of any attack. It keeps books by
claimed sender: without authentication, an attacker can raise the alarm about an honest one.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.examples import Examples
from agentcomm.defenses.parts.detector import Messages, SenderConfig, SenderDetector

FARTHEST = 50.0  # standard deviations that one message counts at most, so that an alarm ends


class DriftAlarmConfig(SenderConfig):
    """Arguments of ``drift_alarm``."""

    chart: Literal["cusum", "ewma"] = Field("cusum", description="cumulative sum, or moving average, of distances")
    slack: float = Field(0.5, ge=0, description="standard deviations above the mean that CUSUM ignores per message")
    weight: float = Field(0.3, gt=0, le=1, description="weight of the newest message in the moving average")


class DriftAlarm(SenderDetector[DriftAlarmConfig]):
    """Keeps a control chart per receiver and claimed sender."""

    history = None
    answers = ("aa.l3.drift_detection",)
    adaptive = ("slow_drift",)

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Both charts."""
        return {"": {"unauthenticated": True}, "ewma": {"chart": "ewma", "unauthenticated": True}}

    def memory(self) -> dict[str, Tensor]:
        """``chart`` [B, N, N + 1] by receiver and claimed sender; place N is an outsider's."""
        s = self.team_shape
        return {"chart": torch.zeros(s.num_worlds, s.num_agents, s.num_agents + 1, device=s.device)}

    def fit(self, messages: Messages, examples: Examples) -> None:
        """Mean and spread of what each agent says in each round, and the usual distance from it."""
        agents, width = self.team_shape.num_agents, messages.payload.shape[-1]
        self.mean, self.spread = messages.own.new_zeros(2, self.rounds, agents + 1, width)
        for number in range(self.rounds):
            said = messages.own[messages.round == number]
            said = said if len(said) > 1 else messages.own
            everyone = said.flatten(0, 1)
            self.mean[number] = torch.cat([said.mean(0), everyone.mean(0, keepdim=True)])
            self.spread[number] = torch.cat([said.std(0), everyone.std(0, keepdim=True)])
        self.spread.clamp_(min=1e-3 + 0.05 * float(messages.own.std()))
        self.usual = (0.0, 1.0)
        distance = self._distance(messages)[messages.present]
        self.usual = float(distance.mean()), float(distance.std().clamp_min(1e-3))

    def score(self, messages: Messages, memory: dict[str, Tensor]) -> Tensor:
        """The chart of each message's sender, this message included."""
        chart, m = memory["chart"], messages
        lowest = torch.full_like(chart, -torch.inf)
        distance = self._distance(m).masked_fill(~m.present, -torch.inf)
        newest = lowest.scatter_reduce(2, m.sender, distance, "amax")  # the farthest message in one name counts
        if self.config.chart == "cusum":
            later = (chart + newest - self.config.slack).clamp_min(0.0)
        else:
            later = chart + self.config.weight * (newest - chart)
        chart.copy_(torch.where(newest.isfinite(), later, chart))
        return chart.gather(2, m.sender)

    def score_examples(self, messages: Messages, examples: Examples) -> Tensor:
        """Charts of clean episodes, exchange by exchange."""
        episode, m = examples.episode, messages
        agents = self.team_shape.num_agents
        charts = m.payload.new_zeros(int(episode.max()) + 1, agents, agents + 1)
        score = m.payload.new_zeros(m.present.shape)
        time = m.step * self.rounds + m.round
        for moment in torch.unique(time).tolist():
            rows = (time == moment).nonzero().squeeze(1)
            memory = {"chart": charts[episode[rows]]}
            score[rows] = self.score(m.rows(rows), memory)
            charts[episode[rows]] = memory["chart"]
        return score

    def _distance(self, m: Messages) -> Tensor:
        """[B, N, M], how many standard deviations the distance of each message from the mean is above the usual one."""
        at = m.round.view(-1, 1, 1)
        unit = (m.payload - self.mean[at, m.sender]) / self.spread[at, m.sender]
        mean, spread = self.usual
        distance: Tensor = (unit.square().mean(-1).sqrt() - mean) / spread
        return distance.clamp_max(FARTHEST)
