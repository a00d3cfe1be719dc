"""Attackers that are trained: what they are shown, that the guard holds them, that they learn, and their files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import Attacked, attack, comms, team_shape, team_shape_of
from small import small
from steering import choice, murmuring, register, save, small_team
from torch import Tensor

from agentcomm import api
from agentcomm.base import registry
from agentcomm.base.errors import AgentcommError, CheckpointError, ConfigError, RequirementError
from agentcomm.cli import catalog
from agentcomm.conformance.conversations import carry, check_state, conversation, same_heard
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.threat_model import Budget
from agentcomm.contracts.views import MessageView
from agentcomm.evaluation.metrics import measure
from agentcomm.evaluation.play import play
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import make_comms, make_world
from agentcomm.runs.ppo_settings import PPOSettings
from agentcomm.training.ppo import Update
from agentcomm.training.rollout import Sampler
from attacks.ml.learned import Learned
from envs.attacker import Attacker, SteeredByActions

POWERS = ("modify", "drop")
ATTACK = {"modify": "learned", "drop": "mask"}


def world(victim: str, worlds: int = 4, **arguments: Any) -> Attacker:
    made = make_world(choice("attacker", victim=victim, **arguments), worlds)
    assert isinstance(made, Attacker)
    return made


def trained(folder: Path, victim: str, policy: str = "mappo", seed: int = 0, **arguments: Any) -> str:
    """The file of an attacker whose choices differ from message to message, as those of a trained one do."""
    environment, chosen = choice("attacker", victim=victim, **arguments), choice(policy, width=16)
    save(folder, environment, chosen, seed)
    saved = policy_file.load(folder)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        for parameter in saved.policy.get_submodule("actor").parameters():
            parameter.add_(torch.randn(parameter.shape))
    policy_file.save(folder, saved.policy, environment, chosen, "team", seed, {})
    return str(folder)


def random_actions(w: Attacker, steps: int, seed: int = 0) -> list[Tensor]:
    g = torch.Generator().manual_seed(seed)
    return list(torch.randint(w.num_actions, (steps, w.num_worlds, w.num_agents), generator=g))


# ---- the environment


@pytest.mark.parametrize("power", POWERS)
def test_attacker_agents_see_what_the_guard_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, power: str) -> None:
    """What is observed before a decision is what the attack is shown in it, and nothing out of reach."""
    noted: list[Tensor] = []
    original = SteeredByActions.choose

    def choose(steered: SteeredByActions, sight: Tensor, able: Tensor, view: MessageView) -> Tensor:
        noted.append(sight.clone())
        return original(steered, sight, able, view)

    monkeypatch.setattr(SteeredByActions, "choose", choose)  # before what it can reach is watched
    victim = small_team(tmp_path / "victim")
    w = world(victim, 6, power=power, links=[[0, 2], [1, 2]], budget={"norm": 0.7, "per_episode": 3}, phrases=2)
    observation = w.reset(3)
    for action in random_actions(w, 12):
        step = w.step(action)
        assert torch.equal(noted[-1], observation), "decided on what is on the wire"
        observation = step.observation
    receivers = w.num_agents // 3
    assert not observation[:, : 2 * receivers, : w.victim.width].any(), "nothing is shown of links out of reach"
    assert not w.state["able"][:, : 2 * receivers].any()
    assert observation[:, 2 * receivers :, : w.victim.width].any()


@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("budget", [{"per_episode": 3}, {"per_step": 1}, {"norm": 0.25}, {"start_step": 2}])
def test_the_guard_is_in_force_in_training(tmp_path: Path, power: str, budget: dict[str, Any]) -> None:
    w = world(small_team(tmp_path / "victim"), 16, power=power, budget=budget)
    w.reset(1)
    guard, most = w.comms.adversary.guards[0], 0
    for action in random_actions(w, 20):
        at = w.length.clone()
        spent = guard.spent.clone()
        able = w.state["able"].clone()
        step = w.step(action)
        used = torch.where(step.done, spent, guard.spent) - spent
        most = max(most, int(guard.spent.max()))
        assert (used >= 0).all()
        assert used.max() <= budget.get("per_step", 1000)
        assert not used[at < budget.get("start_step", 0)].any()
        assert not used[~able.any(1)].any(), "agents that cannot do anything do nothing"
        assert torch.equal(step.active, able)
    assert not guard.violations
    assert 0 < most <= budget.get("per_episode", 1000)


def test_harm_is_the_reward_and_stealth_has_its_price(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch)
    victim = murmuring(tmp_path / "victim")
    for price in (0.0, 0.3):
        w = world(victim, 32, budget={"norm": 4.0}, phrases=1, price=price)
        w.reset(0)
        idle = w.step(torch.zeros(32, 2, dtype=torch.int64))
        assert (idle.reward == -1).all(), "an honest pair is always right"
        flipped = w.step(torch.tensor([[0, 1]]).expand(32, -1))
        assert (flipped.reward[:, 0] == 0).all(), "both agents earn what the pair loses"
        # A message of -1 turned to 1 is changed by 2 of the 4 allowed in every entry.
        torch.testing.assert_close(flipped.reward[:, 1], torch.full((32,), -price / 2))
        masked = world(victim, 32, power="drop", budget={}, price=price)
        masked.reset(0)
        step = masked.step(torch.tensor([[0, 1]]).expand(32, -1))
        torch.testing.assert_close(step.reward[:, 0] - step.reward[:, 1], torch.full((32,), price))


def test_phrases_are_messages_of_honest_agents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch)
    w = world(murmuring(tmp_path / "victim"), 3, budget={}, phrases=6, links=[[0, 1]])
    assert w.action_names == ("leave", "flip", "say_1", "say_2", "say_3", "say_4", "say_5", "say_6")
    assert w.steered.phrases.abs().eq(1).all(), "the one who sees says 1 or -1"
    assert {float(v) for v in w.steered.phrases.flatten()} == {-1.0, 1.0}
    again = world(str(tmp_path / "victim"), 5, budget={}, phrases=6, links=[[0, 1]])
    assert torch.equal(w.steered.phrases, again.steered.phrases)


def test_a_defense_can_be_trained_against(tmp_path: Path) -> None:
    victim = small_team(tmp_path / "victim")
    w = world(victim, 4, budget={}, defenses=[{"name": "authenticate"}])
    w.reset(0)
    w.step(torch.ones(4, w.num_agents, dtype=torch.int64))
    assert w.comms.network.ledger["accepted_tampered"].sum() == 0
    assert w.comms.network.ledger["tampered"].sum() > 0
    with pytest.raises(RequirementError, match="another defense that refuses"):
        world(victim, defenses=[{"name": "quarantine"}])


def test_an_attackers_place_must_fit_the_team(tmp_path: Path) -> None:
    victim = small_team(tmp_path / "victim")
    with pytest.raises(ConfigError, match="does not fit the team"):
        world(victim, links=[[0, 7]])
    with pytest.raises(ConfigError, match="needs a team to attack"):
        make_world(choice("attacker"), 1)
    with pytest.raises(ConfigError, match=r"victim: no policy in .*nowhere"):
        world(str(tmp_path / "nowhere"))
    silent = save(tmp_path / "silent", choice("predator_capture_prey"), choice("ippo"))
    with pytest.raises(ConfigError, match="sends no messages"):
        world(silent)
    with pytest.raises(ConfigError, match="in turns"):
        world(small_team(tmp_path / "turns", decoder="autoregressive"))
    with pytest.raises(ConfigError, match="no links"):
        world(small_team(tmp_path / "apart", topology={"name": "none"}))
    with pytest.raises(ConfigError, match="'dense' only"):
        world(victim, observation="indices")


# ---- training


@pytest.mark.parametrize("power", POWERS)
def test_an_attacker_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, power: str) -> None:
    """From half of what can be had to nearly all of it, in seconds; the ratio starts at one, the guard holds."""
    register(monkeypatch)
    arguments: dict[str, Any] = {"power": power, "budget": {"norm": 2.0, "per_episode": 4}, "phrases": 2}
    w = world(murmuring(tmp_path / "victim"), 64, **arguments)
    chosen = choice("mappo", width=16)
    policy = registry.find("policy", "mappo").for_world(registry.build_config("policy", "mappo", {"width": 16}), w)
    learning = PPOSettings(minibatch=128, learning_rate=0.01, entropy=0.0, final_entropy=0.0, gamma=0.9)
    network = comms(team_shape_of(w, policy))
    sampler = Sampler(w, policy, network, learning, seed=1)
    optimizer = torch.optim.Adam(policy.parameters(), learning.learning_rate)
    update = Update(policy, learning, optimizer, None, torch.Generator().manual_seed(0))
    returns = []
    for _ in range(25):
        fragment = sampler.collect(8)
        returns.append(fragment.recent["return"])
        stats = update.run(fragment.columns)
        assert stats["first_ratio_error"] < 1e-5
    assert not w.comms.adversary.guards[0].violations
    start, end = sum(returns[:2]) / 2, sum(returns[-3:]) / 3
    assert -8 <= start < end - 0.8, f"from {start:.2f} to {end:.2f}"
    # What it learned works as an attack, and hurts more than choosing at random.
    policy_file.save(
        tmp_path / "trained",
        policy,
        choice("attacker", victim=str(tmp_path / "victim"), **arguments),
        chosen,
        "team",
        0,
        {},
    )
    harm = {}
    for untrained in (False, True):
        team = policy_file.load(tmp_path / "victim")
        there = make_world(team.environment, 128)
        attacks = [choice(ATTACK[power], policy=str(tmp_path / "trained"), untrained=untrained)]
        between = make_comms(there, team.policy, attacks)
        harm[untrained] = 8 - measure(play(there, team.policy, between, 5))["mean_return"]
        assert not between.adversary.guards[0].violations
    assert harm[False] > harm[True] + 0.5


@pytest.mark.parametrize("power", POWERS)
def test_what_is_learned_is_what_is_done(tmp_path: Path, power: str) -> None:
    """Greedy attacker agents in the environment and the attack in the grid play the same episodes."""
    victim = small_team(tmp_path / "victim")
    arguments: dict[str, Any] = {"power": power, "budget": {"norm": 0.9, "per_episode": 5}, "phrases": 3}
    agents = policy_file.load(Path(trained(tmp_path / "attacker", victim, **arguments)))
    w = world(victim, 32, **arguments)
    trained_on = play(w, agents.policy, make_comms(w, agents.policy), 11)
    team = policy_file.load(Path(victim))
    there = make_world(team.environment, 32)
    network = make_comms(there, team.policy, [choice(ATTACK[power], policy=str(tmp_path / "attacker"))])
    attacked = play(there, team.policy, network, 11)
    assert torch.equal(trained_on.length, attacked.length)
    torch.testing.assert_close(trained_on.total_reward, -attacked.total_reward)
    assert torch.equal(trained_on.success, ~attacked.success)
    assert attacked.totals()["tampered" if power == "modify" else "dropped"] > 0


@pytest.mark.parametrize("power", POWERS)
def test_a_team_that_trains_under_it_has_a_ratio_of_one(tmp_path: Path, power: str) -> None:
    victim = small_team(tmp_path / "victim")
    folder = trained(tmp_path / "attacker", victim, power=power, budget={"norm": 0.5}, phrases=2)
    team = policy_file.load(Path(victim))
    there = make_world(team.environment, 16)
    s = team_shape_of(there, team.policy)
    network = comms(s, [attack(ATTACK[power], s, policy=folder)])
    columns = Sampler(there, team.policy, network, PPOSettings(held_out=0.25), 0).collect(12).columns
    assert not columns["mask"].all() or "delta" in columns, "the attack did something"
    optimizer = torch.optim.Adam(team.policy.parameters(), 1e-3)
    stats = Update(team.policy, PPOSettings(), optimizer, None, torch.Generator().manual_seed(0)).run(columns)
    assert stats["first_ratio_error"] < 1e-5
    assert stats["ratio_error"] > 1e-4


@pytest.mark.ray
@pytest.mark.usefixtures("ray_running")
def test_attackers_are_trained_like_any_team(tmp_path: Path) -> None:
    victim = small_team(tmp_path / "victim")
    environment = {"name": "attacker", "victim": victim, "budget": {"norm": 0.5, "per_episode": 4}}
    run = api.train(small(environment=environment, policy={"name": "ippo"}, control=False), root=tmp_path)
    folder = str(run.policy("team", 0))
    team = policy_file.load(Path(victim))
    made = attack("learned", team_shape_of(make_world(team.environment, 1), team.policy), policy=folder)
    assert made.threat_model().budget == Budget(norm=0.5, per_episode=4)
    rows = api.evaluate(run)
    assert [row["status"] for row in rows] == ["ok"]


# ---- the attack


@pytest.mark.parametrize("power", POWERS)
def test_a_trained_attacker_keeps_the_contract(tmp_path: Path, power: str) -> None:
    victim = small_team(tmp_path / "victim", topology={"name": "full"})
    folder = trained(tmp_path / "attacker", victim, power=power, budget={"norm": 0.5, "per_step": 3}, phrases=3)
    s = team_shape(worlds=3, agents=3, degree=2, width=16)
    exchanges = conversation(s, 10)

    def build(**budget: Any) -> Attacked:
        return comms(s, [attack(ATTACK[power], s, policy=folder, budget=budget)], seed=1)

    check_state(build, exchanges)
    attacked = build()
    heard = carry(attacked, exchanges)
    assert not attacked.guards[0].violations
    assert attacked.guards[0].threat.budget == Budget(norm=0.5, per_step=3), "as in training"
    assert attacked.ledger["tampered" if power == "modify" else "dropped"].sum() > 0
    clean = carry(comms(s), exchanges)
    assert not same_heard(heard, clean)
    for budget in ({"per_step": 0}, {"per_episode": 0}, {"start_step": 1000}):
        idle = carry(build(**budget), exchanges)
        assert same_heard(idle, clean), budget
    assert build(per_step=1).guards[0].threat.budget == Budget(norm=0.5, per_step=1)


def test_changes_stay_within_the_norm_and_go_towards_a_phrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = small_team(tmp_path / "victim", topology={"name": "full"})
    w = world(victim, 3, budget={"norm": 0.5}, phrases=2)
    s = w.steered.team_shape
    edits: list[tuple[Tensor, MessageEdits]] = []
    original = SteeredByActions.on_messages

    def on_messages(steered: SteeredByActions, view: MessageView) -> MessageEdits:
        edits.append((view.payload, original(steered, view)))
        return edits[-1][1]

    monkeypatch.setattr(SteeredByActions, "on_messages", on_messages)
    for action in (1, 2, 3):
        edits.clear()
        w.reset(0)
        w.step(torch.full((3, w.num_agents), action))
        assert len(edits) == s.rounds
        for round_, (payload, done) in enumerate(edits):
            assert done.modify is not None
            assert done.change is not None
            wanted = -payload if action == 1 else w.steered.phrases[round_, action - 2].expand_as(payload)
            assert done.change.abs().max() <= 0.5
            expected = (wanted - payload).clamp(-0.5, 0.5)
            assert torch.equal(done.change[done.modify], expected[done.modify])


def test_files_that_are_no_attackers_for_this_team_are_refused(tmp_path: Path) -> None:
    victim = small_team(tmp_path / "victim")
    fits = team_shape(agents=3, degree=w_degree(victim), width=16)
    folder = trained(tmp_path / "attacker", victim)

    def refused(words: str, s: Any = fits, name: str = "learned", policy: str = folder) -> None:
        with pytest.raises(AgentcommError, match=words):
            attack(name, s, policy=policy)

    assert isinstance(attack("learned", fits, policy=folder), Learned)
    refused("no policy in .*nowhere", policy=str(tmp_path / "nowhere"))
    refused("trained in environment 'predator_capture_prey', not 'attacker'", policy=victim)
    refused("power=modify: use attack 'learned'", name="mask")
    refused("payload width 16, not 8", team_shape(agents=3, degree=fits.degree, width=8))
    refused("agents 3, not 5", team_shape(agents=5, degree=fits.degree, width=16))
    refused("exchanges 2, not 1", team_shape(agents=3, degree=fits.degree, width=16, rounds=1))
    refused("senders per agent", team_shape(agents=3, degree=fits.degree + 1, width=16))
    broken = Path(folder) / "policy.safetensors"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-7])
    with pytest.raises(CheckpointError, match="damaged"):
        attack("learned", fits, policy=folder)
    broken.write_bytes(whole)
    (Path(folder) / "policy.json").write_text(json.dumps({"format": 99}))
    refused("damaged")


def w_degree(victim: str) -> int:
    degree: int = policy_file.load(Path(victim)).policy.topology.degree
    return degree


@pytest.mark.parametrize("name", ["learned", "mask"])
def test_who_names_no_trained_attacker_must_say_so(name: str) -> None:
    with pytest.raises(ConfigError, match="policy=<folder of a trained attacker> is needed, or untrained=true"):
        registry.build_config("attack", name, {})
    threat = catalog.describe("attack", name)["threat"]
    assert threat is not None, "listings show what it may do all the same"
    assert threat["position"]["kind"] == "edge"
