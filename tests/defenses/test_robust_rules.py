"""Robust rules: published formulas by brute force, and liars move nobody beyond honest values, finite or not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from builders import comms, defense, sampler, team, team_shape, team_shape_of
from torch import Tensor

from agentcomm.base.registry import build_config, find
from agentcomm.contracts.defense import Defense
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.inbox import gather_agents
from agentcomm.contracts.verdicts import Draws, InboxView
from agentcomm.runs.ppo_settings import PPOSettings
from agentcomm.training.ppo import Update

S = team_shape(worlds=5, agents=8, degree=7, width=6, rounds=1)
RULES: list[tuple[str, dict[str, Any]]] = [
    ("trimmed_mean", {"f": 2}),
    ("krum", {"f": 2}),
    ("krum", {"f": 2, "m": 3}),
    ("geometric_median", {}),
    ("w_msr", {"f": 2}),
    ("median", {}),
]


def deliver(spoken: Tensor, rule: Defense) -> Tensor:
    """[B, N, M, D], what each receiver hears of payloads [B, N, D] that all say to all."""
    worlds, agents, _ = spoken.shape
    source = torch.tensor([[j for j in range(agents) if j != i] for i in range(agents)]).expand(worlds, -1, -1)
    payload, now = gather_agents(spoken, source), torch.zeros_like(source)
    inbox = InboxView(
        now[:, 0, 0], 0, source >= 0, source, payload, spoken, now, source, Draws(None, spoken.device, rule.name)
    )
    new = rule.aggregate(inbox, rule.memory())
    assert new is not None
    return new


def spoken(seed: int = 0) -> Tensor:
    return torch.randn(5, 8, 6, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("name", "arguments"), RULES)
@pytest.mark.parametrize("lie", [50.0, -1e9, 1e30, float("inf"), float("nan")])
def test_two_liars_move_nobody_far(name: str, arguments: dict[str, Any], lie: float) -> None:
    said = spoken()
    lying = said.clone()
    lying[:, :2] = lie
    got = (deliver(lying, defense(name, S, **arguments)))[:, 2:]
    assert got.isfinite().all()
    low, high = said[:, 2:].amin(1), said[:, 2:].amax(1)
    slack = 1.0 if name == "geometric_median" else 1e-4  # far away, but not infinitely, it bends a little
    assert (got >= low[:, None, None] - slack).all()
    assert (got <= high[:, None, None] + slack).all()


def test_too_many_liars_are_not_survived_but_finite() -> None:
    lying = spoken()
    lying[:, :5] = float("nan")
    for name, arguments in RULES:
        assert (deliver(lying, defense(name, S, **arguments))).isfinite()[:, 5:].all()


def test_trimmed_mean_by_hand() -> None:
    said = spoken()
    got = deliver(said, defense("trimmed_mean", S, f=2))
    others = torch.stack([said[:, [j for j in range(8) if j != i]] for i in range(8)], 1)
    torch.testing.assert_close(got[:, :, 0], others.sort(2).values[:, :, 2:-2].mean(2))
    assert torch.allclose(got, got[:, :, :1])


@pytest.mark.parametrize("m", [1, 3])
def test_krum_by_hand(m: int) -> None:
    said = spoken()
    got = deliver(said, defense("krum", S, f=2, m=m))
    for world, agent in ((0, 0), (3, 5)):
        others = said[world, [j for j in range(8) if j != agent]]
        scores = []
        for j in range(7):
            away = sorted(float((others[j] - others[i]).square().sum()) for i in range(7) if i != j)
            scores.append(sum(away[: 7 - 2 - 2]))
        best = torch.tensor(scores).argsort()[:m]
        torch.testing.assert_close(got[world, agent, 0], others[best].mean(0))


def test_the_geometric_median_minimizes_distances() -> None:
    said = spoken()
    got = deliver(said, defense("geometric_median", S, iterations=60, smoothing=1e-4))[:, :, 0]
    for agent in range(8):
        others = said[:, [j for j in range(8) if j != agent]]

        def cost(point: Tensor, others: Tensor = others) -> Tensor:
            return (others - point.unsqueeze(1)).norm(dim=-1).sum(1)

        best = cost(got[:, agent])
        for seed in range(20):
            step = 0.05 * torch.randn(5, 6, generator=torch.Generator().manual_seed(seed))
            assert (cost(got[:, agent] + step) >= best - 1e-4).all()


def test_w_msr_by_hand() -> None:
    said = spoken()
    got = deliver(said, defense("w_msr", S, f=2))[:, :, 0]
    for world, agent, entry in ((0, 0, 0), (2, 7, 3), (4, 3, 5)):
        own = float(said[world, agent, entry])
        others = sorted(float(said[world, j, entry]) for j in range(8) if j != agent)
        below, above = [v for v in others if v <= own], [v for v in others if v > own]
        kept = [own, *below[2:], *above[: max(0, len(above) - 2)]]
        assert float(got[world, agent, entry]) == pytest.approx(sum(kept) / len(kept), abs=1e-5)


def test_small_inboxes_are_left_alone_and_small_teams_refused() -> None:
    small = team_shape(agents=4, degree=3)
    where = Deployment(small, "some")
    for name, arguments in (("trimmed_mean", {"f": 2}), ("krum", {"f": 1}), ("krum", {"f": 0, "m": 2})):
        made = find("defense", name)(build_config("defense", name, arguments), small)
        assert made.unmet(where) is not None
    assert "n > 2 f + 2" in str(defense("krum", small, f=1).unmet(where))
    assert "m <= n - f - 2" in str(defense("krum", small, f=0, m=2).unmet(where))
    assert defense("trimmed_mean", small, f=1).unmet(where) is None


@pytest.mark.parametrize(
    ("name", "arguments"), [("w_msr", {}), ("cross_check", {"quorum": 2, "radius": 1.3}), ("timeliness", {})]
)
def test_ppo_replays_them(name: str, arguments: dict[str, Any]) -> None:
    world, policy = team(6, topology={"name": "full"})
    s, size = sampler(world, policy, seed=1), team_shape_of(world, policy)
    s.loop.comms = comms(size, [], [defense(name, size, **arguments)])
    settings = PPOSettings(minibatch=None)
    optimizer = torch.optim.Adam(policy.parameters(), 3e-3)
    stats = Update(policy, settings, optimizer, None, torch.Generator().manual_seed(0)).run(s.collect(4).columns)
    assert stats["first_ratio_error"] < 1e-6
