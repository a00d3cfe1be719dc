"""A node that acts is held to its own actions and to the law it claims; what it tells is heard; PPO notices nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from builders import attack, comms, defense, sampler, team, team_shape, team_shape_of
from torch import Tensor

from agentcomm.base.errors import ConfigError, HookError, NumberError
from agentcomm.base.registry import build_config
from agentcomm.conformance import check_attack
from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.threat_model import Budget, Position, ThreatModel
from agentcomm.contracts.views import ActionView, MessageView
from agentcomm.runs.ppo_settings import PPOSettings
from agentcomm.step.decide import decide
from agentcomm.training.ppo import Update
from attacks.insider.coupling import Listener

Act = Callable[[ActionView], Tensor | None]


class Acting(Attack):
    """Acts as it is told."""

    name = "acting"

    def __init__(self, s: TeamShape, act: Act, node: int = 1, budget: Budget | None = None, secrets: int = 2) -> None:
        super().__init__(AttackConfig(), s)
        self._act, self._node, self._budget, self._secrets = act, node, budget or Budget(), secrets

    def threat_model(self) -> ThreatModel:
        return ThreatModel(Position(kind="node", node=self._node), frozenset({"act"}), "policy", self._budget)

    def memory(self) -> dict[str, Tensor]:
        return {"count": torch.zeros(self.team_shape.num_worlds)}

    def on_messages(self, view: MessageView) -> MessageEdits:
        return MessageEdits()

    def secrets(self) -> int:
        return self._secrets

    def on_action(self, view: ActionView) -> Tensor | None:
        return self._act(view)


def honest(view: ActionView) -> Tensor:
    return view.probability.unsqueeze(1).expand(-1, 2, -1).clone()


def always(action: int) -> Act:
    def act(view: ActionView) -> Tensor:
        law = torch.zeros_like(honest(view))
        law[..., action] = 1
        return law

    return act


class Team:
    """A small team that plays on, its observations those of its worlds."""

    def __init__(self, *attacks: Any, defenses: Any = (), worlds: int = 16, **policy: Any) -> None:
        self.world, self.policy = team(worlds=worlds, world={"max_steps": 6}, **policy)
        self.team_shape = team_shape_of(self.world, self.policy)
        made = [a(self.team_shape) for a in attacks]
        self.comms = comms(self.team_shape, made, [d(self.team_shape) for d in defenses], 3)
        self.graph = self.policy.topology.graph(None, worlds)
        self.generator = torch.Generator().manual_seed(2)
        self.seen = self.world.reset(seed=1)

    def decide(self, greedy: bool = False) -> Any:
        at = self.world.length.clone()
        generator = None if greedy else self.generator
        return decide(self.policy, self.seen, self.graph, self.comms, at, generator)

    def play(self, steps: int = 6, greedy: bool = False) -> list[Tensor]:
        actions = []
        for _ in range(steps):
            actions.append(self.decide(greedy).action)
            step = self.world.step(actions[-1])
            self.comms.reset(step.finished)
            self.seen = step.observation
        return actions


def same(first: list[Tensor], second: list[Tensor], agents: Any = slice(None)) -> bool:
    return all(torch.equal(a[:, agents], b[:, agents]) for a, b in zip(first, second, strict=True))


DECODERS = ["parallel", "autoregressive"]


@pytest.mark.parametrize("decoder", DECODERS)
def test_who_acts_as_the_policy_changes_nothing(decoder: str) -> None:
    """Bit for bit: the guard draws with the noise that the policy's own action is drawn with."""
    acting = Team(lambda s: Acting(s, honest, budget=Budget(deviation=1e-12)), decoder=decoder)
    assert same(acting.play(), Team(decoder=decoder).play())
    guard = acting.comms.adversary.action_guards[0]
    assert guard.acted.sum() == 6 * 16
    assert not guard.base.violations
    assert guard.deviation.max() < 1e-12


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("greedy", [False, True])
def test_only_its_own_node_acts_by_it(decoder: str, greedy: bool) -> None:
    acting, plain = Team(lambda s: Acting(s, always(4)), decoder=decoder), Team(decoder=decoder)
    a, b = acting.decide(greedy), plain.decide(greedy)
    assert (a.action[:, 1] == 4).all()
    assert not (b.action[:, 1] == 4).all()
    others = [0] if decoder == "autoregressive" else [0, 2]  # in turns, the next hear what it did
    assert torch.equal(a.action[:, others], b.action[:, others])
    chosen = a.logits.log_softmax(-1).gather(-1, a.action.unsqueeze(-1)).squeeze(-1)
    assert torch.equal(a.log_probability, chosen), "what is recorded is the probability of what was done"


def test_a_claim_that_does_not_hold_is_not_carried_out() -> None:
    acting = Team(lambda s: Acting(s, always(3), budget=Budget(deviation=0.01)))
    assert same(acting.play(), Team().play())
    assert acting.comms.guards[0].violations["act beyond the deviation"] > 50
    assert not acting.comms.guards[0].spent.any()


def test_what_deviates_only_once_the_secret_shows_is_found() -> None:
    """In the mean over secrets its first action is the policy's; to who has seen that one, the second is not."""
    s = team_shape(worlds=64)

    def act(view: ActionView) -> Tensor:
        return torch.tensor([[0.9, 0.1], [0.1, 0.9]], dtype=torch.float64).expand(len(view.worlds), 2, 2)

    network = comms(s, [Acting(s, act, budget=Budget(deviation=1e-9))])
    guard = network.adversary.action_guards[0]
    rows, step, logits = torch.arange(64 * s.num_agents), torch.zeros(64, dtype=torch.int64), torch.zeros(256, 2)
    noise = -torch.empty(256, 2).exponential_(generator=torch.Generator().manual_seed(0)).log_()
    for number, refused in ((0, 0), (1, 64)):
        network.on_action(logits, noise.argmax(-1), noise, step + number, rows)
        assert network.guards[0].violations["act beyond the deviation"] == refused
    assert torch.equal(guard.acted, torch.ones(64, dtype=torch.int64))
    assert (guard.posterior.amax(1) - 0.9).abs().max() < 1e-12
    assert guard.deviation.max() < 1e-9, "what is refused did not happen"


@pytest.mark.parametrize("law", [lambda v: honest(v) * 2, lambda v: -honest(v)])
def test_what_is_no_law_is_not_acted_by(law: Act) -> None:
    acting = Team(lambda s: Acting(s, law))
    assert same(acting.play(3), Team().play(3))
    assert acting.comms.guards[0].violations == {"act by an invalid distribution": 48}


@pytest.mark.parametrize("law", [lambda v: honest(v).float(), lambda v: honest(v)[:, :1], lambda v: honest(v)[1:]])
def test_laws_of_another_shape_are_named(law: Act) -> None:
    with pytest.raises(HookError, match=r"what on_action returns must be torch.float64 \(16, 2, 6\)"):
        Team(lambda s: Acting(s, law)).play(1)


def test_a_law_that_is_not_finite_is_named() -> None:
    with pytest.raises(NumberError, match="what on_action returns is nan in world 0 at step 0"):
        Team(lambda s: Acting(s, lambda v: honest(v) * torch.nan)).play(1)


def test_memory_must_not_be_swapped() -> None:
    def act(view: ActionView) -> Tensor:
        view.memory["count"] = view.memory["count"] + 1
        return honest(view)

    with pytest.raises(HookError, match=r"change the tensors of view\.memory in place"):
        Team(lambda s: Acting(s, act)).play(1)


def test_only_a_node_can_act() -> None:
    with pytest.raises(ValueError, match="'edge' has no node to act for"):
        ThreatModel(Position(kind="edge"), frozenset({"act"}))
    with pytest.raises(ValueError, match="two attacks act for the same node"):
        Team(*[lambda s: Acting(s, honest)] * 2)
    with pytest.raises(ValueError, match=r"secrets\(\) must be at least 1, not 0"):
        Team(lambda s: Acting(s, honest, secrets=0))


def test_without_the_power_it_is_not_asked() -> None:
    class Powerless(Acting):
        def threat_model(self) -> ThreatModel:
            return ThreatModel(Position(kind="node", node=1), frozenset({"read"}))

    assert same(Team(lambda s: Powerless(s, always(3))).play(), Team().play())


@pytest.mark.parametrize(("budget", "acted"), [({"per_step": 1}, 6), ({"per_episode": 2}, 2), ({"start_step": 4}, 2)])
def test_actions_are_paid_for(budget: dict[str, int], acted: int) -> None:
    at = Team(lambda s: Acting(s, always(3), budget=Budget(**budget)))
    done = torch.stack(at.play(6))[:, :, 1]
    guard = at.comms.adversary.action_guards[0]
    assert (guard.acted == acted).all()
    assert (done == 3).all(1).sum() >= acted


# ---- the covert channel


def covert(**arguments: Any) -> Callable[[TeamShape], Attack]:
    return lambda s: attack("covert", s, node=1, **arguments)


def warden(probability: float) -> Any:
    return lambda s: defense("warden", s, probability=probability)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_listener_decodes_what_a_team_tells(decoder: str) -> None:
    """By itself, from laws and actions alone; and it believes what the guard knows that one must believe."""
    t = Team(covert(messages=4), worlds=200, decoder=decoder)
    listener, guard = Listener(200, 4), t.comms.adversary.action_guards[0]
    for _ in range(5):
        d = t.decide()
        listener.see(d.logits[:, 1].double().softmax(-1), d.action[:, 1])
        t.seen = t.world.step(d.action, auto_reset=False).observation
        torch.testing.assert_close(listener.belief, guard.posterior, rtol=0, atol=1e-9)
    decoded = listener.guess == guard.secret
    assert decoded.double().mean() > 0.95
    assert 0.05 < guard.changed.sum() / guard.acted.sum() < 1
    bits = listener.bits
    t.comms.reset(torch.arange(200))
    torch.testing.assert_close(guard.leaked, bits, rtol=0, atol=1e-6)
    assert guard.deviation.max() < 1e-9
    assert not t.comms.guards[0].violations


def test_actions_are_drawn_as_the_policy_draws_them() -> None:
    """Without the secret, 4000 teams with a covert channel act as often in each way as their policy says."""
    t = Team(covert(messages=16), worlds=4000)
    d = t.decide()
    expected = d.logits[:, 1].softmax(-1).mean(0)
    often = torch.nn.functional.one_hot(d.action[:, 1], 6).float().mean(0)
    assert (often - expected).abs().max() < 4 * (0.25 / 4000) ** 0.5


def test_greedy_teams_tell_nothing() -> None:
    t = Team(covert())
    assert same(t.play(6, greedy=True), Team().play(6, greedy=True))
    guard = t.comms.adversary.action_guards[0]
    assert torch.equal(guard.posterior, torch.full((16, 64), 1 / 64).double())
    assert not guard.changed.any()


def test_secrets_are_forgotten_with_their_world() -> None:
    t = Team(covert(messages=1024))
    guard = t.comms.adversary.action_guards[0]
    t.play(3)
    before, belief = guard.secret.clone(), t.comms.guards[0].memory.tensors["belief"]
    t.comms.reset(torch.tensor([2, 5]))
    assert (belief[[2, 5]] == 1 / 1024).all()
    assert (belief[[0, 1, 3]] != 1 / 1024).any(1).all()
    t.decide()
    kept = torch.ones(16, dtype=torch.bool)
    kept[[2, 5]] = False
    assert torch.equal(guard.secret[kept], before[kept])
    assert (guard.secret[~kept] != before[~kept]).all()


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("probability", [0.0, 0.3])
def test_the_first_ratio_is_one(probability: float, decoder: str) -> None:
    world, policy = team(6, decoder=decoder, gate={"initial_logit": 0.5})
    s = sampler(world, policy)
    size = team_shape_of(world, policy)
    s.loop.comms = comms(size, [attack("covert", size, node=2)], [defense("warden", size, probability=probability)])
    s.collect(5)
    columns = s.collect(6).columns
    assert s.comms.guards[0].spent.sum() > 0
    update = Update(
        policy,
        PPOSettings(minibatch=None),
        torch.optim.Adam(policy.parameters(), 3e-3),
        None,
        torch.Generator().manual_seed(0),
    )
    stats = update.run(columns)
    assert stats["first_ratio_error"] < 1e-6
    assert stats["ratio_error"] > 1e-4


def test_a_warden_draws_from_the_policy() -> None:
    t = Team(defenses=[warden(1.0)], worlds=4000)
    d = t.decide()
    drawn = Team(worlds=4000).decide().action
    assert (d.action != drawn).any()
    expected = d.logits.softmax(-1).mean(0)
    often = torch.nn.functional.one_hot(d.action, 6).float().mean(0)
    assert (often - expected).abs().max() < 5 * (0.25 / 4000) ** 0.5
    assert same(Team(defenses=[warden(1.0)]).play(4, greedy=True), Team().play(4, greedy=True))
    assert same(Team(defenses=[warden(0.0)]).play(4), Team().play(4))


def test_a_warden_that_always_draws_leaves_nothing_to_hear() -> None:
    t = Team(covert(resample=0.9, deviation=None), defenses=[warden(1.0)], worlds=50)
    t.play(5)
    guard = t.comms.adversary.action_guards[0]
    torch.testing.assert_close(guard.posterior, torch.full((50, 64), 1 / 64).double())


def test_who_does_not_know_of_the_warden_gives_itself_away() -> None:
    """Its belief is wrong, so its actions are no longer the policy's to who knows better; it is held to its claim."""
    wrong = Team(covert(deviation=None), defenses=[warden(0.4)], worlds=100)
    right = Team(covert(resample=0.4), defenses=[warden(0.4)], worlds=100)
    held = Team(covert(), defenses=[warden(0.4)], worlds=100)
    for t in (wrong, right, held):
        t.play(5)
    deviations = [t.comms.adversary.action_guards[0].deviation.max() for t in (wrong, right, held)]  # type: ignore[union-attr]
    assert deviations[0] > 0.01
    assert deviations[1] < 1e-9
    assert deviations[2] < 1e-9
    assert held.comms.guards[0].violations["act beyond the deviation"] > 0


def test_a_saved_team_goes_on_alike() -> None:
    first, second = (Team(covert(resample=0.2), defenses=[warden(0.2)]) for _ in range(2))
    first.play(4)
    second.comms.restore(first.comms.snapshot())
    second.world.restore(first.world.snapshot())
    second.seen = first.seen
    second.generator.set_state(first.generator.get_state())
    assert same(first.play(5), second.play(5))


def test_an_attack_that_acts_is_checked() -> None:
    class Cheat(Acting):
        Config = AttackConfig

        def __init__(self, config: AttackConfig, s: TeamShape) -> None:
            super().__init__(s, lambda view: always(3)(view), 0, config.budget.model_copy(update={"deviation": 0.1}))

    with pytest.raises(AssertionError, match="requests more than its threat model allows"):
        check_attack(Cheat)


@pytest.mark.parametrize("arguments", [{"messages": 1}, {"resample": 1.0}, {"node": -1}, {"deviation": -1}])
def test_bad_arguments_are_named(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(arguments))):
        build_config("attack", "covert", arguments)
