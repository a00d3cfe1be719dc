"""What a vote over subsets of messages (AME) keeps, where messages repeat each other and where they do not.

python studies/votes.py RUN...    evaluates and certifies each run, and prints a line per team

On agreement_9 everybody's message is about the same thing, and a vote of members that hear two links each keeps it. On
hint_9 what an agent needs is known to one other: 7 of the 28 subsets contain it, and the other 21 outvote them. The
attackers own one or two agents' links to all others; the random ones say anything, the white box knows policy and vote.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from agentcomm import api

VOTE = "ensemble:k=2"


def attacks(members: int) -> dict[str, dict[str, Any]]:
    """Attacks by name: the links of one agent, and of two."""
    found: dict[str, dict[str, Any]] = {}
    for owned in (1, 2):
        links = [[liar, other] for liar in range(owned) for other in range(members) if other != liar]
        found[f"noise {owned}"] = {"name": "noise", "links": links, "epsilon": 5.0}
        found[f"gradient {owned}"] = {"name": "gradient", "links": links, "epsilon": 5.0, "adaptive": True}
    return found


def main(
    runs: Annotated[list[Path], typer.Argument(help="folders of runs of nine agents with one round of messages")],
    episodes: Annotated[int, typer.Option(help="clean episodes to certify")] = 64,
) -> None:
    """Print, for each team, returns with and without the vote, clean and attacked, and certified decisions."""
    chosen = attacks(9)
    for run in runs:
        rows = api.evaluate(run, list(chosen.values()), [VOTE], progress=False)
        proofs = [row for row in api.certify(run, (1, 2), defense=VOTE, episodes=episodes) if "benign" in row]
        for seed in sorted({row["seed"] for row in proofs}):
            mine = [row for row in rows if row["seed"] == seed and row["variant"] == "team"]
            for name, attack in {"clean": None, **chosen}.items():
                pair = [_score(row) for row in mine if _is(row, attack)]
                typer.echo(f"{run.name} {seed} {name}: " + "; ".join(pair))
            for row in (row for row in proofs if row["seed"] == seed):
                counts = f"{row['certified']} unchanged, {row['benign']} benign of {row['decisions']} decisions"
                whole = f"{row['episodes_certified']} of {row['episodes']} episodes"
                typer.echo(f"{run.name} {seed} certified for C={row['count']}: {counts}; {whole}")


def _is(row: dict[str, Any], attack: dict[str, Any] | None) -> bool:
    """Whether a row is about an attack."""
    if row["attack"] is None or attack is None:
        return row["attack"] is None and attack is None
    given = row["attack"]["arguments"]
    return row["attack"]["name"] == attack["name"] and len(given["links"]) == len(attack["links"])


def _score(row: dict[str, Any]) -> str:
    metrics = row["metrics"]
    return f"{row['defense_label']} return {metrics['mean_return']:.3f} success {metrics['success']:.3f}"


if __name__ == "__main__":
    typer.run(main)
