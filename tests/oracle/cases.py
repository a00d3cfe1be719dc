"""The cases of the oracle: what the package does now, in numbers, each under a name that shall not change.

``GROUPS`` has the cases of each group; calling one computes its entries from present code.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parent, HERE.parent.parent):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import adapter  # noqa: E402
import torch  # noqa: E402
from adapter import PLAIN_WAY, Plugin, Way  # noqa: E402
from entries import Entries, digest, moments, together, told  # noqa: E402

Case = Callable[[], Entries]
CLIP: Plugin = ("clip", {})
AUTHENTICATE: Plugin = ("authenticate", {})
DEFENSES: dict[str, tuple[Plugin, ...]] = {"undefended": (), "defended": (AUTHENTICATE, CLIP)}
CUT = Way((("fragments", {"mtu": 24, "loss": 0.05, "timeout": 2}),), ("int8", {}))
PATHS = {"plain": PLAIN_WAY, "fragments and int8": CUT}
CODECS: tuple[Plugin, ...] = (
    *((name, {}) for name in ("float32", "float16", "int8", "sign", "top_k", "fedzip")),
    ("delta", {"resync": 4}),
    ("vq", {"groups": 4, "codewords": 8}),
)
HUBS: dict[str, dict[str, Any]] = {
    "undefended": {},
    "defended": adapter.HUB_DEFENDED,
    "obedient": {"obedience": 0.5},
}

# What a drift has changed of a message is nothing at first, but for the last bits of floats, and these decide whether
# its seal holds. So these cases are equal on one sort of CPU only, and left to ``record.py --check``.
BIT_BY_BIT = ("drift / defended / plain", "drift / defended / fragments and int8", "drift / defended")


# ---- messages and objects


def talk(form: str | None, defenses: str, path: Way, real: bool = False) -> Entries:
    t = adapter.talk(form, DEFENSES[defenses], path, real)
    out: Entries = {"inbox.mask": digest(t.mask), "inbox.source": digest(t.source), "inbox.payload": told(t.payload)}
    out |= {f"ledger.{name}": told(value) for name, value in t.ledger.items()}
    out |= {f"tape.{name}": told(value) for name, value in t.tape.items()}
    out |= {f"shown.{name}": told(value) for name, value in t.shown.items()}
    out |= {"attack.spent": digest(t.spent), "attack.spent in all": int(t.spent.sum())}
    out |= {f"attack.memory.{kind}": value for kind, value in together(t.memory).items()}
    return out | {f"violations.{rule}": count for rule, count in t.violations.items()}


def messages() -> dict[str, Case]:
    out: dict[str, Case] = {}
    for form in (None, *adapter.MESSAGE_FORMS, *adapter.RULE_BREAKERS):
        for defenses in DEFENSES:
            for name, path in PATHS.items():
                out[f"{form or 'no attack'} / {defenses} / {name}"] = partial(talk, form, defenses, path)
    for name, channel in adapter.CHANNEL_FORMS.items():
        out[f"replay / defended / {name}"] = partial(talk, "replay", "defended", Way((channel,)))
    for codec in CODECS:
        out[f"noise / defended / {codec[0]}"] = partial(talk, "noise", "defended", Way((), codec))
    return out


def objects() -> dict[str, Case]:
    forms = (*adapter.ONE_OF_EACH_KIND, *adapter.RULE_BREAKERS)
    return {f"{form} / {d}": partial(talk, form, d, PLAIN_WAY, True) for form in forms for d in DEFENSES}


# ---- directory


def market(form: str, hub: str) -> Entries:
    found, guard = adapter.market(form, HUBS[hub])
    out: Entries = {name: told(value) for name, value in found.items()}
    out |= {f"attack.memory.{kind}": value for kind, value in together(adapter.memory([guard])).items()}
    return out | {f"violations.{rule}": count for rule, count in adapter.violations([guard]).items()}


def directory() -> dict[str, Case]:
    return {f"{form} / {hub}": partial(market, form, hub) for form in adapter.DIRECTORY_FORMS for hub in HUBS}


# ---- decisions

GRID: Plugin = ("predator_capture_prey", {"size": 4, "max_steps": 5})
SEEN_AS_INDICES: Plugin = ("predator_capture_prey", {"size": 4, "max_steps": 5, "observation": "indices"})
LOSING: Plugin = ("predator_prey", {"size": 4, "max_steps": 5, "failure": 0.1})
MARKET: Plugin = ("task_market", {"requesters": 2, "workers": 3, "skills": 2, "max_steps": 5})
SEATS: tuple[Plugin, ...] = (
    GRID,
    SEEN_AS_INDICES,
    LOSING,
    MARKET,
    ("oracle_hint", {"members": 4, "max_steps": 4}),
    ("agreement", {"members": 4, "max_steps": 4}),
    ("reactor", {"members": 4, "max_steps": 4}),
)
POLICIES: dict[str, Plugin] = {
    **{name: (name, {}) for name in ("commformer", "mat", "commnet", "ic3net", "magic", "mappo", "ippo")},
    "tarmac": ("tarmac", {"signature": 4}),
    "talking": ("talking", {"width": 16, "sizes": [16, 8]}),
    "in turns": ("commformer", {"decoder": "autoregressive"}),
    "gate": ("commformer", {"gate": {"cost": 0.01, "initial_logit": 0.5}}),
    "gate of senders": ("commformer", {"gate": {"side": "sender", "initial_logit": 0.5}}),
    "gate straight through": ("commformer", {"gate": {"kind": "straight_through", "initial_logit": 0.5}}),
    "graph straight through": ("commformer", {"topology": {"name": "learned", "estimator": "straight_through"}}),
    "embedded graph": ("commformer", {"topology": {"name": "embedded"}}),
    "ring": ("commformer", {"topology": {"name": "ring"}}),
    "voice": ("commformer", {"message_noise": {}}),
}
GATED, IN_TURNS, PLAIN = POLICIES["gate"], POLICIES["in turns"], POLICIES["commformer"]
COVERT: Plugin = ("covert", {"node": 1, "messages": 4})
FORMS = adapter.MESSAGE_FORMS
IN_TEAMS = (
    *("stall", "backdoor", "hijack by ransom", "hijack by starving", "hijack by strike", "gradient", "weakest link"),
    *("rewrite", "directive hidden", "leak", "infer", "eavesdrop", "hijack", "abuse", "insider", "impersonate", "mask"),
    *("noise adaptive", "delay", "replay besides", "churn", "cut", "learned a little", "contradict", "evade", "jam"),
)


def small(policy: Plugin) -> Plugin:
    return policy[0], {"width": 16, **policy[1]}


def decide(
    environment: Plugin, policy: Plugin, attack: Plugin | None, *defenses: Plugin, path: Way = PLAIN_WAY
) -> Entries:
    fragment, network = adapter.fragment(environment, small(policy), attack, defenses, path)
    out: Entries = {f"column.{name}": told(value) for name, value in adapter.columns(fragment).items()}
    out |= {f"recent.{name}": float(value) for name, value in fragment.recent.items()}
    out |= {"episodes": fragment.episodes, "gate_open": float(fragment.gate_open)}
    out |= {f"ledger.{name}": told(value) for name, value in adapter.ledger(network).items()}
    if not network.guards:
        return out
    out["attack.spent"] = told(adapter.spent(network.guards))
    out |= {f"attack.{name}": told(value) for name, value in adapter.actions(network.guards).items()}
    out |= {f"attack.memory.{kind}": value for kind, value in together(adapter.memory(network.guards)).items()}
    return out | {f"violations.{rule}": count for rule, count in adapter.violations(network.guards).items()}


def decisions() -> dict[str, Case]:
    warden, both = ("warden", {"probability": 0.3}), (AUTHENTICATE, CLIP)
    out: dict[str, Case] = {}
    for environment in SEATS:
        name = environment[0] + (" as indices" if environment is SEEN_AS_INDICES else "")
        out[f"no attack / commformer in {name}"] = partial(decide, environment, PLAIN, None)
    for name, policy in POLICIES.items():
        out[f"noise / {name}"] = partial(decide, GRID, policy, ("noise", {"probability": 0.5}))
        out[f"impersonate / {name} / defended"] = partial(decide, LOSING, policy, ("impersonate", {}), *both)
    for team, policy in {"at once": PLAIN, "in turns": IN_TURNS}.items():
        out[f"covert / {team}"] = partial(decide, GRID, policy, COVERT)
        out[f"covert / {team} / warden"] = partial(decide, GRID, policy, COVERT, warden)
        out[f"stall / {team} in agreement"] = partial(decide, SEATS[5], policy, FORMS["stall"])
        out[f"no attack / {team} / warden"] = partial(decide, GRID, policy, None, warden)
        out[f"noise / {team} / fragments and int8"] = partial(decide, GRID, policy, FORMS["noise"], path=CUT)
    for form in ("force gate", "force gate by guessing"):
        out[f"{form} / numbers"] = partial(decide, GRID, GATED, FORMS[form])
        out[f"{form} / indices"] = partial(decide, SEEN_AS_INDICES, GATED, FORMS[form])
    for form in IN_TEAMS:
        out[f"{form} / gate"] = partial(decide, GRID, GATED, FORMS[form])
        if form not in ("gradient", "weakest link", "rewrite"):
            out[f"{form} / in turns / defended"] = partial(decide, GRID, IN_TURNS, FORMS[form], *both)
    for form in adapter.DIRECTORY_FORMS:
        out[f"{form} / commformer in task_market"] = partial(decide_in_market, form)
    return out


def decide_in_market(form: str) -> Entries:
    return decide((MARKET[0], {**MARKET[1], "directory": {"obedience": 0.5}}), PLAIN, adapter.DIRECTORY_FORMS[form])


# ---- weights


def learned(policy: dict[str, Any], **config: Any) -> Entries:
    loop = adapter.trained(policy={"name": "commformer", "width": 16, **policy}, **config)
    out: Entries = {}
    for name, value in adapter.weights(loop).items():
        out[f"weight.{name}"] = told(value)
    return out | {
        f"ledger.{name}": told(value.sum(0, True)) for name, value in adapter.ledger(loop.sampler.comms.network).items()
    }


def weights() -> dict[str, Case]:
    lossy = {"channels": [{"name": "loss", "probability": 0.3}, {"name": "delay", "jitter": 0.15}]}
    coded = {"codec": {"name": "delta", "resync": 4}}
    market = {"name": MARKET[0], **MARKET[1]}
    action, through = {"gate": {"cost": 0.01}}, {"gate": {"kind": "straight_through", "cost": 0.01}}
    return {
        "gate as an action": partial(learned, action),
        "gate straight through": partial(learned, through),
        "in turns": partial(learned, {"decoder": "autoregressive"}),
        "lossy path": partial(learned, {}, transport=lossy),
        "codec with a memory": partial(learned, {}, transport=coded),
        "backdoor in training": partial(learned, {}, attacks=[{"name": "backdoor", "node": 1, "share": 0.5}]),
        "talking": partial(learned, {"name": "talking", "sizes": [16, 8]}),
        "task market": partial(learned, {}, environment=market),
        "graph straight through": partial(learned, POLICIES["graph straight through"][1]),
        "dynamic graph": partial(learned, {"name": "magic"}),
    }


# ---- cells


def cells(config: dict[str, Any], asked: dict[str, Any]) -> Entries:
    out: Entries = {}
    with tempfile.TemporaryDirectory() as root:
        rows = adapter.grid(Path(root), config, asked)
    for row in rows:
        attack = "no attack" if row["attack"] is None else row["attack"]["label"]
        parts = (
            attack,
            row["defense_label"],
            row["path_label"],
            row["world"],
            row["gates"] and f"gates {row['gates']}",
        )
        name = " / ".join(part for part in parts if part)
        out[f"{name}: status"] = row["status"]
        out[f"{name}: error"] = row["error"] or ""
        for group in ("metrics", "ledger", "violations"):
            out |= {f"{name}: {group}.{key}": value for key, value in row.get(group, {}).items()}
        out[f"{name}: gate_by_step"] = moments(torch.tensor([v for v in row.get("gate_by_step", ()) if v is not None]))
        if "threat" in (row["attack"] or {}):
            out[f"{name}: threat"] = repr(sorted((k, str(v)) for k, v in row["attack"]["threat"].items()))
        for key, value in (row["attack"] or {}).get("actions", {}).items():
            out[f"{name}: actions.{key}"] = value
    return out


def grids() -> dict[str, Case]:
    messages = ["drop:probability=0.5", "noise", "replay:age=2", "impersonate", "tamper:how=bias", "flood", "delay"]
    on_teams = ["covert:node=1,messages=4", "force_gate", "directive:node=1"]
    on_hubs = ["sybil", "rank", "description", "badmouth", "hub_poison", "half_open"]
    lossy = [{"channels": [{"name": "loss", "probability": 0.3}], "codec": {"name": "int8"}}]
    asked = {"defenses": ["authenticate+clip"], "decisions": "sampled", "obedience": 0.5, "transports": lossy}
    gates = {"gates": ["open", "shut", "random"]}
    evaluation = {"episodes": 16, "recordings": 0}
    capture = {"name": "predator_capture_prey", "observation": "indices", "max_steps": 6, "size": 4}
    gated = {"name": "commformer", "width": 16, "gate": {"cost": 0.01, "initial_logit": 0.5}}
    gated["topology"] = {"name": "embedded"}
    market = {"name": MARKET[0], **MARKET[1], "directory": {"obedience": 0.5}}
    first = {"environment": capture, "policy": gated, "evaluation": evaluation, "control": False}
    second = first | {"environment": market}
    more = {"worlds": [{"capture_agents": 2}], **gates}, {"worlds": [{"inflated": 1.0}], **gates}
    return {
        "predator_capture_prey": partial(cells, first, {"attacks": messages + on_teams, **asked, **more[0]}),
        "task_market": partial(cells, second, {"attacks": [*messages[:3], "stall", *on_hubs], **asked, **more[1]}),
    }


GROUPS: dict[str, Callable[[], dict[str, Case]]] = {
    "messages": messages,
    "objects": objects,
    "directory": directory,
    "decisions": decisions,
    "weights": weights,
    "cells": grids,
}
