"""Do attacks and defenses keep theirs?"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from agentcomm.conformance.acting import check_acting
from agentcomm.conformance.common import check_memory, check_plugin, check_threat, require
from agentcomm.conformance.conversations import carry, check_state, conversation, make_setting, reader, same_heard
from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.outcome import Episodes
from agentcomm.defense import ORDERS, Defense, DefenseConfig, Delivered, Verdicts
from agentcomm.forging import receivers, written
from agentcomm.network.ledger import COUNTS
from agentcomm.network.network import Network
from agentcomm.threats import Attack, AttackConfig, Budget, Edits, Position, Setting, ThreatModel, View


class Disturb(Attack):
    """Does a little of everything, to see how others take it."""

    def threat_model(self) -> ThreatModel:
        """On the path, with everything it takes to disturb."""
        return ThreatModel(Position(kind="edge"), frozenset({"read", "drop", "modify", "inject"}))

    def injections(self) -> int:
        """One."""
        return 1

    def apply(self, view: View) -> Edits:
        """Drop some messages, change some, add some."""
        s = self.setting
        some = view.rand(*view.reach.shape)
        receiver = receivers(s)
        where = view.rand(*receiver.shape) < 0.3
        inject = written(view, s, where, view.randn(*receiver.shape, s.width), (receiver + 1) % s.num_agents)
        change = view.randn(*view.reach.shape, s.width)
        return Edits(view.reach & (some < 0.2), view.reach & (some > 0.6), change, inject=inject)


def check_attack(attack: type[Attack], arguments: dict[str, Any] | None = None, num_agents: int = 4) -> None:
    """Check the contract of :class:`agentcomm.threats.Attack` on random traffic.

    Args:
        attack: The attack's class.
        arguments: Its arguments; those by default when not given.
        num_agents: Size of the team that it attacks.

    Raises:
        AssertionError: If the attack breaks the contract.
    """
    check_plugin(attack, AttackConfig)
    config = attack.Config.model_validate(arguments or {})
    assert isinstance(config, AttackConfig)
    _check_attack_on(attack, config, make_setting(num_agents, 0))
    setting = make_setting(num_agents, 2)
    _check_attack_on(attack, config, setting)
    exchanges = conversation(setting, 10, seed=0)

    def build(budget: Budget | None = None) -> Network:
        given = config if budget is None else config.model_copy(update={"budget": budget})
        return Network(setting, [attack(given, setting)], seed=1)

    _check_predicate(attack(config, setting), setting.num_worlds)
    if "act" in attack(config, setting).threat_model().powers:
        check_acting(build, setting)
    check_state(build, exchanges)
    clean = Network(setting)
    plain = [clean.exchange(e.spoken, e.links, e.step, e.kind) for e in exchanges]
    for budget in (Budget(per_step=0), Budget(per_episode=0), Budget(start_step=1000)):
        idle = build(budget)
        for e, expected in zip(exchanges, plain, strict=True):
            got = idle.exchange(e.spoken, e.links, e.step, e.kind, reader)
            same = all(_equal(getattr(got, f.name), getattr(expected, f.name)) for f in fields(Inbox))
            require(same, f"it acts without a budget: threat_model leaves out {budget!r}")
            idle.reset(e.ended)
    for limit in ("norm", "length", "reward", "deviation"):
        strict = config.model_copy(update={"budget": config.budget.at_most(**{limit: 0})})
        held = getattr(attack(strict, setting).threat_model().budget, limit)
        require(held == 0, f"threat_model allows {limit}={held}, although its budget says 0")
    control = Network(setting, [attack(config.model_copy(update={"harmless": True}), setting)], seed=1)
    for e, expected in zip(exchanges, plain, strict=True):
        got = control.exchange(e.spoken, e.links, e.step, e.kind, reader)
        slots = slice(expected.mask.shape[2])
        same = torch.equal(got.mask[..., slots], expected.mask)
        heard = got.payload()[..., slots, :].masked_fill(~expected.mask.unsqueeze(-1), 0.0)
        same &= torch.equal(heard, expected.payload().masked_fill(~expected.mask.unsqueeze(-1), 0.0))
        require(same, "its no-op control changes what honest senders are heard to say")
        control.reset(e.ended)


def _check_predicate(made: Attack, worlds: int) -> None:
    none, zero = torch.zeros(worlds, dtype=torch.int64), torch.zeros(worlds)
    quiet = Episodes(
        length=none + 1,
        success=none > 0,
        total_reward=zero,
        harm=none,
        actions=torch.ones(worlds, 64, dtype=torch.int64),
        messages=dict.fromkeys(COUNTS, none),
        bytes=none,
        late_by=(none, zero),
        refused_by={},
        gate_by_step=[1.0],
        gate_open=1.0,
    )
    won = made.succeeded(quiet, quiet)
    require(won.shape == (worlds,) and won.dtype == torch.bool, f"succeeded must return torch.bool ({worlds},)")
    require(not won.any(), "it succeeds in episodes in which nothing happened")


def _check_attack_on(attack: type[Attack], config: AttackConfig, setting: Setting) -> None:
    made = attack(config, setting)
    check_threat(made)
    require(made.injections() == made.injections() >= 0, "injections changes from call to call")
    check_memory(made.memory, setting.num_worlds)
    network = Network(setting, [made])
    carry(network, conversation(setting, 16, seed=1))
    # That the guard cuts an attack off at the end of its budget is no fault of the attack.
    broken = {rule: count for rule, count in network.guards[0].violations.items() if rule != "beyond the budget"}
    require(not broken, f"it asks for more than its threat model allows: {broken}")


def _equal(first: Tensor | None, second: Tensor | None) -> bool:
    if first is None or second is None:
        return first is second
    return torch.equal(first, second)


class _Watched(Defense):
    """Looks over a defense's shoulder."""

    def __init__(self, inner: Defense) -> None:
        super().__init__(inner.config, inner.setting)
        self.inner = inner
        self.name, self.order, self.needs_seal = inner.name, inner.order, inner.needs_seal  # type: ignore[misc]

    def memory(self) -> dict[str, Tensor]:
        return self.inner.memory()

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        names = ("present", "sender", "audience", "sequence", "sent_at", "kind", "key", "payload", "step")
        before = {name: getattr(delivered, name).clone() for name in names}
        places = dict(memory)
        verdicts = self.inner.screen(delivered, memory)
        changed = [name for name, value in before.items() if not torch.equal(value, getattr(delivered, name))]
        require(not changed, f"screen changes {', '.join(changed)} of what was delivered")
        kept = places.keys() == memory.keys() and all(memory[name] is value for name, value in places.items())
        require(kept, "screen swaps tensors of its memory; they must be changed in place")
        shape = delivered.present.shape
        if verdicts.refuse is not None:
            fits = verdicts.refuse.shape == shape and verdicts.refuse.dtype == torch.bool
            require(fits, f"refuse must be torch.bool {tuple(shape)}")
        if verdicts.scale is not None:
            fits = verdicts.scale.shape == shape and verdicts.scale.dtype == torch.float32
            require(fits, f"scale must be torch.float32 {tuple(shape)}")
            require(verdicts.scale[delivered.present].isfinite().all(), "scale is not finite")
        return verdicts


def check_defense(
    defense: type[Defense], arguments: dict[str, Any] | None = None, num_agents: int = 4, lossless: bool = True
) -> None:
    """Check the contract of :class:`agentcomm.defense.Defense` on random traffic, clean and attacked.

    Args:
        defense: The defense's class.
        arguments: Its arguments; those by default when not given.
        num_agents: Size of the team that it defends.
        lossless: Whether it must let clean traffic pass bit for bit. Defenses that pay for robustness with clean
            performance, such as quotas, do not.

    Raises:
        AssertionError: If the defense breaks the contract.
    """
    check_plugin(defense, DefenseConfig)
    require(defense.order in ORDERS, f"order is {defense.order!r}, not one of {', '.join(ORDERS)}")
    config = defense.Config.model_validate(arguments or {})
    assert isinstance(config, DefenseConfig)
    for degree in (0, 2):
        setting = make_setting(num_agents, degree)
        exchanges = conversation(setting, 10, seed=degree)
        check_memory(defense(config, setting).memory, setting.num_worlds)

        def build(attacked: bool = True, setting: Setting = setting) -> Network:
            attacks = [Disturb(AttackConfig(), setting)] if attacked else []
            return Network(setting, attacks, [_Watched(defense(config, setting))], seed=1)

        carry(build(), exchanges)
        if lossless:
            passed = same_heard(carry(build(attacked=False), exchanges), carry(Network(setting), exchanges))
            require(passed, "clean messages are refused or changed (pass lossless=False if that is its price)")
    check_state(build, exchanges)
