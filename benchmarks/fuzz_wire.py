"""Throw mutated messages at the wire's decoder: ``python -m benchmarks.fuzz_wire --inputs 1000000``.

Each input starts as a valid message and is changed field by field, or as plain bytes. The decoder must refuse it with
MessageError or read it, and what it reads must encode to the very same bytes. Anything else stops the run and
prints the input in hex. Ctrl-C prints what was done so far.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from agentcomm.base.errors import MessageError
from agentcomm.wire.encoding import MAX_BYTES, decode, encode
from agentcomm.wire.envelope import MAX_PAYLOAD, MAX_SEAL, Envelope

CODECS = ("float32", "int8", "top_k")
EDGES = [edge + by for edge in (0, 0x20, 0x80, 0x100, 0x8000, 0x1_0000, 2**31, 2**32, 2**63) for by in (-1, 0, 1)]
EDGES += [-(2**63), 2**64 - 1, -0x20, -0x21, -0x80, -0x81]
OTHERS = (None, True, False, 0.0, 1.0, -1.5, float("nan"), "", "float32", "nobody", b"", b"\0", [], [1], {}, {"a": 1})
GIANTS = [bytes([head]) + b"\xff" * 4 for head in (0xC6, 0xC9, 0xDB, 0xDD, 0xDF)]  # claim 4 GiB
SLOW = 0.5  # CPU seconds that no input may take; a usual one takes microseconds
console = Console()
to_msgpack = msgspec.msgpack.encode


class Mutator:
    """Makes inputs: the array's header and the twelve encoded fields, changed in up to four places."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.last = b"\0"

    def make(self) -> bytes:
        """The next input."""
        rng = self.random
        if rng.random() < 0.05:
            return rng.randbytes(rng.randrange(200))
        parts = [b"\x9c", *(to_msgpack(value) for value in self.envelope().model_dump().values())]
        for _ in range(rng.randrange(4)):
            if len(parts) > 1:
                self.change(parts)
        data = b"".join(parts)
        for _ in range(rng.choice((0, 0, 1, 2))):
            data = self.bend(data)
        self.last = data or b"\0"
        return data

    def envelope(self) -> Envelope:
        """A valid envelope."""
        rng = self.random

        def number(top: int) -> int:
            return rng.choice(
                (rng.randrange(top + 1), rng.randrange(0x100), min(rng.choice((0x7F, 0x80, 0xFFFF)), top))
            )

        length = rng.choice((0, 4, 64, 256)) if rng.random() < 0.999 else MAX_PAYLOAD
        return Envelope(
            sent_round=number(0xFF),
            sender=number(0xFFFF),
            audience=number(0xFFFF),
            sequence=number(0xFFFF_FFFF),
            sent_at=number(0xFFFF_FFFF),
            expiry=number(0xFFFF_FFFF),
            hops=number(0xFF),
            codec=rng.choice(CODECS),
            key=rng.choice((None, number(0xFFFF))),
            payload=rng.randbytes(length),
            seal=rng.randbytes(rng.choice((0, 32, MAX_SEAL))),
        )

    def change(self, parts: list[bytes]) -> None:
        """Change one field, or the header, in place."""
        rng = self.random
        at = rng.randrange(1, len(parts))
        match rng.randrange(8):
            case 0 | 1:
                parts[at] = to_msgpack(rng.choice(EDGES))
            case 2:
                parts[at] = to_msgpack(rng.choice(OTHERS))
            case 3:
                parts[at] = self.respell(parts[at])
            case 4:
                parts[at] = rng.choice(GIANTS)
            case 5:
                other = rng.randrange(1, len(parts))
                parts[at], parts[other] = parts[other], parts[at]
            case 6:
                parts[at : at + 1] = rng.choice(([], [parts[at]] * 2))
                parts[0] = bytes([0x90 + min(len(parts) - 1, 15)])
            case 7:
                parts[0] = rng.choice((b"\xdc\x00\x0c", b"\xdd\x00\x00\x00\x0c", b"\x9b", b"\x9d", b"\x8c", b"\xc1"))

    def respell(self, part: bytes) -> bytes:
        """The same value, or nearly, in a longer form."""
        value = msgspec.msgpack.decode(part) if part not in GIANTS else 0
        if isinstance(value, bytes):
            return b"\xc6" + len(value).to_bytes(4, "big") + value
        if isinstance(value, str):
            return b"\xdb" + len(value.encode()).to_bytes(4, "big") + value.encode()
        if not isinstance(value, int):
            return part
        size = self.random.randrange(4)
        return bytes([0xCC + size]) + (value % 2 ** (8 << size)).to_bytes(1 << size, "big")

    def bend(self, data: bytes) -> bytes:
        """Change bytes without regard to what they mean."""
        rng = self.random
        at = rng.randrange(len(data)) if data else 0
        match rng.randrange(7):
            case 0 if data:
                return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
            case 1:
                return data[:at]
            case 2:
                return data[:at] + data[at + rng.randrange(1, 9) :]
            case 3:
                return data[:at] + rng.randbytes(rng.randrange(1, 9)) + data[at:]
            case 4:
                return data[:at] + self.last[rng.randrange(len(self.last)) :]
            case 5:
                return data + self.last
            case _:
                return data + bytes(MAX_BYTES) if rng.random() < 0.01 else data


@dataclass
class Tally:
    """What became of the inputs."""

    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0

    def take(self, data: bytes) -> None:
        """Decode one input.

        Raises:
            AssertionError: If something was read that encodes to other bytes, or took too long.
        """
        began = time.thread_time()
        try:
            found = decode(data, CODECS)
        except MessageError as error:
            self.refused[str(error).partition(": ")[0]] += 1
        else:
            self.accepted += 1
            assert encode(found) == data, "accepted bytes that are not canonical"
            assert decode(encode(found), CODECS) == found, "another message after a second round"
        self.slowest = max(self.slowest, time.thread_time() - began)
        assert self.slowest < SLOW, f"took {self.slowest:.2f} s of CPU time"

    def show(self, seconds: float) -> None:
        """Print the counts."""
        total = self.accepted + self.refused.total()
        table = Table("outcome", "inputs", "share", title=f"{total:,} inputs in {seconds:.0f} s")
        for name, count in [("accepted", self.accepted), *self.refused.most_common()]:
            table.add_row(name, f"{count:,}", f"{count / max(total, 1):.1%}")
        console.print(table, f"slowest input: {self.slowest * 1e3:.1f} ms of CPU time")


def main(
    inputs: Annotated[int, typer.Option(min=1, help="How many to try.")] = 1_000_000,
    seed: Annotated[int, typer.Option(help="The same seed makes the same inputs.")] = 0,
) -> None:
    """Fuzz the decoder of messages."""
    mutator, tally, data = Mutator(seed), Tally(), b""
    began = time.perf_counter()
    try:
        for _ in track(range(inputs), description="Fuzzing the wire", console=console):
            data = mutator.make()
            tally.take(data)
    except KeyboardInterrupt:
        console.print("Interrupted.")
    except Exception as error:
        tally.show(time.perf_counter() - began)
        print(f"FAILED, seed {seed}: {type(error).__name__}: {error}\ninput in hex: {data.hex()}", file=sys.stderr)
        raise SystemExit(1) from error
    tally.show(time.perf_counter() - began)


if __name__ == "__main__":
    typer.run(main)
