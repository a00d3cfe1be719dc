"""Registered metrics keep their contract, cells have those of other packages, and broken ones are noticed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from agentcomm.base import registry
from agentcomm.base.errors import NumberError
from agentcomm.cli.catalog import describe
from agentcomm.conformance import check_metric
from agentcomm.conformance.metrics import some_episodes
from agentcomm.contracts.metric import GROUPS, DetectorMetric, Metric, MetricConfig, PairedMetric, SuiteMetric
from agentcomm.contracts.outcome import SHARES, Episodes
from agentcomm.evaluation.metrics import measure

EVERYWHERE = {
    *("mean_steps", "success", "mean_return", "harm", "gate_open", "messages_per_step", "bytes_per_step"),
    *("bytes_per_agent_step", "bandwidth_budget", "density", "traffic_gini", "traffic_sd"),
    *("algebraic_connectivity", "r_robustness"),
    *(
        "attack_accepted",
        "isolations",
        "false_isolations",
        "guessed_right",
        "guessed_right_a_priori",
        "guessing_advantage",
    ),
    "covert_bits_per_step",
}
LATE = {"latency_ms", "latency_steps"}
PAIRED = {"blast_radius", "propagation_0", "propagation_1", "propagation_2"}


@pytest.mark.parametrize("form", registry.forms("metric"))
def test_registered_metrics_conform(form: str) -> None:
    name, arguments = registry.forms("metric")[form]
    check_metric(registry.find("metric", name), arguments)


def test_every_group_but_certificates_has_a_metric() -> None:
    found = {registry.find("metric", name).group for name in registry.names("metric")}
    assert found == set(GROUPS) - {"certificate"}  # no defense certifies anything


@pytest.mark.parametrize("directory", [True, False])
@pytest.mark.parametrize("late", [True, False])
def test_cells_have_the_metrics_that_apply(directory: bool, late: bool) -> None:
    expected = EVERYWHERE | (LATE if late else set()) | (set(SHARES) if directory else set())
    episodes = some_episodes(5, directory, late)
    assert measure(episodes).keys() == expected
    assert measure(episodes, {"clean": some_episodes(5, seed=1)}).keys() == expected | PAIRED


def test_metrics_are_what_they_say() -> None:
    e = some_episodes(6)
    assert e.facts is not None
    found, steps = measure(e), sum(e.length.tolist())
    arrived = sum((e.messages["accepted"] + e.messages["refused"]).tolist())
    assert found["mean_steps"] == pytest.approx(steps / 6)
    assert found["success"] == pytest.approx(sum(e.success.tolist()) / 6)
    assert found["mean_return"] == pytest.approx(sum(e.total_reward.tolist()) / 6)
    assert found["harm"] == pytest.approx(sum(e.harm.tolist()) / 6)
    assert found["gate_open"] == e.gate_open
    assert found["messages_per_step"] == sum(e.messages["sent"].tolist()) / steps
    assert found["bytes_per_step"] == sum(e.bytes.tolist()) / steps
    assert found["bytes_per_agent_step"] == sum(e.bytes.tolist()) / steps / 4
    assert found["latency_steps"] == sum(e.late_by[0].tolist()) / arrived
    assert found["latency_ms"] == pytest.approx(1000 * sum(e.late_by[1].tolist()) / arrived)
    assert (found["guessed_right"], found["guessed_right_a_priori"]) == (0.6, 0.5)
    assert found["guessing_advantage"] == pytest.approx(0.1)
    assert found["covert_bits_per_step"] == pytest.approx(8 * 0.0290494)  # 1 - H(0.6) of each bit
    for name, of in SHARES.items():
        part, whole = (sum(getattr(e.facts, count).tolist()) for count in (name, of))
        assert found[name] == part / whole


def test_a_share_of_nothing_is_zero() -> None:
    e = some_episodes(3)
    nothing = replace(e, facts=replace(e.facts, routed=torch.zeros(3).long(), misrouted=torch.zeros(3).long()))
    assert measure(nothing)["misrouted"] == 0


class Longest(Metric):
    """Steps of the longest episode."""

    unit, better = "steps", "lower"

    def value(self, episodes: Episodes) -> float:
        return float(episodes.length.max())


def test_a_metric_of_another_package_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    before = measure(some_episodes(4))
    registry.register("metric", "longest")(Longest)
    assert measure(some_episodes(4)) == before | {"longest": float(some_episodes(4).length.max())}
    about = describe("metric", "longest")
    assert (about["unit"], about["better"], about["group"], about["source"]) == ("steps", "lower", "task", "")


class WrongShape(Longest):
    def by_episode(self, episodes: Episodes) -> Tensor:
        return episodes.actions


class Undefined(Longest):
    def value(self, episodes: Episodes) -> float:
        return float("nan")


class First(Longest):
    def value(self, episodes: Episodes) -> float:
        return float(episodes.length[0])


class Changes(Longest):
    def value(self, episodes: Episodes) -> float:
        return float(episodes.messages["sent"].add_(1).sum())


class Draws(Longest):
    def value(self, episodes: Episodes) -> float:
        return float(torch.rand(()))


class Never(Longest):
    def value(self, episodes: Episodes) -> None:  # type: ignore[override]
        return None


class WrongDirection(Longest):
    better = "up"  # type: ignore[assignment]


class WrongGroup(Longest):
    group = "safety"  # type: ignore[assignment]


class FirstOfBoth(PairedMetric):
    def compare(self, attacked: Episodes, other: Episodes) -> float:
        return float(attacked.length[0] - other.length[0])


class NoDetector(DetectorMetric):
    def of(self, judged: object, clean: object) -> None:
        return None


class AnyAttack(SuiteMetric):
    def over(self, suite: object) -> float:
        return 1.0


class NeedyConfig(MetricConfig):
    needed: int


class Needy(Metric[NeedyConfig]):
    pass


def test_the_smallest_metric_conforms() -> None:
    check_metric(Longest)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (WrongShape, "by_episode returns shape"),
        (Undefined, "value returns nan"),
        (First, "order of the episodes"),
        (Changes, "measuring changes the episodes"),
        (Draws, "global generator"),
        (Never, "applies to none"),
        (WrongDirection, "better is 'up'"),
        (WrongGroup, "group is 'safety'"),
        (FirstOfBoth, "order of the episodes"),
        (NoDetector, "applies to none"),
        (AnyAttack, "a suite without cells"),
        (Needy, "has no description"),
    ],
)
def test_broken_metrics_are_noticed(broken: type[Metric], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_metric(broken)


def test_what_is_not_finite_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    registry.register("metric", "undefined")(Undefined)
    with pytest.raises(NumberError, match="metric 'undefined' is nan"):
        measure(some_episodes(3))
