"""Computes every number and every claim of the pages again, from cells alone and without any code of the testbed.

python tests/studies/recompute.py [DOCS] [RUNS]

``docs/STUDY/numbers.json`` says how each printed number is made of fields of cells, and ``claims.json`` which words
each outcome of a test allows. What is checked: the number, as printed; that every number in tables and claims has such
an entry; that the printed words are those of the outcome; and that a row named after an attack holds numbers of it.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

ROOT = Path(__file__).parents[2]
LEAST, CLAIM, LEVEL = 5, 10, 0.05
TEXT_COLUMNS = {"what the paper says", "source", "what differs here", "verdict", "judged by"}
TEXT_COLUMNS |= {"earlier statement", "why it no longer stands", "worst attack"}
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?%?")
CODE = re.compile(r"`[^`]*`")
Spec = dict[str, Any]
Cells = dict[tuple[str, ...], dict[int, dict[str, Any]]]


def read_cells(runs: Path) -> Cells:
    found: Cells = {}
    for path in sorted(runs.glob("*/cells.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            attack = (row.get("attack") or {}).get("label", "none")
            key = (path.parent.name, row["variant"], attack, row["defense_label"], row["conditions_label"] or "")
            if not row.get("stale"):
                found.setdefault(key, {})[row["seed"]] = row
    return found


def series(spec: Any, cells: Cells) -> dict[int, float]:
    """A number per seed."""
    if "field" in spec:
        key = tuple(spec[name] for name in ("run", "variant", "attack", "defense", "conditions"))
        out = {}
        for seed, row in cells.get(key, {}).items():
            value: Any = row if row["status"] == "ok" else None
            for name in spec["field"].split("."):
                value = value.get(name) if isinstance(value, dict) else None
            if value is not None:
                out[seed] = float(value)
        return out
    if "of" in spec:
        parts = [series(one, cells) for one in spec["of"]]
        every = set().union(*parts) if spec["op"] == "known" else set(parts[0]).intersection(*parts[1:])
        by = {"mean": np.mean, "known": np.mean, "max": max, "min": min}[spec["op"]]
        return {seed: float(by([part[seed] for part in parts if seed in part])) for seed in every}
    a = series(spec["a"], cells)
    if spec["op"] == "capacity":
        return {seed: 1 - float(stats.entropy([p, 1 - p], base=2)) for seed, p in a.items()}
    b = series(spec["b"], cells) if isinstance(spec["b"], dict) else dict.fromkeys(a, float(spec["b"]))
    by = {"sub": np.subtract, "add": np.add, "mul": np.multiply, "div": np.divide}[spec["op"]]
    with np.errstate(divide="ignore", invalid="ignore"):
        found = {seed: float(by(a[seed], b[seed])) for seed in a if seed in b}
    return {seed: value for seed, value in found.items() if math.isfinite(value)}


def ordered(values: dict[int, float]) -> np.ndarray:
    return np.array([values[seed] for seed in sorted(values)])


def mean(x: np.ndarray, bounds: tuple[float | None, float | None] = (None, None)) -> tuple[float, Any]:
    """Mean and 95% interval, by Student's t; on the log-odds scale if there are bounds."""
    n = len(x)
    if n < LEAST:
        return (float(x.mean()) if n else math.nan), None
    m, (low, high) = float(x.mean()), bounds
    if np.ptp(x) <= 1e-9 * max(1.0, abs(m)):
        if None in bounds or m not in bounds:
            return m, None
        reach = (high - low) * (1 - 0.025 ** (1 / n))
        return m, ((m, m + reach) if m == low else (m - reach, m))
    half = stats.t.ppf(0.975, n - 1) * stats.sem(x)
    if None in bounds:
        return m, (m - half, m + half)
    share = (m - low) / (high - low)
    center, spread = math.log(share / (1 - share)), half / (high - low) / (share * (1 - share))
    ends = [low + (high - low) / (1 + math.exp(-(center + sign * spread))) for sign in (-1, 1)]
    return m, tuple(ends)


@cache
def signs(n: int) -> np.ndarray:
    return np.array(list(itertools.product((1.0, -1.0), repeat=n)))


def sign_flip(x: np.ndarray) -> float:
    totals = np.abs(signs(len(x)) @ x)
    return float(np.mean(totals >= abs(x.sum()) - 1e-9 * np.abs(x).sum()))


def equivalence(x: np.ndarray, margin: float) -> float:
    if np.ptp(x) <= 1e-9 * margin:
        return 2.0 ** -len(x) if abs(x.mean()) < margin else 1.0
    error, free = stats.sem(x), len(x) - 1
    return float(max(stats.t.sf((x.mean() + margin) / error, free), stats.t.cdf((x.mean() - margin) / error, free)))


def p_value(test: Spec, cells: Cells) -> float:
    x = ordered(series(test["of"], cells))
    return sign_flip(x) if test["stat"] == "p" else equivalence(x, test["margin"])


def holm(ps: list[float]) -> list[float]:
    adjusted, least = [0.0] * len(ps), 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        least = max(least, min(1.0, (len(ps) - rank) * ps[place]))
        adjusted[place] = least
    return adjusted


def fieller(spec: Spec, cells: Cells) -> tuple[float, Any]:
    a, c, f = (series(spec[name], cells) for name in ("attacked", "clean", "floor"))
    seeds = sorted(set(a) & set(c) & set(f))
    if not seeds:
        return math.nan, None
    part, whole = np.array([a[s] - f[s] for s in seeds]), np.array([c[s] - f[s] for s in seeds])
    ratio, n = part.mean() / whole.mean(), len(seeds)
    if n < LEAST:
        return ratio, None
    q = stats.t.ppf(0.975, n - 1) ** 2 / n
    cov = np.cov(part, whole) * q
    if whole.mean() ** 2 <= cov[1, 1]:
        return math.nan, None
    ends = np.roots(
        [
            whole.mean() ** 2 - cov[1, 1],
            -2 * (part.mean() * whole.mean() - cov[0, 1]),
            part.mean() ** 2 - cov[0, 0],
        ]
    )
    return ratio, tuple(sorted(map(float, ends.real)))


def direction(x: np.ndarray) -> str:
    if len(x) < CLAIM or sign_flip(x) > LEVEL:
        return "neither"
    return "above" if x.sum() > 0 else "below"


def chosen(spec: Spec, cells: Cells) -> tuple[float, Any]:
    options = {name: series(of, cells) for name, of in spec["of"].items()}
    seeds = sorted(set.intersection(*map(set, options.values())))
    sign = 1 if spec["prefer"] == "higher" else -1
    best = max(options, key=lambda name: sign * np.mean([options[name][s] for s in seeds[::2]]))
    return mean(np.array([options[best][s] for s in seeds[1::2]]))


def printed(value: float, digits: int, percent: bool) -> str:
    text = f"{100 * value if percent else value:.{digits}f}"
    text = text[1:] if text.startswith("-") and not float(text) else text
    return text + "%" * percent


def text_of(record: Spec, cells: Cells, corrected: list[float]) -> str:
    """A recorded number as it must be printed."""
    spec, digits, percent = record["number"], record["digits"], record["percent"]
    kind = spec["stat"]
    if kind in ("p", "tost", "holm"):
        p = corrected[spec["at"]] if kind == "holm" else p_value(spec, cells)
        return "< 0.001" if p < 0.001 else f"= {p:.3f}"
    if kind == "answer":
        return printed(known_answer(spec["of"]), digits, percent)
    if kind == "seeds":
        return str(len(series(spec["of"], cells)))
    if kind == "count":
        return str(sum(direction(ordered(series(one, cells))) == spec["how"] for one in spec["of"]))
    if kind == "each":
        return ", ".join(printed(v, digits, percent) for v in ordered(series(spec["of"], cells)))
    if kind == "retained":
        value, ends = fieller(spec, cells)
    elif kind == "chosen":
        value, ends = chosen(spec, cells)
    else:
        value, ends = mean(ordered(series(spec["of"], cells)), tuple(spec["scale"]))
    if not record["ends"] or ends is None:
        return printed(value, digits, percent)
    low, high = (printed(end, digits, percent) for end in ends)
    return f"{printed(value, digits, percent)} ({low} to {high})"


def known_answer(a: Spec) -> float:
    """Closed forms of tasks, as mean reward of an agent per step; goals and measured numbers are given."""
    if a["task"] == "given":
        return float(a["value"])
    if a["task"] == "cliques":
        n, k, groups = a["members"], a["links"], a["members"] // a["group"]
        total = 0.0
        for size in [n // groups + 1] * (n % groups) + [n // groups] * (groups - n % groups):
            heard = stats.hypergeom(n - 1, size - 1, k) if a["graph"] == "random" else None
            for r in range(min(k, size - 1) + 1):
                chance = heard.pmf(r) if heard is not None else float(r == min(k, size - 1))
                votes = stats.binom(1 + r, 1 - a["error"])
                right = votes.sf((1 + r) / 2) + (votes.pmf((1 + r) // 2) / 2 if r % 2 else 0)
                total += size * chance * right / n
        return float(total - a["price"] * k)
    if a["task"] == "collisions":
        known = a["informed"] * (1 - a["rho"]) ** (a["links"] - 1)
    elif a["task"] == "relay":
        n = a["members"]
        last = [0 if a["graph"] == "silent" else min(2 * (t if a["memory"] else 1), n - 1) for t in range(1, n + 1)]
        intact = 0.5 if a["graph"] == "random" else 1.0
        known = sum(intact ** min(p, n - 2) for reached in last for p in range(reached + 1)) / n**2
    else:
        n = a["members"]
        steps = range(1, 2 * math.ceil(math.log2(n)) + 1)
        grown = {"one_peer": lambda t: 2**t, "ring": lambda t: t + 1, "silent": lambda t: 1}.get(a["graph"])
        known = a["share"] if grown is None else sum(min(n, grown(t)) for t in steps) / n / len(steps)
    return float((1 + (a["symbols"] - 1) * known) / a["symbols"])


def attacks_of(spec: Any) -> set[str]:
    """All attacks whose cells a number is made of."""
    if isinstance(spec, dict):
        here = {spec["attack"]} if "field" in spec else set()
        return here.union(*map(attacks_of, spec.values()))
    return set().union(*map(attacks_of, spec)) if isinstance(spec, list) else set()


def same(shown: str, made: str) -> bool:
    """Whether a number of an attack may stand in the row of a label; columns may set a budget or a norm."""
    if "(" not in shown:
        return shown == made.partition("(")[0]
    return shown in {re.sub(rf"{given}(, )?", "", made) for given in (r"budget=\{[^}]*\}", r"epsilon=[\d.]+")} | {made}


def table_cells(page: str) -> list[tuple[str, str, str]]:
    """First column, header and text of every cell of the page's tables."""
    out, header = [], []
    for line in page.splitlines():
        if not line.startswith("|"):
            header = []
        elif not header:
            header = [cell.strip() for cell in line.strip("|").split("|")]
        elif not set(line) <= set("|-"):
            row = [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]
            out += [(row[0], name, cell) for name, cell in zip(header[1:], row[1:], strict=True)]
    return out


def errors(study: str, docs: Path, cells: Cells) -> list[str]:
    """What is wrong with a page."""
    page = (docs / f"{study}.md").read_text(encoding="utf-8")
    records, claims = (json.loads((docs / study / f"{n}.json").read_text()) for n in ("numbers", "claims"))
    corrected, found = holm([p_value(claim["test"], cells) for claim in claims]), []
    for record in records:
        if (text := text_of(record, cells, corrected)) != record["text"]:
            found.append(f"{study}: {record['text']} should be {text}: {record['number']}")
        if record["text"] not in page:
            found.append(f"{study}: {record['text']} is not on the page")
    for claim, p in zip(claims, corrected, strict=True):
        total = ordered(series(claim["test"]["of"], cells)).sum()
        outcome = "neither" if p > LEVEL else "above" if claim["test"]["stat"] == "tost" or total > 0 else "below"
        if f"- {claim[outcome]} *(" not in page:
            found.append(f"{study}: the test allows only: {claim[outcome]}")
    return found + uncovered(study, page, records)


def uncovered(study: str, page: str, records: list[Spec]) -> list[str]:
    """Printed numbers without an entry, and numbers in a row of another attack."""
    known = Counter(token for record in records for token in NUMBER.findall(record["text"]))
    by_text: dict[str, list[Spec]] = {}
    for record in records:
        by_text.setdefault(record["text"], []).append(record["number"])
    attacks = set().union(*(attacks_of(record["number"]) for record in records)) - {"none"}
    found = []
    for first, header, cell in table_cells(page):
        if header in TEXT_COLUMNS:
            continue
        plain = CODE.sub("", cell).strip(" \u25b2\u25bc*")
        for token in NUMBER.findall(plain):
            known[token] -= 1
            if known[token] < 0:
                found.append(f"{study}: {token} in {first} / {header} has no entry")
        labels = set(re.findall(r"`([^`]*)`", first))
        listed = set().union(*(attacks_of(spec) for spec in by_text.get(plain, ())))
        if listed and labels & attacks and not any(same(one, other) for one in labels for other in listed):
            found.append(f"{study}: {plain} in row {first} is of {sorted(listed)}")
    for line in page.splitlines():
        if line.startswith(("- ", "**Answer")) and "judged by" in line:
            tokens = [t for t in re.findall(r"-?\d+\.\d+", CODE.sub("", line)) if t not in known]
            odd = [t for t in tokens if not re.search(rf"(margin|most|least|than|at) {re.escape(t)}", line)]
            found += [f"{study}: {token} in a claim has no entry: {line[:80]}" for token in odd]
    return found


def main(docs: Path = ROOT / "docs", runs: Path = ROOT / "studies" / "runs") -> None:
    cells = read_cells(runs)
    studies = sorted(path.parent.name for path in docs.glob("*/numbers.json"))
    wrong = [error for study in studies for error in errors(study, docs, cells)]
    print("\n".join(wrong) or f"{', '.join(studies)}: every number is what the cells say")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
