"""Agents of third-party environments that leave, join, come back, or are flagged: they take part while present."""

from __future__ import annotations

from typing import Any

import torch
from builders import sampler
from pettingzoo_zoo import Agents, scripted

from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.step import Step
from agentcomm.contracts.world import World
from agentcomm.evaluation.leakage import Intercepted, intercept
from agentcomm.evaluation.play import play
from agentcomm.runs.assembly import make_comms, make_policy
from agentcomm.runs.choices import Choice

DIE = [("a", "bc", ""), *[("a", "", "")] * 4, ("", "a", "")]  # b and c die in the first of six steps


def full(where: World, **more: Any) -> CommPolicy:
    arguments = {"name": "commformer", "width": 16, "topology": {"name": "full"}, **more}
    return make_policy(Choice.model_validate(arguments), where)


def present(where: World) -> list[str]:
    return ["".join(a for a, here in zip(where.agents, row, strict=True) if here) for row in where.alive.tolist()]


def steps(*script: tuple[Agents, Agents, Agents], first: Agents = "abc") -> tuple[list[str], list[Step], Any]:
    where = scripted(*script, first=first)
    where.reset(0)
    seen, out = present(where), []
    for _ in script:
        out.append(where.step(torch.ones(1, 3, dtype=torch.int64), auto_reset=False))
        seen += present(where)
    return seen, out, where._shard.envs[0]


def test_agents_that_left_neither_speak_nor_hear_nor_count() -> None:
    where, accepted = scripted(*DIE, worlds=2), []
    played = play(
        where,
        policy := full(where),
        make_comms(where, policy),
        0,
        follow=lambda r: accepted.append(sum(int(x.fields["accepted"].sum()) for x in r.exchanges)),
    )
    assert accepted == [24, 0, 0, 0, 0, 0], "two rounds of six links in two worlds, then nobody is left to talk to"
    assert played.actions.sum(1).tolist() == [8, 8]
    assert played.total_reward.tolist() == [6.0, 6.0], "the mean is over present agents"
    assert played.length.tolist() == [6, 6]
    assert played.success.all()


def test_training_leaves_out_agents_that_left() -> None:
    where = scripted(*DIE, worlds=4)
    collect = sampler(where, full(where, gate={"cost": 0.5}))
    fragment = collect.collect(12)
    alive, active = fragment.columns["alive"], fragment.columns["active"]
    assert alive.view(12, 4, 3)[:, 0].sum(1).tolist() == [3, 1, 1, 1, 1, 1] * 2
    assert (alive == active).all()
    assert not fragment.columns["mask"][alive.sum(1) == 1].any()
    assert (fragment.columns["advantage"][~alive] == 0).all(), "they earn nothing, and pay for no gates"
    assert (fragment.columns["observation"][~alive] == 0).all()
    assert fragment.recent["return"] == 6.0
    gates = fragment.columns["gate"][alive]
    assert fragment.gate_open == float(gates.float().mean())


def test_agents_join_later_and_come_back() -> None:
    seen, out, env = steps(("ab", "", ""), ("b", "a", ""), ("abc", "", ""), ("", "abc", ""), first="a")
    assert seen == ["a", "ab", "b", "abc", "abc"], "after the end, the last ones stay until the next episode"
    assert [list(actions) for actions in env.actions] == [["a"], ["a", "b"], ["b"], ["a", "b", "c"]]
    assert [step.active[0].tolist() for step in out] == [
        [True, False, False],
        [True, True, False],
        [False, True, False],
        [True, True, True],
    ]
    assert [step.reward[0].tolist() for step in out][2] == [0.0, 1.0, 0.0], "who just joined earns nothing yet"
    assert [step.observation[0, :, 0].tolist() for step in out][:2] == [[2, 2, 0], [0, 3, 0]]
    assert [bool(step.terminated) for step in out] == [False, False, False, True]


def test_flagged_agents_have_left_even_if_they_are_still_listed() -> None:
    seen, out, env = steps(("abc", "b", ""), ("abc", "", ""), ("abc", "a", "c"))
    assert seen == ["abc", "ac", "ac", "c"]
    assert env.actions[1] == {"a": 6, "b": 5, "c": 6}, "the environment gets the first action of the one that has ended"
    assert [step.reward[0].tolist() for step in out] == [[1, 1, 1], [1, 0, 1], [1, 0, 1]]
    assert bool(out[-1].truncated), "env.agents is never emptied, but all have ended, one of them by truncation"
    assert not out[-1].success


def test_an_episode_ends_once_and_starts_again() -> None:
    where = scripted(("abc", "abc", ""), worlds=2)
    where.reset(0)
    for _ in range(3):
        step = where.step(torch.zeros(2, 3, dtype=torch.int64))
        assert step.terminated.all()
        assert step.success.all()
        assert (step.observation == 1).all(), "of the next episode"
        assert (step.final_observation == 2).all()
    where.step(torch.zeros(2, 3, dtype=torch.int64), auto_reset=False)
    still = where.step(torch.zeros(2, 3, dtype=torch.int64), auto_reset=False)
    assert not (still.terminated | still.active.any(1) | still.reward.any(1)).any(), "an ended episode rests"
    assert len(where._shard.envs[0].actions) == 4


def test_agents_that_are_cut_off_still_expect_a_return() -> None:
    _, out, _ = steps(("ab", "c", ""), ("", "a", "b"))
    assert bool(out[-1].truncated)
    assert out[-1].final_alive.tolist() == [[False, True, False]]
    assert out[-1].final_observation[0, :, 0].tolist() == [0, 3, 0]


def test_eavesdroppers_learn_nothing_about_agents_that_left(monkeypatch: Any) -> None:
    where = scripted(*DIE, worlds=3)
    saved = type("Saved", (), {"policy": full(where), "environment": None})()
    run: Any = type("Run", (), {})()
    run.trained, run.policy = lambda: [("team", 0)], lambda *_: None
    run.config = type("Config", (), {"evaluation": type("E", (), {"seed": 1})(), "transport": None})()
    module = "agentcomm.evaluation.leakage"
    monkeypatch.setattr(f"{module}.policy_file.load", lambda _: saved)
    monkeypatch.setattr(f"{module}.make_world", lambda *_: where)
    from agentcomm.runs.choices import PLAIN_TRANSPORT

    run.config.transport = PLAIN_TRANSPORT
    found: Intercepted = intercept(run, 0, 3)
    assert len(found.step) == 3 * 8, "three agents in the first step, one in the other five"
