"""Do attacks and defenses keep theirs?"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from agentcomm.conformance.common import check_plugin, require
from agentcomm.defense import ORDERS, Defense, DefenseConfig, Delivered, Verdicts
from agentcomm.messages.network import Network
from agentcomm.messages.traffic import Inbox, Links
from agentcomm.threats import Attack, AttackConfig, Budget, Edits, Envelopes, Position, Setting, ThreatModel, View


class Disturb(Attack):
    """Does a little of everything, to see how others take it."""

    name = "disturb"

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
        places = (s.num_worlds, s.num_agents, 1)
        receiver = torch.arange(s.num_agents, device=s.device).view(1, -1, 1).expand(places)
        at = view.step.view(-1, 1, 1).expand(places)
        none = torch.zeros(places, dtype=torch.int64, device=s.device)
        inject = Envelopes(
            where=view.rand(*places) < 0.3,
            payload=view.randn(*places, s.width),
            sender=(receiver + 1) % s.num_agents,
            audience=receiver,
            sequence=at * s.rounds + view.round,
            sent_at=at,
            kind=none + view.round,
            key=none - 1,
            seal=none,
            sign=True,
        )
        change = view.randn(*view.reach.shape, s.width)
        return Edits(view.reach & (some < 0.2), view.reach & (some > 0.6), change, inject)


@dataclass(frozen=True)
class _Exchange:
    spoken: Tensor
    links: Links
    step: Tensor
    kind: int
    ended: Tensor


def _conversation(s: Setting, num_steps: int, seed: int) -> list[_Exchange]:
    """Random tokens on random links; gates shut and episodes end at random, in each world for itself."""
    g = torch.Generator().manual_seed(seed)
    at, out = torch.zeros(s.num_worlds, dtype=torch.int64), []
    for _ in range(num_steps):
        keys = torch.rand(s.num_worlds, s.num_agents, s.num_agents, generator=g)
        keys.diagonal(dim1=1, dim2=2).fill_(-1)
        open_ = torch.rand(s.num_worlds, s.num_agents, generator=g) < 0.8
        links = Links(keys.topk(s.degree, -1).indices.sort(-1).values, open_)
        done = (torch.rand(s.num_worlds, generator=g) < 0.15).nonzero().squeeze(-1)
        for kind in range(s.rounds):
            spoken = torch.randn(s.num_worlds, s.num_agents, s.width, generator=g)
            spoken = torch.nn.functional.layer_norm(spoken, (s.width,))
            out.append(_Exchange(spoken, links, at.clone(), kind, done if kind == s.rounds - 1 else done[:0]))
        at = at + 1
        at[done] = 0
    return out


def _carry(network: Network, exchanges: Sequence[_Exchange], other_words_in: int | None = None) -> list[Tensor]:
    """What was heard, [B, N, M, D + 1] with the mask in the last place; in one world other things may be said."""
    out = []
    slots = network.setting.degree + network.spare
    for e in exchanges:
        spoken = e.spoken.clone()
        if other_words_in is not None:
            spoken[other_words_in] = spoken[other_words_in].flip(0)
        inbox = network.exchange(spoken, e.links, e.step, e.kind)
        payload = inbox.payload().masked_fill(~inbox.mask.unsqueeze(-1), 0.0)
        heard = torch.cat([payload, inbox.mask.unsqueeze(-1).float()], -1)
        out.append(torch.nn.functional.pad(heard, (0, 0, 0, slots - heard.shape[2])))
        if len(e.ended):
            network.reset(e.ended)
    return out


def _same(first: Sequence[Tensor], second: Sequence[Tensor], worlds: Sequence[int] | None = None) -> bool:
    chosen = slice(None) if worlds is None else list(worlds)
    return all(torch.equal(a[chosen], b[chosen]) for a, b in zip(first, second, strict=True))


def _check_memory(make: Callable[[], dict[str, Tensor]], worlds: int) -> None:
    memory = make()
    fresh = {name: value.clone() for name, value in memory.items()}
    for name, value in memory.items():
        require(len(value) == worlds, f"memory {name!r} has leading dimension {len(value)}, not {worlds} worlds")
        value.fill_(1)
    again = make()
    same = again.keys() == fresh.keys() and all(torch.equal(again[name], value) for name, value in fresh.items())
    require(same, "memory() does not start the same each time: it must make new tensors")


def _check_state(build: Callable[[], Network], exchanges: list[_Exchange]) -> None:
    """Same seed, same messages; saved and restored; worlds reset one by one; and none that hears of another."""
    ambient = torch.get_rng_state()
    whole = _carry(build(), exchanges)
    require(torch.equal(ambient, torch.get_rng_state()), "randomness is drawn from torch's global generator")
    require(_same(whole, _carry(build(), exchanges)), "the same seed and messages give another outcome")
    half = len(exchanges) // 2 + 1  # between two rounds of a step
    first, second = build(), build()
    _carry(first, exchanges[:half])
    second.set_state(first.get_state())
    goes_on = _same(whole[half:], _carry(second, exchanges[half:]))
    require(goes_on, "a restored run differs: something is kept outside memory")
    others = list(range(1, first.setting.num_worlds))
    apart = _same(whole, _carry(build(), exchanges, other_words_in=0), others)
    require(apart, "what is said in one world changes another")
    used, new = build(), build()
    _carry(used, exchanges)
    used.reset(torch.arange(used.setting.num_worlds))
    for old, fresh in zip(used.guards, new.guards, strict=True):
        old.generator.set_state(fresh.generator.get_state())
    require(_same(_carry(used, exchanges), _carry(new, exchanges)), "something of an episode outlives it")


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
    for risk in attack.risks:
        known = re.fullmatch(r"(ua|aa|ae)\.l[123]\.[a-z_]+", risk) is not None
        require(known, f"{risk!r} is no risk id, like aa.l2.agent_spoofing")
    config = attack.Config.model_validate(arguments or {})
    assert isinstance(config, AttackConfig)
    _check_attack_on(attack, config, _setting(num_agents, 0))
    setting = _setting(num_agents, 2)
    _check_attack_on(attack, config, setting)
    exchanges = _conversation(setting, 10, seed=0)

    def build(budget: Budget | None = None) -> Network:
        given = config if budget is None else config.model_copy(update={"budget": budget})
        return Network(setting, [attack(given, setting)], seed=1)

    _check_state(build, exchanges)
    clean = Network(setting)
    plain = [clean.exchange(e.spoken, e.links, e.step, e.kind) for e in exchanges]
    for budget in (Budget(per_step=0), Budget(per_episode=0), Budget(start_step=1000)):
        idle = build(budget)
        for e, expected in zip(exchanges, plain, strict=True):
            got = idle.exchange(e.spoken, e.links, e.step, e.kind)
            same = all(_equal(getattr(got, f.name), getattr(expected, f.name)) for f in fields(Inbox))
            require(same, f"it acts without a budget: threat_model leaves out {budget!r}")
            idle.reset(e.ended)


def _setting(num_agents: int, degree: int) -> Setting:
    return Setting(3, num_agents, min(degree, num_agents - 1), 8, 2, torch.device("cpu"))


def _check_attack_on(attack: type[Attack], config: AttackConfig, setting: Setting) -> None:
    made = attack(config, setting)
    require(isinstance(made.threat_model(), ThreatModel), "threat_model does not return a ThreatModel")
    require(made.threat_model() == made.threat_model(), "the threat model changes from call to call")
    require(made.injections() == made.injections() >= 0, "injections changes from call to call")
    _check_memory(made.memory, setting.num_worlds)
    network = Network(setting, [made])
    _carry(network, _conversation(setting, 16, seed=1))
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
        setting = _setting(num_agents, degree)
        exchanges = _conversation(setting, 10, seed=degree)
        _check_memory(defense(config, setting).memory, setting.num_worlds)

        def build(attacked: bool = True, setting: Setting = setting) -> Network:
            attacks = [Disturb(AttackConfig(), setting)] if attacked else []
            return Network(setting, attacks, [_Watched(defense(config, setting))], seed=1)

        _carry(build(), exchanges)
        if lossless:
            passed = _same(_carry(build(attacked=False), exchanges), _carry(Network(setting), exchanges))
            require(passed, "clean messages are refused or changed (pass lossless=False if that is its price)")
    _check_state(build, exchanges)
