"""Writes docs/paths.md and its figures from the cells of studies/paths."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import matplotlib.pyplot as plt
import numpy as np
import typer
from pages import COLORS, Cells, by_seed, mean_of, over_seeds, table, text, write_page
from run import ROOT

STUDY = "predator_capture_prey"
TITLE = "What codecs, bottlenecks and bad networks cost a team"
ABOUT = (
    "Predator-Capture-Prey: two agents see the prey, and a blind one must capture it. Without messages an episode takes"
    " 16.5 of at most 20 steps."
)
LOSSES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
LOSS_TRAINED = 0.3
PROFILES = ("ethernet", "wifi", "5g")
Row = dict[str, Any]


def written(cells: Cells) -> list[tuple[str, str, list[Row]]]:
    """Encodings: kind (added after training, trained with it, bottleneck), name, a row per seed."""
    names = ("float16", "int8", "sign", "top_k(k=16)", "top_k(k=8)", "top_k(k=4)", "fedzip(k=16)", "fedzip(k=8)", "vq")
    names += ("delta(k=8, resync=null)", "delta(k=8, resync=4)")
    found = [("added after training", "float32", cells.of(STUDY, "clean"))]
    found += [("added after training", name, cells.of(STUDY, "clean", conditions=name)) for name in names]
    for team in cells.teams(STUDY):
        kind, _, name = team.partition(" with ")
        if kind == "trained" and name != "loss":
            found.append(("trained with it", name, cells.of(STUDY, team)))
        if team.startswith("bottleneck"):
            found.append(("bottleneck", "weight " + team.split()[1], cells.of(STUDY, team)))
    return [(kind, name, rows) for kind, name, rows in found if rows]


def rate(cells: Cells) -> str:
    """Bytes against steps."""
    entries = written(cells)
    lines = []
    figure, axes = plt.subplots(figsize=(6.8, 4.2))
    labelled: list[tuple[float, float]] = []
    kinds = dict(zip(("added after training", "trained with it", "bottleneck"), COLORS, strict=False))
    for kind, name, rows in entries:
        steps, sent = list(by_seed(rows).values()), mean_of(rows, "bytes_per_step")
        each = sent / mean_of(rows, "messages_per_step")
        lines.append([name, kind, f"{each:.0f}", f"{sent:.0f}", text(over_seeds(steps)), f"{len(steps)}"])
    for kind, name, rows in sorted(entries, key=lambda entry: -mean_of(entry[2], "mean_steps")):
        steps, sent = list(by_seed(rows).values()), mean_of(rows, "bytes_per_step")
        at = sent, float(np.mean(steps))
        axes.plot([sent] * len(steps), steps, "o", color=kinds[kind], alpha=0.3, ms=3, mew=0)
        axes.plot(*at, "o", color=kinds[kind], ms=6)
        crowded = any(abs(np.log(at[0] / x)) < 0.1 and abs(at[1] - y) < 0.5 for x, y in labelled)
        labelled.append(at)
        offset, turned = ((4, -7), 0) if crowded else ((4, 4), 20)
        short = name.replace("delta(k=8, resync=null)", "delta").replace("delta(k=8, resync=4)", "delta, full 1 in 4")
        axes.annotate(short, at, xytext=offset, textcoords="offset points", fontsize=7, rotation=turned)
    for kind, color in kinds.items():
        axes.plot([], [], "o", color=color, label=kind)
    axes.set_xscale("log")
    axes.set_xticks([150, 200, 300, 500, 1000, 1500], ["150", "200", "300", "500", "1000", "1500"])
    axes.minorticks_off()
    axes.set_xlabel("bytes per step, headers included")
    axes.set_ylabel("mean steps (fewer is better)")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=8)
    header = ("encoding", "how", "bytes per message", "bytes per step", "mean steps (95% interval)", "teams")
    return (
        "A codec can be added after training or be present from the start; gradients then pass straight through it. A"
        " bottleneck is trained with the team: information costs its weight per nat, and coordinates that carry no"
        " information are not sent. Bytes include the envelope.\n\n"
        + table(header, lines)
        + "\n"
        + cells.save(figure, "rate")
    )


def lossy(cells: Cells, team: str, loss: float) -> list[Row]:
    """Rows of a team under a loss; the loss it was trained with is its own transport."""
    if team == "clean":
        return cells.of(STUDY, team, conditions=f"loss(probability={loss})" if loss else "")
    other = f"loss(probability={loss})" if loss else "plain transport"
    return cells.of(STUDY, team, conditions="" if loss == LOSS_TRAINED else other)


def networks(cells: Cells) -> str:
    """Loss and networks, for teams trained with loss and teams trained without."""
    teams = {"clean": "trained without loss", "trained with loss": f"trained with loss {LOSS_TRAINED:.0%}"}
    figure, axes = plt.subplots(figsize=(5.6, 3.4))
    lines = []
    for (team, label), color in zip(teams.items(), COLORS, strict=False):
        points = [
            (loss, over_seeds(list(by_seed(rows).values()))) for loss in LOSSES if (rows := lossy(cells, team, loss))
        ]
        if not points:
            continue
        lines.append([label, *(text(e) for _, e in points)])
        axes.plot([100 * loss for loss, _ in points], [e.value for _, e in points], "o-", color=color, label=label)
        for loss, e in points:
            axes.plot([100 * loss] * 2, e.interval or (e.value, e.value), color=color, lw=1.5, alpha=0.6)
    axes.set_xlabel("messages lost, %")
    axes.set_ylabel("mean steps (fewer is better)")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    out = table(("team", *(f"loss {loss:.0%}" for loss in LOSSES)), lines) + "\n" + cells.save(figure, "loss") + "\n"
    lines = []
    for step in ("", "+0.01 s per step"):
        for name in PROFILES:
            found = {team: cells.of(STUDY, team, conditions=f"profile(network={name}){step}") for team in teams}
            if not all(found.values()):
                continue
            ledger = {key: sum(row["ledger"][key] for row in found["clean"]) for key in ("sent", "lost", "late")}
            latency = np.mean([row["metrics"].get("latency_ms", 0.0) for row in found["clean"]])
            lines.append(
                [name, "0.01" if step else "0.1"]
                + [f"{ledger[key] / ledger['sent']:.1%}" for key in ("lost", "late")]
                + [f"{latency:.1f}"]
                + [text(over_seeds(list(by_seed(rows).values()))) for rows in found.values()]
            )
    header = ("network", "seconds per step", "lost", "late", "latency, ms", *teams.values())
    return out + "\nOn network profiles, with long and with short steps:\n\n" + table(header, lines)


def delta(cells: Cells) -> str:
    """The delta codec under loss."""
    lines = []
    for loss in (0.0, 0.05, 0.2):
        for resync in ("null", "4"):
            for gap in ("", ", on_gap=hold"):
                label = f"delta(k=8, resync={resync}{gap})"
                rows = cells.of(STUDY, "clean", conditions=f"loss(probability={loss})+{label}" if loss else label)
                known = f"loss(probability={loss})" if loss in LOSSES and loss else ""
                plain = cells.of(STUDY, "clean", conditions=known)
                if rows:
                    line = [f"{loss:.0%}", "never" if resync == "null" else f"every {resync} steps"]
                    line += ["hold" if gap else "add", text(over_seeds(list(by_seed(rows).values())))]
                    known = loss == 0 or loss in LOSSES
                    line += [text(over_seeds(list(by_seed(plain).values()))) if known else "\N{EM DASH}"]
                    lines.append(line)
    header = ("loss", "full frames", "after a gap", "mean steps with delta, k = 8 of 64", "with float32")
    return (
        "[benchmarks/delta.md](../benchmarks/delta.md) measures the error in the messages themselves; this table shows"
        " the effect on a team that was not trained with the codec.\n\n" + table(header, lines)
    )


PARTS = {
    "How few bytes will do?": (STUDY, rate),
    "How much loss can a team tolerate, and does it help to train with loss?": (STUDY, networks),
    "What does loss cost when only changes are sent?": (STUDY, delta),
}


def main(root: Annotated[Path, typer.Option(help="where folders of runs lie")] = ROOT) -> None:
    """Write the page."""
    typer.echo(f"wrote {write_page('paths', TITLE, ABOUT, PARTS, root)}")


if __name__ == "__main__":
    typer.run(main)
