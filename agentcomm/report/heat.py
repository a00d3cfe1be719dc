"""The heatmap: attacks by defenses, with several measures and a tooltip for each cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from agentcomm.report.claims import Claims
from agentcomm.report.effects import SPENT, Effect, damage_over_attacks, effect
from agentcomm.report.load import number
from agentcomm.report.measures import SUCCESS
from agentcomm.report.results import NONE, How, Results, Scores, spread
from agentcomm.report.text import DASH, assumption, counted, fixed, percent, several, signed, span
from agentcomm.statistics import MIN_SEEDS, Estimate

WORST = "worst of the attacks"
AVERAGE = "mean of the attacks"


@dataclass(frozen=True)
class Face:
    """One of the numbers that a cell can show.

    Attributes:
        measure: Key of the measure.
        number: The number as text.
        interval: Its interval as text; empty without one.
        dots: Places of the single seeds in percent of the measure's range; empty with an interval.
        level: 0 = the floor or worse, 1 = clean; None if undefined.
        notes: Additional lines, such as the damage of the control.
    """

    measure: str
    number: str
    interval: str
    dots: list[float]
    level: float | None
    notes: list[str]


@dataclass(frozen=True)
class HeatCell:
    """A heatmap cell with its tooltip.

    Attributes:
        status: ok, failed, inconclusive or missing.
        faces: Its number for each measure.
        title: First line of its tooltip.
        facts: Pairs of a name and a value.
        reasons: Errors of failed seeds, and why seeds are inconclusive.
        partial: ``2 of 3 seeds`` if some have no score, otherwise empty.
    """

    status: str
    faces: list[Face]
    title: str
    facts: list[tuple[str, str]]
    reasons: list[str]
    partial: str


@dataclass(frozen=True)
class HeatRow:
    """The cells of one attack; ``summary`` rows aggregate all attacks."""

    label: str
    assumes: str
    cells: list[HeatCell]
    summary: bool = False
    clean: bool = False


class Heatmap:
    """Lays out the heatmap.

    Args:
        results: All cells of the run.
        claims: What may be stated in words; retained fractions need a supported worth of messages.

    Attributes:
        measures: Keys and names of the measures.
    """

    def __init__(self, results: Results, claims: Claims) -> None:
        self.results, primary = results, results.primary
        self.effects = {(a, d): effect(results, a, d) for a in results.attacks for d in results.defenses}
        self.measures = [(primary.key, primary.label)]
        if results.attacks:
            self.measures += [("damage", "Damage"), ("success-of-attack", "Success of the attack")]
        if primary.key != SUCCESS.key:
            self.measures.append((SUCCESS.key, SUCCESS.label))
        if claims.worth:
            self.measures.append(("retained", "Retained fraction"))
        values = [v for a in (None, *results.attacks) for d in results.defenses for v in results.scores(a, d).values()]
        values = [v for v in values if math.isfinite(v)]
        self.ends = (min(values), max(values)) if values else (0.0, 1.0)
        self.clean, self.floor = results.estimate(results.clean).value, results.estimate(results.floor).value
        damages = [abs(e["damage"].value) for e in self.effects.values() if e["damage"].known]
        self.most = max(damages, default=0.0) or 1.0

    def rows(self) -> list[HeatRow]:
        """No attack, each attack, and their worst and mean, seed by seed."""
        r = self.results
        rows = [HeatRow("no attack", "", [self._cell(None, d) for d in r.defenses], clean=True)]
        rows += [HeatRow(a, assumption(r.assumes(a)), [self._cell(a, d) for d in r.defenses]) for a in r.attacks]
        if len(r.shown) > 1:
            for name, how in ((WORST, "worst"), (AVERAGE, "mean")):
                cells = [self._summary(name, d, "worst" if how == "worst" else "mean") for d in r.defenses]
                rows.append(HeatRow(name, "", cells, summary=True))
        return rows

    def ramps(self) -> list[tuple[str, str]]:
        """The ends of the color scale for each measure."""
        words = {
            "damage": ("most damage of the run", "as much gained"),
            "success-of-attack": ("the attack always wins", "its control always wins"),
            SUCCESS.key: ("never", "always"),
            "retained": ("as without messages, or worse", "as without the attack"),
        }
        of_run = ("worst score of the run", "best score of the run")
        floor = ("as without messages, or worse", "as without the attack")
        words[self.results.primary.key] = floor if self.between_floor_and_clean else of_run
        return [words[key] for key, _ in self.measures]

    @property
    def dotted(self) -> bool:
        """Whether there are too few seeds for intervals, and several to show."""
        return 1 < len(self.results.seeds) < MIN_SEEDS

    @property
    def between_floor_and_clean(self) -> bool:
        """Whether colors run from the floor to the clean score, and not from the worst to the best score of the run."""
        gain = self.results.gains({0: self.clean}, {0: self.floor})[0]
        return math.isfinite(gain) and gain > 0

    def _cell(self, attack: str | None, defense: str) -> HeatCell:
        rows, by_seed = self.results.rows(attack, defense), self.results.scores(attack, defense)
        good = sum(map(math.isfinite, by_seed.values()))
        bad = [row for row in rows if row.get("status") not in ("ok", "inconclusive")]
        status = "ok" if good else "failed" if bad else "inconclusive" if rows else "missing"
        found = None if attack is None else self.effects[attack, defense]
        faces = []
        for key, _ in self.measures:
            if key == "damage":
                faces.append(self._damage(found))
            elif key == "success-of-attack":
                faces.append(_attacker(found))
            elif key == "retained":
                faces.append(self._retained(by_seed))
            else:
                faces.append(self._score(key, self.results.scores(attack, defense, key), found))
        reasons = [str(row.get("error") or "no error recorded") for row in bad] + list(found.reasons if found else ())
        return HeatCell(
            status=status,
            faces=faces,
            title=_title(attack or "no attack", defense),
            facts=_facts(self.results, attack, defense, found) if rows else [("status", "not evaluated")],
            reasons=list(dict.fromkeys(reasons)),
            partial=f"{good} of {several(len(by_seed), 'seed')}" if 0 < good < len(by_seed) else "",
        )

    def _summary(self, name: str, defense: str, how: How) -> HeatCell:
        r = self.results
        by_seed, faces = r.over_attacks(defense, how), []
        for key, _ in self.measures:
            if key == "damage":
                damage = damage_over_attacks(r, defense, how)
                faces.append(
                    self._face(key, spread(damage), damage, r.primary.digits, self._harm(spread(damage).value))
                )
            elif key == "success-of-attack":
                faces.append(Face(key, DASH, "", [], None, []))
            elif key == "retained":
                faces.append(self._retained(by_seed))
            else:
                faces.append(self._score(key, r.over_attacks(defense, how, key)))
        good = sum(map(math.isfinite, by_seed.values()))
        return HeatCell(
            status="ok" if good else "missing",
            faces=faces,
            title=_title(name, defense),
            facts=[("seeds", str(len(by_seed))), ("by seed", _values(by_seed, r.primary.digits))],
            reasons=[],
            partial=f"{good} of {several(len(by_seed), 'seed')}" if 0 < good < len(by_seed) else "",
        )

    def _face(
        self, key: str, found: Estimate, by_seed: Scores, digits: int, level: float | None, notes: Sequence[str] = ()
    ) -> Face:
        """A number with its interval or, with too few seeds for one, a dot for each."""
        interval = span(found, digits)
        values = [v for v in by_seed.values() if math.isfinite(v)]
        low, high = (0.0, 1.0) if key == SUCCESS.key else self.ends
        if key == "damage":
            low, high = -self.most, self.most
        dots = [round(100 * min(1.0, max(0.0, (v - low) / ((high - low) or 1.0))), 1) for v in values]
        shown = dots if not interval and len(dots) > 1 else []
        return Face(key, fixed(found.value, digits), interval, shown, level, [note for note in notes if note])

    def _score(self, key: str, by_seed: Scores, effect_of: Effect | None = None) -> Face:
        found, digits = self.results.estimate(by_seed, key), self.results.primary.digits
        if key == SUCCESS.key and key != self.results.primary.key:
            return self._face(key, found, by_seed, SUCCESS.digits, _clip(found.value))
        notes = ["▾ worse than without messages"] if self._below(by_seed) else []
        if effect_of is not None and effect_of["control_damage"].known:
            numbers = [fixed(effect_of[name].value, digits) for name in ("damage", "control_damage")]
            notes.append("damage {}, control {}".format(*numbers))
        return self._face(key, found, by_seed, digits, self._level(found.value), notes)

    def _damage(self, found: Effect | None) -> Face:
        if found is None:
            return Face("damage", DASH, "", [], None, [])
        digits, damage, control = self.results.primary.digits, found["damage"], found["control_damage"]
        notes = (
            f"control {fixed(control.value, digits)}" if control.known else "no control recorded",
            f"silence {fixed(found['silence'].value, digits)} + lie {signed(found['lie'].value, digits).lstrip('+')}"
            if found["silence"].known and found["lie"].known
            else "",
        )
        return self._face("damage", damage.estimate, damage.by_seed, digits, self._harm(damage.value), notes)

    def _retained(self, by_seed: Scores) -> Face:
        found = self.results.retained(by_seed)
        note = ["worse than without messages"] if found.value < 0 else []
        return Face("retained", percent(found.value), span(found, 0, 100.0, "%"), [], _clip(found.value), note)

    def _below(self, by_seed: Scores) -> bool:
        """Whether every seed is worse than the same team without messages."""
        losses = [v for v in self.results.gains(by_seed, self.results.floor).values() if math.isfinite(v)]
        return bool(losses) and max(losses) < 0

    def _harm(self, damage: float) -> float | None:
        """0 for the largest damage of the run, 0.5 for none."""
        return _clip(0.5 - 0.5 * damage / self.most)

    def _level(self, score: float) -> float | None:
        low, high = (self.floor, self.clean) if self.between_floor_and_clean else self.ends
        if not self.between_floor_and_clean and self.results.primary.better == "lower":
            low, high = high, low
        return _clip((score - low) / (high - low)) if high != low else None


def _attacker(found: Effect | None) -> Face:
    """Success of the attack: its rate minus that of its control."""
    key = "success-of-attack"
    if found is None or not found["success"].known:
        return Face(key, DASH, "", [], None, ["no control recorded"] if found else [])
    success = found["success"].estimate
    own = found["rate"].by_seed != found["worse"].by_seed  # attacks without a predicate count worse episodes
    if found["rate"].known and own:
        notes = [f"{fixed(found['rate'].value, 2)}, control {fixed(found['control_rate'].value, 2)}"]
    else:
        notes = [f"{fixed(found['worse'].value, 2)} worse, {fixed(found['better'].value, 2)} better"]
    values = [v for v in found["success"].by_seed.values() if math.isfinite(v)]
    interval = span(success, 2)
    dots = [round(50 + 50 * v, 1) for v in values] if not interval and len(values) > 1 else []
    return Face(key, fixed(success.value, 2), interval, dots, _clip(0.5 - 0.5 * success.value), notes)


def _facts(results: Results, attack: str | None, defense: str, found: Effect | None) -> list[tuple[str, str]]:
    rows, by_seed, m = results.rows(attack, defense), results.scores(attack, defense), results.primary
    clean = results.estimate(results.scores(None, defense))
    facts = [
        ("seeds", ", ".join(str(seed) for seed in by_seed)),
        (f"{m.label.lower()} by seed", _values(by_seed, m.digits)),
    ]
    if found is not None:
        facts.append(("clean, same defenses", fixed(clean.value, m.digits)))
        for name, words in (
            ("damage", "damage"),
            ("control_damage", "damage of its control"),
            ("silence", "silence"),
            ("lie", "lie"),
        ):
            if found[name].known:
                facts.append((words, fixed(found[name].value, m.digits)))
        if found.predicate:
            facts.append(("success means", found.predicate))
        facts += [(f"{name} spent", _spent(found, name)) for name in SPENT if name in found.spent]
        outcomes = counted({word: count for word, count in found.outcomes.items() if word != "ok"})
        facts += [("outcomes", outcomes)] if outcomes else []
    episodes = sum(int(row.get("episodes") or 0) for row in rows if row.get("status") == "ok")
    return [*facts, *([("episodes", f"{episodes:,}")] if episodes else []), *_ledger(rows)]


def _spent(found: Effect, name: str) -> str:
    digits = 2 if name == "norm" else 0
    mine = f"{found.spent[name]:,.{digits}f}"
    return mine + (f", control {found.control_spent[name]:,.{digits}f}" if name in found.control_spent else "")


def _ledger(rows: list[dict[str, object]]) -> list[tuple[str, str]]:
    """Message counts, summed over seeds."""
    ledger: dict[str, int] = {}
    for row in rows:
        counts = row.get("ledger")
        for name, count in (counts if isinstance(counts, dict) else {}).items():
            if math.isfinite(number(count)):
                ledger[str(name)] = ledger.get(str(name), 0) + int(count)
    facts, sent = [], ledger.get("sent", 0)
    for name, count in ledger.items():
        # zero accepted messages are shown only if there were forged or tampered ones
        cause = ledger.get(name.removeprefix("accepted_"), 0) if name.startswith("accepted_") else count
        if name == "bytes" or (name != "sent" and not cause):
            continue
        share = f" ({percent(count / sent)} of sent)" if sent and name != "sent" else ""
        facts.append((name.replace("_", " ").replace("refused by.", "refused by "), f"{count:,}{share}"))
    return facts


def _title(attack: str, defense: str) -> str:
    return f"{attack} \N{MULTIPLICATION SIGN} {'no defense' if defense == NONE else defense}"


def _values(by_seed: Scores, digits: int) -> str:
    return ", ".join(fixed(v, digits) if math.isfinite(v) else "unscored" for v in by_seed.values())


def _clip(value: float) -> float | None:
    return round(min(1.0, max(0.0, value)), 3) if math.isfinite(value) else None
