"""The task market: no task is lost or counted twice, money only changes hands, and floors in the right order."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from builders import install
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from agentcomm.base.errors import ConfigError
from agentcomm.base.registry import build_config, find
from agentcomm.conformance import check_world
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.world import DrawnMessage
from agentcomm.runs.assembly import make_comms, make_policy
from agentcomm.runs.choices import Choice
from agentcomm.step.adversary import Adversary
from envs.market.drawing import CELL, RED
from envs.market.scripted import Choice as Criterion
from envs.market.scripted import MarketPolicy
from envs.market.task_market import FIRST, PASS, SECOND, THIRD, TaskMarket

ATTACKS = (
    *("sybil", "rank", "blast", "copied_card", "hub_poison"),
    *("description", "recursive", "half_open", "rug_pull", "badmouth", "scapegoat"),
)


def make(num_worlds: int = 1, **arguments: Any) -> TaskMarket:
    return TaskMarket(build_config("environment", "task_market", arguments), num_worlds)


def attacked(
    num_worlds: int, *attacks: str, seed: int = 0, defenses: dict[str, Any] | None = None, **arguments: Any
) -> tuple[TaskMarket, Adversary]:
    world = make(num_worlds, **arguments)
    team_shape = TeamShape(num_worlds, world.num_agents, 1, 4, 1, world.device)
    made = [find("attack", name)(build_config("attack", name, {}), team_shape) for name in attacks]
    return world, install(world.directory, made, seed, defenses)


SMALL: dict[str, Any] = {
    "requesters": 1,
    "workers": 2,
    "skills": 1,
    "directory": {"slots": 4, "newcomers": 2},
    "pooled": 0.0,
}
ABLE, UNABLE = [1.0], [0.0]


def small(skills: list[list[float]], *defenses: str, **arguments: Any) -> TaskMarket:
    """One requester, two workers with these skills, and cards that say so."""
    world, _ = attacked(1, defenses={name: {} for name in defenses}, **(SMALL | arguments))
    world.reset(seed=0, scene={"skill": skills})
    return world


def step(world: TaskMarket, *actions: int) -> list[float]:
    """Rewards of the agents."""
    return world.step(torch.tensor([actions]), auto_reset=False).reward[0].tolist()


@pytest.mark.parametrize(
    "arguments",
    [
        {"requesters": 1, "workers": 2, "skills": 1, "hops": 0},
        {"requesters": 4, "workers": 3, "deadline": 2, "directory": {"slots": 3, "capacity": 2, "listed": 1}},
        {"hops": 4, "directory": {"listed": 5, "reputation_weight": 0.0}},
        {"directory": {"capacity": 2, "obedience": 0.5}},
    ],
)
def test_conforms(arguments: dict[str, Any]) -> None:
    check_world(lambda num_worlds: make(num_worlds, max_steps=6, **arguments), num_steps=30)


@pytest.mark.parametrize("attack", ATTACKS)
def test_conforms_under_attack(attack: str) -> None:
    saved, adversary = attacked(5, attack, max_steps=6)
    saved.reset(seed=1)
    g = torch.Generator().manual_seed(2)
    actions = [torch.randint(4, (5, 9), generator=g) for _ in range(20)]
    for joint in actions[:10]:
        saved.step(joint)
    kept, stance = saved.snapshot(), adversary.snapshot()
    expected = [saved.step(joint).observation for joint in actions[10:]]
    other, twin = attacked(5, attack, max_steps=6)
    other.reset(seed=3)
    other.restore(kept)
    twin.restore(stance)
    for joint, seen in zip(actions[10:], expected, strict=True):
        assert torch.equal(other.step(joint).observation, seen)


def stranger(world: TaskMarket, **traits: Any) -> None:
    """Put a stranger's card that claims everything into the first free place of the one world, and have it listed."""
    members = world.config.workers
    card: dict[str, Any] = {"present": True, "principal": members, "origin": members, "key": members, "claim": 1.0}
    for name, value in (card | traits).items():
        world.state[f"card_{name}"][0, members] = value
    step(world, *[PASS] * world.num_agents)
    assert world.state["shown_name"][0, 0, 0] == members


def test_a_directive_is_obeyed_as_often_as_the_reader_obeys() -> None:
    for obedience, holder in ((0.0, -1), (1.0, 2)):
        world = small([[0.95], [0.9]], directory=SMALL["directory"] | {"obedience": obedience})
        stranger(world, directive=True)
        step(world, PASS, PASS, PASS)
        assert world.state["holder"].tolist() == [[holder]]
        assert world.directory.facts().obeyed.tolist() == [obedience]
        step(world, PASS, PASS, PASS)
        assert world.directory.facts().obeyed.tolist() == [obedience], "who has no task in hand reads nothing"


def test_copies_keep_members_busy_for_as_many_steps_as_there_are_hops() -> None:
    world = small([[0.95], [0.9]], requesters=2, deadline=9, hops=2)
    stranger(world, copies=1, stalls=True)
    step(world, FIRST, PASS, PASS, PASS)
    assert world.state["holder"].tolist() == [[2, -1]]
    named = world.state["shown_name"][0, 1].tolist()
    for taken in (-1, -1, 0):
        step(world, PASS, FIRST + named.index(0), PASS, PASS)
        assert world.state["holder"].tolist() == [[2, taken]], "worker 0 claims most, and is busy"
    facts = world.directory.facts()
    assert facts.blocked.tolist() == [2]
    assert facts.worked.tolist() == [10], "two members, five steps"


@pytest.mark.parametrize(("sealed", "blamed"), [(False, 1), (True, 2)])
def test_a_forged_trace_puts_the_blame_on_another(sealed: bool, blamed: int) -> None:
    world = small([[0.95], [0.9]], *(["sealed_traces"] if sealed else []))
    stranger(world, scapegoat=1)
    step(world, FIRST, PASS, PASS)
    step(world, PASS, PASS, PASS)
    assert world.state["ended"].tolist() == [[0, 1, 0]]
    assert world.state["outcomes_bad"].nonzero().tolist() == [[0, blamed]]
    assert world.state["poor"].nonzero().tolist() == [[0, 0, blamed]]
    facts = world.directory.facts()
    assert (facts.blamed.item(), facts.misblamed.item(), facts.spoiled.item()) == (1, int(not sealed), 1)


def test_the_last_good_answer_is_kept_by_skill_where_it_is_cached() -> None:
    for cached in (False, True):
        defenses = ["last_good"] if cached else []
        world = small([ABLE, [0.9]], *defenses, deadline=9, directory=SMALL["directory"] | {"capacity": 1})
        fresh = world.state["shown_name"].clone()
        assert fresh[0, 0].tolist() == [0, 1, -1]
        world.state["half_open"][:] = 1  # the hub is busy
        step(world, PASS, PASS, PASS)
        assert torch.equal(world.state["shown_name"], fresh) == cached
        step(world, FIRST, PASS, PASS)
        assert world.state["holder"].tolist() == [[0 if cached else -1]]
        assert world.state["shown_name"][0, 0].tolist() == [-1] * 3 or not cached, "a worker that has it keeps no copy"


@given(
    seed=st.integers(0, 2**31),
    requesters=st.integers(1, 4),
    workers=st.integers(2, 5),
    hops=st.integers(0, 3),
    deadline=st.integers(2, 5),
    slots=st.integers(5, 9),
    capacity=st.integers(1, 8),
    attack=st.sampled_from([None, *ATTACKS]),
    pooled=st.sampled_from([0.0, 0.3, 1.0]),
)
@settings(max_examples=30, deadline=None)
def test_tasks_and_money_are_conserved(
    seed: int,
    requesters: int,
    workers: int,
    hops: int,
    deadline: int,
    slots: int,
    capacity: int,
    attack: str | None,
    pooled: float,
) -> None:
    world, _ = attacked(
        4,
        *(() if attack is None else (attack,)),
        requesters=requesters,
        workers=workers,
        hops=hops,
        deadline=deadline,
        pooled=pooled,
        directory={"slots": slots, "capacity": capacity, "obedience": 0.5},
        defenses={"last_good": {}} if seed % 2 == 0 else {},
    )
    world.reset(seed=seed)
    s = world.state
    g = torch.Generator().manual_seed(seed)
    earned = torch.zeros(4)
    for _ in range(12):
        before, time = s["ended"].clone(), s["time"].clone()
        # Mostly asking and accepting, so that much happens.
        joint = torch.randint(world.num_actions, (4, world.num_agents), generator=g)
        joint = torch.where(torch.rand(joint.shape, generator=g) < 0.5, FIRST, joint)
        earned += world.step(joint, auto_reset=False).reward.sum(1)
        s = world.state
        new = s["ended"].sum(1) - before.sum(1)
        assert torch.equal(s["issued"], s["ended"].sum(1) + requesters), "every task ends once, or is one of the R"
        fresh = s["time"] == deadline
        assert torch.equal(fresh.sum(1), new), "a task that ends is followed by one new"
        assert torch.equal(s["time"][~fresh], time[~fresh] - 1)
        assert (s["time"] >= 1).all()
        assert torch.allclose(earned + s["paid_outside"], s["ended"][:, 0].float(), atol=1e-4)
        held = s["holder"]
        for worker in range(workers):
            assert ((held == worker).sum(1) <= 1).all(), "one task per worker"
        assert ((s["holder"] == -1) == (s["asked"] == -1)).all()
        used = (s["passed"] >= 0).sum(2)
        assert torch.equal(s["hops"], hops - used), "every hop leaves its trace"
        assert world.directory.cards.present.sum(1).max() <= slots
        named = s["listed"][s["listed"] >= 0]
        assert ((named >= 0) & (named < slots)).all()
        facts = world.directory.facts()
        assert (facts.unserved <= facts.asked).all()
        assert (facts.misrouted <= facts.routed).all()
        outcomes = s["outcomes_good"] + s["outcomes_bad"]
        assert torch.equal(outcomes.sum(1), facts.booked)
        assert ((facts.booked - facts.slandered) <= s["ended"].sum(1)).all()
        if attack != "badmouth":
            assert torch.equal(s["outcomes_good"].sum(1), s["ended"][:, 0])
            assert torch.equal(s["outcomes_bad"].sum(1), facts.blamed)
        assert (facts.misblamed <= facts.blamed).all()
        assert (facts.spoiled <= facts.misrouted).all()
        assert (facts.blocked <= facts.worked).all()


def test_a_task_goes_from_hand_to_hand() -> None:
    world = small([ABLE, UNABLE])
    assert world.state["shown_name"][0, 0, :2].tolist() == [0, -1], "who claims nothing is not listed"
    assert step(world, FIRST, PASS, PASS) == [0, 0, 0]
    assert world.state["holder"].tolist() == [[0]]
    assert step(world, PASS, FIRST, PASS) == pytest.approx([0.6, 0.4, 0])
    assert world.state["ended"].tolist() == [[1, 0, 0]]
    assert world.state["good"][0, 0, 0] == 1
    assert world.directory.reputation()[0, 0] == pytest.approx(2 / 3)


def test_pooled_earnings_are_split_evenly() -> None:
    world = small([ABLE, UNABLE], pooled=0.75)
    step(world, FIRST, PASS, PASS)
    assert step(world, PASS, FIRST, PASS) == pytest.approx([0.25 + 0.15, 0.25 + 0.1, 0.25])


def test_who_passes_on_gets_a_commission_and_is_not_asked_again() -> None:
    world = small([[1.0], [0.9]])
    world.state["skill"][0, 1] = 1.0
    step(world, FIRST, PASS, PASS)
    assert world.state["shown_name"][0, 0].tolist() == [1, -1, -1]
    step(world, PASS, SECOND, PASS)
    assert world.state["holder"].tolist() == [[1]]
    assert world.state["hops"].tolist() == [[1]]
    assert world.state["passed"].tolist() == [[[0, -1]]]
    assert world.state["shown_name"][0, 0].tolist() == [-1] * 3, "nobody is left to pass it on to"
    assert step(world, PASS, PASS, FIRST) == pytest.approx([0.6, 0.05, 0.35])


def test_without_a_hop_passing_on_fails_and_is_fined() -> None:
    world = small([ABLE, [0.9]], hops=0)
    step(world, FIRST, PASS, PASS)
    assert step(world, PASS, SECOND, PASS) == pytest.approx([0.2, -0.2, 0])
    assert world.state["ended"].tolist() == [[0, 1, 0]]
    assert world.directory.reputation()[0, 0] == pytest.approx(1 / 3)


def test_tasks_expire_wherever_they_are() -> None:
    world = small([ABLE, [0.9]], deadline=2)
    assert step(world, PASS, PASS, PASS) == [0, 0, 0]
    assert step(world, FIRST, PASS, PASS) == [0, 0, 0]
    assert world.state["ended"].tolist() == [[0, 0, 1]]
    assert world.state["holder"].tolist() == [[-1]]
    assert world.directory.reputation()[0, 0] == 0.5, "nobody is to blame"


def test_a_worker_that_returns_a_task_is_remembered_by_its_requester_only() -> None:
    world = small([ABLE, [0.9]])
    step(world, FIRST, PASS, PASS)
    step(world, PASS, PASS, PASS)
    assert world.state["holder"].tolist() == [[-1]]
    assert world.state["poor"][0, 0].tolist() == [1, 0, 0, 0]
    assert world.directory.reputation()[0, 0] == 0.5


def test_a_worker_can_claim_everything() -> None:
    world = small([ABLE, UNABLE])
    step(world, PASS, PASS, THIRD)
    assert sorted(world.state["shown_name"][0, 0].tolist()) == [-1, 0, 1]
    assert world.directory.cards.claim[0, :2].eq(1).all()


def test_of_two_tasks_for_one_worker_one_returns() -> None:
    world = make(400, requesters=2, workers=2, skills=1, directory={"slots": 4, "newcomers": 2})
    world.reset(seed=0, scene={"skill": [[1.0], [0.5]]})
    world.step(torch.tensor([[FIRST, FIRST, PASS, PASS]]).expand(400, -1))
    holder = world.state["holder"]
    assert torch.equal(holder.sort(1).values, torch.tensor([[-1, 0]]).expand(400, -1))
    assert 140 < int((holder[:, 0] == 0).sum()) < 260, "by chance"


def test_stalled_tasks_stay_until_their_deadline_and_cost_the_name() -> None:
    world, _ = attacked(1, "sybil", deadline=4, **SMALL)
    world.reset(seed=0, scene={"skill": [UNABLE, [0.5]]})
    step(world, PASS, PASS, PASS)
    stranger = [n for n in world.state["shown_name"][0, 0].tolist() if n >= 2]
    assert stranger
    place = world.state["shown_name"][0, 0].tolist().index(stranger[0])
    step(world, FIRST + place, PASS, PASS)
    assert world.state["holder"].tolist() == [[2]]
    assert world.render(0, "rgb_array")[0, 2 * CELL].tolist() == list(RED)
    assert "with an outsider" in world.render(0, "ansi")
    step(world, FIRST, PASS, PASS)
    assert world.state["holder"].tolist() == [[2]], "it is out of the requester's hands"
    step(world, FIRST, PASS, PASS)
    assert world.state["ended"].tolist() == [[0, 0, 1]]
    assert world.directory.reputation()[0, stranger[0]] == pytest.approx(1 / 3)


def returns(choice: Criterion, worlds: int = 1_000, **arguments: Any) -> Tensor:
    """[B] summed reward, mean over agents."""
    world = make(worlds, **arguments)
    world.reset(seed=0)
    policy = MarketPolicy(world, choice)
    total = torch.zeros(worlds)
    for _ in range(world.max_steps):
        total += world.step(policy.act(), auto_reset=False).reward.mean(1)
    return total


@pytest.mark.parametrize(
    ("choice", "value"), [("random", 0.361), ("claim", 1.620), ("reputation", 1.895), ("oracle", 2.782)]
)
def test_floors(choice: Criterion, value: float) -> None:
    """As measured over 2,000 episodes with the same seed: these pin the floors, they are no second measurement."""
    assert returns(choice).mean().item() == pytest.approx(value, abs=0.11)


def test_observations_keep_what_is_private() -> None:
    world = make(50)
    world.reset(seed=0)
    joint = torch.tensor([FIRST] * 3 + [PASS] * 6).expand(50, -1)
    world.step(joint)
    before = world.observe()
    world.state["skill"] = 1 - world.state["skill"]
    world.state["good"][:, 0] += 3
    changed = (world.observe() != before).any(2).any(0).tolist()
    assert changed == [True, False, False] + [True] * 6
    assert not before[:, :3, 2 + 3 + 5 : 2 + 3 + 5 + 3].any(), "requesters have no skills"


@pytest.mark.parametrize(
    ("scene", "message"),
    [
        ({"skills": [[1.0], [0.0]]}, "one key 'skill', not \\['skills'\\]"),
        ({"skill": [[1.0]]}, "must be \\(2, 1\\) chances"),
        ({"skill": [[1.0], [1.5]]}, "chances in \\[0, 1\\]"),
        ({"skill": "much"}, "must be numbers"),
    ],
)
def test_impossible_scenes_are_refused(scene: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(1, **SMALL).reset(scene=scene)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"workers": 1}, "workers"),
        ({"directory": {"slots": 3}}, "slots=3 has no place for 6 workers"),
        ({"directory": {"listed": 9}}, "listed=9 is more than 8"),
        ({"commission": 0.3}, "commission=0.3 for 2 hops is more than price=0.4"),
        ({"directory": {"slot": 9}}, "did you mean 'slots'"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_config("environment", "task_market", arguments)


def test_text_says_what_goes_on() -> None:
    world = small([ABLE, [0.9]])
    lines = world.render(0, "ansi", [DrawnMessage(1, 0, "dropped")]).splitlines()
    assert lines[0] == "requester_0 needs skill 0, 4 steps and 2 hops left, in hand; listed: worker_0, worker_1"
    assert lines[1:] == ["0 delivered, 0 failed, 0 expired", "worker_0 -> requester_0: dropped"]
    with pytest.raises(ValueError, match="'ansi' or 'rgb_array'"):
        world.render(0, "human")  # type: ignore[arg-type]


def test_a_network_installs_attacks_on_its_directory_and_refuses_them_elsewhere() -> None:
    world = make(3)
    policy = make_policy(Choice(name="commnet"), world)
    comms = make_comms(world, policy, [Choice(name="blast"), Choice(name="drop")])
    assert [guard.base.attack.name for guard in world.directory.guards] == ["blast"]
    assert [guard.base.attack.name for guard in comms.network.guards] == ["drop"]
    make_comms(world, policy)
    assert not world.directory.guards
    elsewhere = find("environment", "oracle_hint")(build_config("environment", "oracle_hint", {}), 3)
    with pytest.raises(ConfigError, match="attack 'blast' cannot be used here: it needs a directory"):
        make_comms(elsewhere, make_policy(Choice(name="commnet"), elsewhere), [Choice(name="blast")])
