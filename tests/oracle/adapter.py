"""All that the oracle knows of the package: it builds networks, markets, teams and runs from names, and reads them out.

What is read out has names of its own (``ledger.sent``, ``attack.spent``), so that after a change of the package only
this file must follow. ``RENAMED`` maps names of the package that have changed since the record to those recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from builders import Scripted, forge
from small import small
from torch import Tensor
from torch.nn.functional import pad

from agentcomm import api
from agentcomm.base import registry
from agentcomm.conformance.conversations import conversation, reader
from agentcomm.conformance.directories import MEMBERS, SKILLS, WORLDS, Market
from agentcomm.contracts.attack import Attack, hooks
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.threat_model import Budget, Position
from agentcomm.contracts.views import MessageView
from agentcomm.directory.config import DirectoryConfig
from agentcomm.directory.hub import Directory
from agentcomm.directory.screens import DirectoryScreens
from agentcomm.guards.actions import ActionGuard
from agentcomm.guards.base import GuardBase
from agentcomm.network.ledger import COUNTS
from agentcomm.network.record import Fate
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import make_comms, make_policy, make_world
from agentcomm.runs.choices import Choice, TransportConfig
from agentcomm.runs.conditions import Conditions
from agentcomm.runs.folder import create
from agentcomm.runs.ppo_settings import PPOSettings
from agentcomm.step.adversary import Adversary
from agentcomm.step.comms import Comms
from agentcomm.training.rollout import Sampler
from benchmarks.plain_loop import PlainLoop

CPU = torch.device("cpu")
RENAMED: dict[str, str] = {"noise_draw": "voice_draw"}  # parameters, columns and metrics: present name -> recorded name
SHOWN = {"sent_round": "kind"}  # attributes of a view: present name -> recorded name
# Forms of attacks: present name -> recorded name; None for those that have come since.
FORMS: dict[str, str | None] = {
    "tamper": None,
    **{f"tamper {how}": how for how in ("bias", "permute", "swap", "zero")},
    "tamper at node": "flip at node",
    "replay alongside": "replay besides",
    "impersonate one victim": "impersonate one",
    "drift free length": "drift longer",
    "partial last parts": "partial at the end",
    "hijack one victim": "hijack one",
    "abuse wrong audience": "abuse far",
    "insider pattern": "insider by pattern",
    "hijack_edges": "hijack by ransom",
    "hijack_edges starve": "hijack by starving",
    "hijack_edges strike": "hijack by strike",
    "gradient weakest link": "weakest link",
    "learned small budget": "learned a little",
    "fragment": "early fragment",
    "fragment header": "replayed header",
    "fragment fake": "fake fragments",
    "fragment middle": "middle fragment",
    "force_gate": "force gate",
    "force_gate guess": "force gate by guessing",
    "copied_card": "copied card",
    "copied_card many victims": "copied cards",
    "half_open": "half open",
    "recursive failing": "recursive fails",
    "rug_pull": "rug pull",
    "badmouth slander only": "badmouth the good",
    "hub_poison": "hub",
    "hub_poison sometimes": "hub sometimes",
}
ONE_OF_EACH_KIND = (
    *(
        "drop",
        "noise",
        "noise sometimes",
        "noise at node",
        "swap",
        "delay",
        "delay at node",
        "reorder",
        "replay besides",
    ),
    *("impersonate", "impersonate stale", "flood", "drift", "pollute", "gradient", "learned a little"),
)
CHANNEL_FORMS: dict[str, tuple[str, dict[str, Any]]] = registry.forms("channel")
# When this was recorded, sealing traces was left to the world, and the market here did not.
HUB_DEFENDED = {"defenses": (("challenge", {}), ("member_ratings", {}), ("request_timeout", {"steps": 2}))}

# Attacks that ask for more than they may: their position, powers and budget.
RULE_BREAKERS: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "breaker without powers": ({"kind": "edge"}, "", {}),
    "breaker that reads": ({"kind": "edge"}, "read", {}),
    "breaker within a norm": ({"kind": "edge", "links": [(0, 1), (2, 0)]}, "modify inject", {"norm": 1.0}),
    "breaker within a length": ({"kind": "edge"}, "read modify drop", {"length": 4.0, "per_episode": 30}),
    "breaker that replays": ({"kind": "edge"}, "read replay delay", {"per_step": 9}),
    "breaker at node": ({"kind": "node", "node": 1}, "modify drop inject delay", {"per_step": 5, "start_step": 1}),
    "breaker from outside": ({"kind": "newcomer"}, "inject", {"per_step": 2}),
}

Plugin = tuple[str, dict[str, Any]]
Tensors = dict[str, Tensor]


def _recorded(directory: bool) -> dict[str, Plugin]:
    """Forms of attacks on a directory, or of all others, by recorded name."""
    forms = {FORMS.get(form, form): plugin for form, plugin in registry.forms("attack").items()}
    return {
        form: plugin
        for form, plugin in forms.items()
        if form is not None and ("on_directory" in hooks(registry.find("attack", plugin[0]))) == directory
    }


MESSAGE_FORMS, DIRECTORY_FORMS = _recorded(directory=False), _recorded(directory=True)


class Way(NamedTuple):
    """What messages pass, and how they are written."""

    channels: tuple[Plugin, ...] = ()
    codec: Plugin | None = None


PLAIN_WAY = Way()


def _named(values: Mapping[str, Any]) -> dict[str, Any]:
    return {RENAMED.get(name, name): value for name, value in values.items()}


def _make(axis: Any, plugin: Plugin, *more: Any) -> Any:
    return registry.find(axis, plugin[0])(registry.build_config(axis, *plugin), *more)


def _attack(form: str, s: TeamShape) -> Attack:
    if form not in RULE_BREAKERS:
        made: Attack = _make("attack", MESSAGE_FORMS[form], s)
        return made

    def ask(view: MessageView) -> MessageEdits:
        luck = torch.rand(view.reach.shape, generator=view.generator)
        change = 2 * torch.randn(*luck.shape, s.width, generator=view.generator)
        change[luck > 0.9] = torch.nan
        sender = torch.randint(s.num_agents + 1, (*luck.shape[:2], 1), generator=view.generator)
        delay = ((luck > 0.2) & (luck < 0.5)).long()
        modify = (luck > 0.4) & (luck <= 0.9)  # NaN elsewhere is not edited
        return MessageEdits(luck < 0.3, modify, change, delay, forge(view, s, sender=sender, key=sender))

    position, powers, budget = RULE_BREAKERS[form]
    return Scripted(s, powers.split(), ask, Position(**position), Budget(**budget))


def _choice(plugin: Plugin) -> Choice:
    return Choice.model_validate({"name": plugin[0], **plugin[1]})


# ---- what can be read out of a network


def ledger(network: Any) -> Tensors:
    """All counters [B]."""
    book = network.ledger
    out = _as_forged({name: book[name] for name in COUNTS})
    out |= {name: getattr(book, name) for name in ("bytes", "steps", "seconds")}
    return out | {f"refused_by.{name}": count for name, count in book.refused_by.items()}


def _as_forged(counts: dict[str, Any]) -> dict[str, Any]:
    """Counts as recorded, when copies of messages counted as forgeries."""
    known = {name: count for name, count in counts.items() if "replayed" not in name}
    known["forged"] = counts["forged"] + counts["replayed"]
    return known | {"accepted_forged": counts["accepted_forged"] + counts["accepted_replayed"]}


def violations(guards: Iterable[Any]) -> dict[str, int]:
    return {rule: int(count) for guard in guards for rule, count in guard.violations.items()}


def spent(guards: Iterable[Any]) -> Tensor:
    """[B] int64, by all attacks in the running episodes."""
    return torch.stack([guard.spent for guard in guards]).sum(0)


def memory(guards: Iterable[Any]) -> list[Tensor]:
    return [value for guard in guards for value in guard.memory.tensors.values()]


class Guards(list[GuardBase]):
    """Of attacks on a team, but not on its directory; some of them act for their node."""

    acting: list[ActionGuard]


class Between:
    """What lies between a team's members."""

    def __init__(self, comms: Comms) -> None:
        self.comms, self.ledger = comms, comms.network.ledger
        self.guards = Guards(g for g in comms.adversary.guards if hooks(type(g.attack)) != {"on_directory"})
        self.guards.acting = comms.adversary.action_guards


def actions(guards: Guards) -> Tensors:
    """What attacks that act did; nothing where none does."""
    acting = guards.acting
    names = {"acted": "acted", "changed": "changed", "deviation": "deviation", "told": "leaked"}
    return {name: torch.stack([getattr(each, now) for each in acting]) for name, now in names.items()} if acting else {}


def _tape(network: Any) -> Tensors:
    """Every message of every exchange [T, B, N, M]; -1 where there is none."""
    notes, slots = network.trace, max(note.fields["fate"].shape[-1] for note in network.trace)

    def column(values: Iterable[Any]) -> Tensor:
        return torch.stack([pad(x, (0, slots - x.shape[-1])) for x in map(torch.as_tensor, values)])

    empty = column(note.fields["fate"] for note in notes) == 0
    out = {name: column(note.fields[name] for note in notes).masked_fill(empty, -1) for name in notes[0].fields}
    out["fate"] = out["fate"].masked_fill(out["fate"] == int(Fate.REPLAYED), int(Fate.FORGED))
    out["accepted"] = column(note.fields["accepted"] for note in notes)
    out["kind"] = torch.tensor([note.round for note in notes])
    nobody = torch.zeros_like(torch.as_tensor(notes[0].fields["accepted"]))
    for by in sorted({by for note in notes for by in note.refused}):
        out[f"refused.{by}"] = column(note.refused.get(by, nobody) for note in notes)
    return out


def _shown(network: Any) -> Tensors:
    """What the attack was shown, exchange by exchange; of seals, which depend on floats, only where there are some."""
    views = network.guards[0].trace if network.guards else []
    out: Tensors = {}
    for name in sorted({*vars(views[0]), *views[0].granted}) if views else ():
        values = [getattr(view, name) for view in views]
        if all(isinstance(value, Tensor) for value in values):
            out[SHOWN.get(name, name)] = torch.stack(
                [(value != 0) & (value != -1) if name == "seal" else value for value in values]
            )
    return out


# ---- conversations


class Talk(NamedTuple):
    """What came of a conversation. Inboxes are [T, B, N, M]; what was not accepted is blank."""

    mask: Tensor
    source: Tensor
    payload: Tensor
    ledger: Tensors
    tape: Tensors
    shown: Tensors
    spent: Tensor
    memory: list[Tensor]
    violations: dict[str, int]


def talk(form: str | None, defenses: Iterable[Plugin], path: Way, real: bool = False, steps: int = 6) -> Talk:
    """A random conversation of 4 agents in 3 worlds under an attack; ``real``: message by message, as bytes."""
    s = TeamShape(3, 4, 2, 8, 2, CPU)
    attacks = [] if form is None else [_attack(form, s)]
    made = [_make("defense", defense, s) for defense in defenses]
    slots = s.degree + sum(attack.injections() for attack in attacks)
    channels = [_make("channel", channel, s, slots) for channel in path.channels]
    codec = None if path.codec is None else _make("codec", path.codec, s)
    comms = Comms.between(s, attacks, made, 5, channels, codec, transport="objects" if real else "batch")
    network, guards = comms.network, Between(comms).guards
    network.trace = []
    for guard in network.guards:
        guard.trace = []
    inboxes, costs = [], []
    for e in conversation(s, steps, seed=3):
        inboxes.append(network.exchange(e.spoken, e.links, e.step, e.round, reader))
        costs.append(spent(guards) if guards else torch.zeros(s.num_worlds, dtype=torch.int64))
        if len(e.ended):
            comms.reset(e.ended)
    width = s.degree + network.spare
    mask = torch.stack([pad(i.mask, (0, width - i.mask.shape[-1])) for i in inboxes])
    source = torch.stack([pad(i.source, (0, width - i.source.shape[-1])) for i in inboxes]).masked_fill(~mask, -1)
    heard = torch.stack([pad(i.payload(), (0, 0, 0, width - i.mask.shape[-1])) for i in inboxes])
    shown = _shown(network)
    kept, broken = memory(guards), violations(guards)
    payload = heard.masked_fill(~mask.unsqueeze(-1), 0.0)
    return Talk(mask, source, payload, ledger(network), _tape(network), shown, torch.stack(costs), kept, broken)


# ---- directories


def market(form: str, settings: Mapping[str, Any], steps: int = 10) -> tuple[dict[str, Any], Any]:
    """Random look-ups in a directory under an attack: what is read out, and the attack's guard."""
    made = Market()
    hub = {name: value for name, value in settings.items() if name != "defenses"}
    made.directory = Directory(DirectoryConfig(slots=9, newcomers=6, **hub), WORLDS, MEMBERS, SKILLS, CPU)
    made.generator.manual_seed(1)
    made._begin(torch.arange(WORLDS))
    attack = _make("attack", DIRECTORY_FORMS[form], TeamShape(WORLDS, MEMBERS, 1, 4, 1, CPU))
    adversary = Adversary([attack], attack.team_shape, 1, made.directory.shape)
    defenses = [_make("defense", defense, attack.team_shape) for defense in settings.get("defenses", ())]
    made.directory.install(adversary.directory_guards, DirectoryScreens(defenses, made.directory.shape))
    answers, costs, obeyed = [], [], []
    readers = torch.Generator().manual_seed(2)
    for _ in range(steps):
        answers.append(made.turn())
        slot = answers[-1].slot
        obeyed.append(made.directory.obey(slot, slot[..., 0] >= 0, readers))
        costs.append(spent(adversary.guards))
    out: dict[str, Any] = {}
    for field in fields(answers[0]):
        out[f"answer.{field.name}"] = torch.stack([getattr(answer, field.name) for answer in answers])
    facts, cards = made.directory.facts(), made.directory.cards
    out |= {f"fact.{field.name}": getattr(facts, field.name) for field in fields(facts)}
    out |= {f"card.{field.name}": getattr(cards, field.name) for field in fields(cards)}
    out |= {
        "reputation": made.directory.reputation(),
        "obeyed": torch.stack(obeyed),
        "attack.spent": torch.stack(costs),
    }
    return {name: value for name, value in out.items() if isinstance(value, Tensor)}, adversary.guards[0]


# ---- decisions, weights, cells


def fragment(
    environment: Plugin,
    policy: Plugin,
    attack: Plugin | None,
    defenses: Iterable[Plugin],
    path: Way = PLAIN_WAY,
    worlds: int = 6,
    steps: int = 6,
) -> tuple[Any, Any]:
    """A rollout of a small team whose weights are disturbed, so that it minds what it hears; and its network."""
    world = make_world(_choice(environment), worlds)
    team = make_policy(_choice(policy), world, "team", 0)
    g = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in team.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=g))
    attacks = [] if attack is None else [_choice(attack)]
    comms = make_comms(world, team, attacks, [_choice(d) for d in defenses], 0, _path(path))
    return Sampler(world, team, comms, PPOSettings(held_out=0.25), 0).collect(steps), Between(comms)


def columns(made: Any) -> Tensors:
    """Of a fragment."""
    return _named(made.columns)


def _path(path: Way) -> TransportConfig:
    codec = None if path.codec is None else _choice(path.codec)
    return TransportConfig(channels=tuple(map(_choice, path.channels)), codec=codec)


def trained(iterations: int = 2, **config: Any) -> PlainLoop:
    """A small team after some iterations of training, without Ray."""
    loop = PlainLoop(small(**config))
    for _ in range(iterations):
        loop.iterate()
    return loop


def weights(loop: PlainLoop) -> Tensors:
    """Everything that a policy file would hold."""
    return _named(loop.policy.state_dict())


def grid(root: Path, config: Mapping[str, Any], asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of a grid of cells, played by a team after two iterations of training."""
    loop = trained(**config)
    run = create(loop.run, root)
    about = (loop.run.environment, loop.run.policy, "team", 0)
    policy_file.save(run.policy("team", 0), loop.policy, *about, {})
    renamed = {"worlds": "environments"}
    conditions = {renamed.get(key, key): value for key, value in asked.items() if key not in ("attacks", "defenses")}
    conditions["gates"] = ["closed" if gates == "shut" else gates for gates in conditions["gates"]]
    rows = api.evaluate(run, asked["attacks"], asked["defenses"], conditions)
    named = {"metrics": _named, "ledger": _as_forged}
    return [row | _conditions(row) | {key: name(row[key]) for key, name in named.items()} for row in rows]


def _conditions(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the record calls a cell's conditions."""
    under = Conditions.model_validate(row["conditions"])
    return {
        "path_label": under.transport.label or None,
        # Whole floats were written with a decimal point.
        "world": ", ".join(f"{key}={float(v) if key == 'inflated' else v}" for key, v in under.environment.items()),
        "gates": "shut" if under.gates == "closed" else under.gates,
    }
