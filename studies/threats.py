"""Writes docs/threats.md: the risks of communicating agents, attacks that carry them out, and their measured effects.

python studies/threats.py           evaluates the missing cells and writes the page
python studies/threats.py --page    only writes the page
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from book import NONE, PREDICATE, PROBE, REWARD, Book, Claim, Judged
from cells import Series
from figures import COLORS, lines, panels, save
from plan import CUTS, GATED, MARKET, OBEDIENCE, OWN, REACTOR, UNITED, Conditions, label
from study import command, page, table
from withdrawn import WITHDRAWN

from agentcomm.base import registry
from agentcomm.base.risks import RISKS

CLASSES = {"ua": "Between user and agent", "aa": "Between agents", "ae": "Between agent and environment"}


class Shown(NamedTuple):
    """The attack by which a risk is judged; fixed before evaluation."""

    run: str
    attack: str
    conditions: Conditions = OWN
    oracle: str = REWARD


SPENT_HARM = "counterparts.control.metrics.harm"
OBEDIENT = {"obedience": 1.0}
JUDGED: dict[str, Shown] = {
    "ua.l1.confidentiality": Shown("capture", "eavesdrop", OWN, PROBE),
    "ua.l1.integrity": Shown("capture", "tamper"),
    "ua.l1.availability": Shown("capture", "flood"),
    "ua.l2.identity_spoofing": Shown("capture", "impersonate"),
    "ua.l2.session_manipulation": Shown("capture", "hijack"),
    "ua.l2.authority_abuse": Shown("capture", "abuse", OWN, PREDICATE),
    "ua.l3.text": Shown("reactor", "directive:action=2", OBEDIENT, PREDICATE),
    "ua.l3.privacy": Shown("capture", "infer:node=2", OWN, PROBE),
    "ua.l3.harmful_task": Shown("reactor", "directive:action=2", OBEDIENT, PREDICATE),
    "aa.l1.controller_blasting": Shown("market", "blast"),
    "aa.l2.agent_spoofing": Shown("market", "copied_card"),
    "aa.l2.exploitation_trojan": Shown("capture", "insider"),
    "aa.l2.responsibility_evasion": Shown("market", "scapegoat", OWN, PREDICATE),
    "aa.l2.dos": Shown("market", "half_open"),
    "aa.l2.registration_pollution": Shown("market", "sybil"),
    "aa.l2.seo_poisoning": Shown("market", "rank"),
    "aa.l2.non_convergence": Shown("agreement", "contradict:share=1"),
    "aa.l3.mas_pollution": Shown("capture", "pollute"),
    "aa.l3.privacy_leakage": Shown("capture", "infer:node=0", OWN, PROBE),
    "aa.l3.description_poisoning": Shown("market", "description:claim=1"),
    "aa.l3.centralised_poisoning": Shown("market", "hub_poison"),
    "aa.l3.semantic_rewriting": Shown("capture", "rewrite:epsilon=2,steps=3"),
    "aa.l3.cognitive_drift": Shown("capture", "drift"),
    "aa.l3.contextual_fragmentation": Shown("capture", "partial"),
    "ae.l2.tool": Shown("market", "rug_pull:turn=4"),
    "ae.l3.memory": Shown("market", "badmouth"),
    "ae.l3.real_world_damage": Shown("reactor", "gradient:goal=target,action=2,norm=l2,epsilon=2"),
}
OTHERS = {
    "reactor": ("Reactor", (*REACTOR, "directive:action=2,node=0")),
    "agreement": ("Agreement", UNITED),
    "market": ("Task market", MARKET),
    "capture_fragments": ("Predator-Capture-Prey with fragmented messages", CUTS),
    "capture_gated": ("Predator-Capture-Prey with gates", GATED[:2]),
}


def series(book: Book, shown: Shown, field: str) -> Series:
    """A field of the effect of an attack."""
    return book.cells.series(shown.run, f"effect.{field}", shown.attack, conditions=shown.conditions)


def claims(book: Book) -> dict[str, Claim]:
    """One per attack that presupposes nothing."""
    out: dict[str, Claim] = {}
    for shown in dict.fromkeys((s.run, s.attack) for s in JUDGED.values()):
        judged = next(s for s in JUDGED.values() if (s.run, s.attack) == shown)
        if book.cells.assumes(*judged[:3]):
            continue
        name = f"`{label(judged.attack)}` ({judged.run})"
        out["/".join(shown)] = Claim(
            series(book, judged, "success"),
            f"{name} succeeds more often than its control: {{d}} of episodes.",
            f"{name} succeeds less often than its control: {{d}} of episodes.",
            f"That {name} succeeds more often than its control is not shown: {{d}} of episodes.",
            judged.oracle,
        )
    return out


def verdict(book: Book, risk: str, judged: dict[str, Judged]) -> str:
    """Whether a risk is shown."""
    if RISKS[risk].absent:
        return "no attack"
    shown = JUDGED[risk]
    rows = book.cells.rows(shown.run, shown.attack, conditions=shown.conditions).values()
    if not rows:
        return "not measured"
    if not series(book, shown, "success"):
        return f"**{next(iter(rows))['status']}**"
    if book.cells.assumes(*shown[:3]):
        return "only under its assumption"
    outcome = judged[f"{shown.run}/{shown.attack}"].outcome
    return {"above": "**shown**", "below": "not shown (the opposite)", "neither": "not shown"}[outcome]


def catalogue(book: Book, judged: dict[str, Judged]) -> str:
    """All risks by class."""
    attacks = {name: registry.find("attack", name) for name in registry.names("attack")}
    parts = []
    for kind, title in CLASSES.items():
        rows = []
        for risk, about in RISKS.items():
            if not risk.startswith(f"{kind}."):
                continue
            what = f"`{risk}`: {about.definition}"
            if about.absent:
                rows.append([what, about.absent, NONE, NONE, "no attack"])
                continue
            shown = JUDGED[risk]
            damage = series(book, shown, "damage") - series(book, shown, "control_damage")
            by = f"{book.cells.named(*shown[:3])}, {shown.run}"
            others = [f"`{n}`" for n, a in attacks.items() if risk in a.risks and n != shown.attack.partition(":")[0]]
            by += f" (also {', '.join(others)})" if others else ""
            effects = [book.mean(damage), book.mean(series(book, shown, "success"))]
            rows.append([what, by, *effects, verdict(book, risk, judged)])
        header = ("risk", "judged by", "damage beyond the control", "success", "verdict")
        parts.append(f"### {title}\n\n{table(header, rows)}")
    return "\n".join(parts)


def effects(book: Book, run: str, attacks: Sequence[str]) -> str:
    """Effects of each attack on the teams of a run."""
    rows = []
    for attack in attacks:
        conditions = OBEDIENT if attack.startswith("directive") else OWN
        shown = Shown(run, attack, conditions)
        fields = ("damage", "control_damage", "silence", "lie", "success")
        some = [series(book, shown, field) for field in fields]
        row = [book.cells.named(*shown[:3]), book.mean(some[0]), *(book.value(s) for s in some[1:])]
        if run == "reactor":
            done = book.cells.series(run, "metrics.harm", attack, conditions=conditions)
            row.append(book.value(done - book.cells.series(run, SPENT_HARM, attack, conditions=conditions)))
        rows.append(row)
    header = ("attack", "damage", "control", "silence", "lie", "success")
    return table((*header, "harm beyond the control") if run == "reactor" else header, rows)


def curves(book: Book) -> tuple[str, str]:
    """Figure and table of damage against what victims are assumed to do."""
    found = {
        "`directive:action=2`, reactor": [
            book.cells.series("reactor", "effect.damage", "directive:action=2", conditions={"obedience": p})
            for p in OBEDIENCE
        ],
        "`directive`, capture": [
            book.cells.series("capture", "effect.damage", "directive", conditions={"obedience": p}) for p in OBEDIENCE
        ],
        "`pollute`, capture": [
            book.cells.series("capture", "effect.damage", f"pollute:obedience={p}") for p in OBEDIENCE
        ],
    }
    picture, axes = panels(3, 3, (9, 2.5), sharex=True)
    rows = []
    for place, (name, some) in enumerate(found.items()):
        lines(axes[place], OBEDIENCE, some, COLORS[place])
        axes[place].set_title(name.replace("`", ""))
        axes[place].set_xlabel("chance to obey" if "directive" in name else "chance to be infected")
        rows.append([name.replace("`directive:action=2`", f"`{label('directive:action=2')}`"), *map(book.value, some)])
    axes[0].set_ylabel("damage (return; steps)")
    picture.tight_layout()
    header = ("attack", *(f"{p:g}" for p in OBEDIENCE))
    return save(picture, book, "obedience", "Damage against the assumed obedience"), table(header, rows)


def made(book: Book) -> str:
    """The page."""
    judged = book.judge(claims(book))
    verdicts = {risk: verdict(book, risk, judged) for risk in RISKS}
    shown = sum(v == "**shown**" for v in verdicts.values())
    under = sum(v.startswith("only under") for v in verdicts.values())
    absent = sum(bool(about.absent) for about in RISKS.values())
    rest = [
        f"`{risk}`" for risk, v in verdicts.items() if not (v == "**shown**" or v.startswith(("only", "no attack")))
    ]
    answer = (
        f"Of {len(RISKS)} risks, {shown} are shown: the attack by which the risk is judged succeeds more often than a"
        f" control that spends as much, by an exact test over ten teams. {under} more have an effect only if"
        f" victims are"
        f" scripted to comply, {len(rest)} are not shown"
        f" ({', '.join(rest) or 'none'}), and {absent} cannot occur in these environments."
    )
    figure, table_of = curves(book)
    gone = table(("earlier statement", "why it no longer stands"), [list(pair) for pair in WITHDRAWN])
    parts = [
        catalogue(book, judged),
        "The attack by which a risk is judged was fixed after a trial on one team and before the others were"
        " evaluated, so"
        " that no largest effect was picked. Damage"
        " is in steps in Predator-Capture-Prey (capture) and in return elsewhere. More forms of attacks on messages:"
        " [defenses.md](defenses.md); on gates: [gates.md](gates.md); readers and covert channels:"
        " [privacy.md](privacy.md). The attacks `backdoor`, `hijack_edges`, `learned` and `mask` must be"
        " trained, and are"
        " not measured here.\n",
        "## Effects that presuppose something\n",
        figure,
        "Damage against the chance that members obey a directive, or are infected. Members are scripted to do so; the"
        " curves say what would follow, not that it happens.\n",
        table_of,
        *(f"## {title}\n\n{effects(book, run, attacks)}" for run, (title, attacks) in OTHERS.items()),
        "## What no longer stands\n",
        "Earlier versions of this page, and pages that are withdrawn with it, said:\n",
        gone,
    ]
    question = "Which risks of communicating agents can be shown in trained teams, beyond what a control does?"
    return page(book, "The catalogue of threats", question, answer, parts, judged)


if __name__ == "__main__":
    command("threats", made)
