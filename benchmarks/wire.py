"""Envelopes per second on one core: encode, decode, seal and verify. ``python -m benchmarks.wire`` runs this."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import cryptography
import msgspec
import numpy as np
import pydantic
from rich.console import Console
from rich.progress import track

from agentcomm.wire.encoding import decode, encode
from agentcomm.wire.envelope import Envelope, pack_floats
from agentcomm.wire.seals import Ed25519Keys, HmacKeys, Keys, signed_bytes

WIDTH = 64  # float32 payload entries
AGENTS = 5
TARGET = 100_000  # envelopes per second, sealed with HMAC and encoded; and the other way
REPEATS = 25
SECONDS = 0.05  # per repeat
console = Console()
Item = TypeVar("Item")


def envelopes(count: int = 256) -> list[Envelope]:
    """Messages of a team of five over some steps."""
    draw = np.random.default_rng(0)
    return [
        Envelope(
            sent_round=n % 2,
            sender=n % AGENTS,
            audience=(n + 1) % AGENTS,
            sequence=n,
            sent_at=n // 2,
            expiry=n // 2 + 16,
            hops=8,
            payload=pack_floats(draw.standard_normal(WIDTH).astype(np.float32)),
        )
        for n in range(count)
    ]


def rate(work: Callable[[Item], object], items: list[Item]) -> tuple[float, float]:
    """Items per second of this thread's CPU time, and by the clock."""
    cpu, clock, done = time.thread_time(), time.perf_counter(), 0
    while time.perf_counter() - clock < SECONDS:
        for item in items:
            work(item)
        done += len(items)
    return done / (time.thread_time() - cpu), done / (time.perf_counter() - clock)


def measure() -> dict[str, list[tuple[float, float]]]:
    """Rates of all tasks by name, one per repeat; tasks take turns, so that disturbances affect all of them alike."""
    plain = envelopes()
    jobs: list[tuple[str, Callable[[Any], object], list[Any]]] = [
        ("encode", encode, plain),
        ("decode", decode, [encode(e) for e in plain]),
        ("build an Envelope, checked", lambda fields: Envelope(**fields), [e.model_dump() for e in plain]),
        ("the bytes a seal covers", lambda e: signed_bytes(e, e.sender, 0), plain),
    ]
    schemes: dict[str, Keys] = {"HMAC-SHA256": HmacKeys(0, AGENTS), "Ed25519": Ed25519Keys(0, AGENTS)}
    for name, keys in schemes.items():
        sealed = [keys.seal(e, e.sender, 0) for e in plain]
        assert all(keys.verify(decode(encode(e)), 0) for e in sealed)
        jobs += [
            (f"seal, {name}", lambda e, k=keys: k.seal(e, e.sender, 0), plain),
            (f"verify, {name}", lambda e, k=keys: k.verify(e, 0), sealed),
            (f"seal + encode, {name}", lambda e, k=keys: encode(k.seal(e, e.sender, 0)), plain),
            (f"decode + verify, {name}", lambda d, k=keys: k.verify(decode(d), 0), [encode(e) for e in sealed]),
        ]
    found: dict[str, list[tuple[float, float]]] = {name: [] for name, _, _ in jobs}
    for _ in track(range(REPEATS), description="Wire", console=console):
        for name, work, items in jobs:
            found[name].append(rate(work, items))
    return found


def main() -> None:
    """Measure everything and write ``benchmarks/wire.md``."""
    load = os.getloadavg()[0]
    found = measure()
    cpu = {name: [rates[0] for rates in runs] for name, runs in found.items()}
    clock = {name: statistics.median(rates[1] for rates in runs) for name, runs in found.items()}
    middle = {name: statistics.median(rates) for name, rates in cpu.items()}
    rows = [
        f"| {name} | {max(rates):,.0f} | {1e6 / max(rates):.1f} | {middle[name]:,.0f} | {clock[name]:,.0f} |"
        for name, rates in cpu.items()
    ]

    def verdict(reached: float) -> str:
        return f"{reached:,.0f}/s ({'reached' if reached >= TARGET else 'missed'})"

    verdicts = [
        f"- {name}: {verdict(max(cpu[name]))} undisturbed, {verdict(middle[name])} in the median."
        for name in ("seal + encode, HMAC-SHA256", "decode + verify, HMAC-SHA256")
    ]
    sealed = HmacKeys(0, AGENTS).seal(envelopes()[-1], 0, 0)
    text = [
        "# Wire",
        "",
        "Written by `python -m benchmarks.wire`. Envelopes per second on one core, one at a time, with"
        f" {WIDTH} float32 numbers as payload ({len(encode(sealed))} bytes with an HMAC seal).",
        f"{REPEATS} repeats of {SECONDS} s, all rows in turns. {os.cpu_count()} cores ({platform.machine()}), load"
        f" average {load:.1f} at the start. The best repeat is what the code takes while nothing disturbs it; other"
        " programs on the machine slow down even CPU time, and by the clock it also waits for their turns.",
        f"Python {platform.python_version()}, msgspec {msgspec.__version__}, cryptography {cryptography.__version__},"
        f" pydantic {pydantic.VERSION}.",
        "",
        "|  | per second of CPU, best | microseconds each, best | per second of CPU, median | by the clock, median |",
        "|---|---|---|---|---|",
        *rows,
        "",
        f"Target: {TARGET:,} envelopes per second of CPU.",
        "",
        *verdicts,
        "",
    ]
    target = Path(__file__).with_name("wire.md")
    target.write_text("\n".join(text), encoding="utf-8")
    console.print(target.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
