"""The command ``rerun``."""

from __future__ import annotations

from typing import Annotated

import typer

from agentcomm.base.modules import import_modules
from agentcomm.base.text import shorten
from agentcomm.cli.options import Jobs, Plugins, RunFolder, Trust
from agentcomm.cli.screen import complain, say

MOST_LISTED = 10  # differences per cell


def rerun(
    run: RunFolder,
    cell: Annotated[
        str | None, typer.Argument(metavar="[CELL]", help="Id of the cell in cells.jsonl, or a part that only it has.")
    ] = None,
    sample: Annotated[int | None, typer.Option(metavar="N", help="Run N cells again, chosen at random.")] = None,
    seed: Annotated[int, typer.Option(metavar="S", help="Seed of that choice.")] = 0,
    everything: Annotated[bool, typer.Option("--all", help="Run all cells again that are not stale.")] = False,
    changed: Annotated[
        bool, typer.Option(help="Run stale cells, too: their code has changed, but are their numbers still the same?")
    ] = False,
    jobs: Jobs = 1,
    plugins: Plugins = None,
    trust: Trust = False,
) -> None:
    """Run cells of RUN again from their rows and the team's policy, and compare every recorded number bit for bit.

    Nothing is written. Exit code 0 if all are equal, 1 if any number differs, 2 if a cell is stale: its code, policy or
    files have changed since. On another kind of processor, the last digits of floats may differ; it says where they do.
    """
    from agentcomm import api

    import_modules(plugins or ())
    try:
        found = api.rerun(
            run, cell, sample=sample, seed=seed, everything=everything, jobs=jobs, trust=trust, changed=changed
        )
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    different = [one for one in found if not one.close]
    close = [one for one in found if one.close and one.differences]
    for one in found:
        if not one.differences:
            say(f"equal      {one.id} ({one.compared} values)")
    for one in close:
        say(f"close      {one.id} ({len(one.differences)} of {one.compared} values differ in their last digits)")
    for one in different:
        say(f"different  {one.id} ({len(one.differences)} of {one.compared} values)")
        for value in one.differences[:MOST_LISTED]:
            say(f"    {value.field}: recorded {shorten(value.recorded)}, now {shorten(value.now)}")
        if len(one.differences) > MOST_LISTED:
            say(f"    and {len(one.differences) - MOST_LISTED} more")
    if close:
        complain(
            f"{len(close)} of {len(found)} cells differ in the last digits of floats only, as on another kind of"
            " processor, which adds in another order"
        )
    if different:
        complain(f"{len(different)} of {len(found)} cells are not what they were")
    if close or different:
        raise typer.Exit(1)
    say(f"{len(found)} of {len(found)} cells are equal bit for bit.")
