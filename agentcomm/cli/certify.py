"""The command ``certify``."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from agentcomm.base.modules import import_modules
from agentcomm.cli.options import Defense, Plugins, RunFolder, Trust
from agentcomm.cli.screen import console, say

Counts = list[int] | None


def certify(
    run: RunFolder,
    attack_links: Annotated[
        Counts, typer.Option(metavar="C", help="Links that an attacker controls; repeat it for more. Default: 1.")
    ] = None,
    attack_nodes: Annotated[
        Counts, typer.Option(metavar="C", help="Nodes that an attacker controls; repeat it for more.")
    ] = None,
    defense: Defense = None,
    episodes: Annotated[int, typer.Option(help="Clean episodes to examine.")] = 64,
    inject: Annotated[
        bool, typer.Option("--inject", help="Let attackers send on their links when the sender does not.")
    ] = False,
    decisions: Annotated[str, typer.Option(metavar="greedy|sampled", help="How actions are chosen.")] = "greedy",
    plugins: Plugins = None,
    trust: Trust = False,
) -> None:
    """Certify what attackers on messages cannot change in the clean episodes of RUN's teams."""
    from agentcomm import api

    import_modules(plugins or ())
    links = (1,) if attack_links is None and attack_nodes is None else attack_links or ()
    rows = api.certify(run, links, attack_nodes or (), defense, episodes, inject, decisions, trust)
    table = Table(title="decisions that the worst attacker provably cannot change", title_justify="left")
    for column in ("seed", "certificate", "attacker", "certified", "of", "details"):
        table.add_column(column, justify="right" if column in ("seed", "certified", "of") else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(str, _cells(row)))
    console.print(table)
    say(f"All certificates are in {run / 'certificates.jsonl'}.")


def _cells(row: dict[str, Any]) -> tuple[Any, ...]:
    """A row of the table."""
    attacker = f"{row['count']} {row['attacker']}" if "count" in row else row.get("attacker", "")
    if row.get("injects"):
        attacker += ", injects"
    of = row.get("decisions", "")
    certified = row.get("certified", "")
    if "certified" in row and not row.get("exact", True):
        certified = f">= {certified}"
    return row["seed"], row["certificate"], attacker, certified, of, _details(row)


def _details(row: dict[str, Any]) -> str:
    if "refused" in row:
        return f"not certified: {row['refused']}"
    if row["certificate"] == "reach":
        worst = ", ".join(row["worst"]) or "none"
        least = " ".join(map(str, row["steps_unchanged"]))
        return f"worst: {worst}; reaches {row['at_once']} agents at once; steps unchanged per agent: {least}"
    if row["certificate"] == "robustness":
        r = row["r_least"] if row["exact"] else f"{row['r_least']} to {row['r_most']}"
        return f"r = {r} in the worst of {row['graphs']} graphs; W-MSR withstands {row['w_msr_attackers']} attackers"
    if row["certificate"] == "vote":
        number = "all subsets" if row["samples"] is None else f"{row['samples']} samples"
        fits = "admissible" if row["admissible"] else f"not admissible (largest: {row['largest_k'] or 'none'})"
        return f"k={row['k']} of {row['links']} links, {number}: {fits}; {row['benign']} benign;" + (
            f" {row['episodes_certified']} of {row['episodes']} episodes whole"
        )
    radii = ", ".join(f"{number} at {length}" for length, number in row["by_radius"].items())
    return f"radius: {radii}; least {row['radius_least']:.3g} of at most {row['radius_most_possible']:.3g}"
