"""Figures of the pages: every team a dot, direct labels, on a white ground that also stands in dark mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from book import Book
from cells import Series

from agentcomm.statistics.estimates import estimate

COLORS = ("#2b5d8a", "#c2572b", "#4d8b57", "#8a5a9e", "#777777", "#b3972c")
mpl.use("Agg")
mpl.rcParams |= {
    "svg.hashsalt": "agentcomm",
    "svg.fonttype": "path",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
}


def save(figure: Any, book: Book, name: str, alt: str) -> str:
    """Write a figure and return the markdown that shows it."""
    where = book.docs / book.study / f"{name}.svg"
    where.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(where, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    return f"![{alt}]({book.study}/{name}.svg)\n"


def dots(
    axes: Any,
    entries: Mapping[str, Series],
    label: str,
    colors: Mapping[str, str] | None = None,
    band: float | None = None,
) -> None:
    """A line per entry: each team as a dot, the mean and its interval as a bar.

    Args:
        axes: Where to plot.
        entries: Series by label.
        label: Of the horizontal axis.
        colors: By label, if they differ.
        band: Half the width of a grey band around zero.
    """
    for place, (name, series) in enumerate(entries.items()):
        values, color = list(series.values.values()), (colors or {}).get(name, COLORS[0])
        spread = np.linspace(-0.16, 0.16, len(values)) if len(values) > 1 else [0.0] * len(values)
        axes.plot(values, place + np.asarray(spread), "o", color=color, alpha=0.4, ms=3.5, mew=0)
        if values:
            e = estimate(values)
            axes.plot(e.interval or (e.value, e.value), [place, place], color=color, lw=1.8)
            axes.plot([e.value], [place], "|", color=color, ms=12, mew=2)
        else:
            axes.annotate("not scored", (0, place), fontsize=7, color="#777777", va="center")
    if band is not None:
        axes.axvspan(-band, band, color="#dddddd", lw=0, zorder=0)
    axes.axvline(0, color="#999999", lw=0.8, zorder=0)
    axes.set_yticks(range(len(entries)), list(entries))
    axes.set_ylim(len(entries) - 0.5, -0.5)
    axes.set_xlabel(label)
    axes.grid(axis="x", alpha=0.25)


def dot_plot(entries: Mapping[str, Series], label: str, band: float | None = None) -> Any:
    """A figure of one dot plot."""
    figure, axes = plt.subplots(figsize=(6.6, 0.3 * len(entries) + 0.8))
    dots(axes, entries, label, band=band)
    return figure


def heat(rows: Mapping[str, Sequence[Series]], columns: Sequence[str], label: str) -> Any:
    """A heat map of means, with the numbers in it; grey where nothing was scored."""
    means = [[np.mean(list(s.values.values())) if s else np.nan for s in some] for some in rows.values()]
    values = np.asarray(means, dtype=float).reshape(len(rows), len(columns))
    figure, axes = plt.subplots(figsize=(1.25 * len(columns) + 2.2, 0.24 * len(rows) + 1.0))
    known = values[np.isfinite(values)]
    limit = float(np.abs(known).max()) if known.size else 1.0
    ground = mpl.colormaps["RdBu_r"].with_extremes(bad="#dddddd")
    shown = axes.imshow(np.ma.masked_invalid(values), cmap=ground, vmin=-limit, vmax=limit, aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
            color = "white" if abs(value) > 0.65 * limit else "black"
            axes.text(j, i, f"{value:.1f}", ha="center", va="center", fontsize=7, color=color)
    axes.set_xticks(range(len(columns)), [column.replace("+", "\n+") for column in columns], fontsize=7)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set_yticks(range(len(rows)), list(rows), fontsize=7)
    for side in axes.spines.values():
        side.set_visible(False)
    figure.colorbar(shown, ax=axes, label=label, shrink=0.6)
    return figure


def lines(
    axes: Any, at: Sequence[float], series: Sequence[Series], color: str, label: str = "", style: str = "o-"
) -> None:
    """A line of means with its band of intervals, teams as dots, and its label at its end."""
    found = [estimate(s.values) for s in series]
    known = [(x, e, s) for x, e, s in zip(at, found, series, strict=True) if e.known]
    if not known:
        return
    xs = [x for x, _, _ in known]
    ends = [e.interval or (e.value, e.value) for _, e, _ in known]
    axes.fill_between(xs, [low for low, _ in ends], [high for _, high in ends], color=color, alpha=0.18, lw=0)
    axes.plot(xs, [e.value for _, e, _ in known], style, color=color, ms=3)
    for x, _, s in known:
        axes.plot([x] * len(s.values), list(s.values.values()), ".", color=color, alpha=0.25, ms=3, mew=0)
    if label:
        axes.annotate(
            label,
            (xs[-1], known[-1][1].value),
            xytext=(4, 0),
            textcoords="offset points",
            fontsize=7,
            color=color,
            va="center",
        )


def panels(count: int, columns: int, size: tuple[float, float], **shared: Any) -> tuple[Any, list[Any]]:
    """A figure of several panels; those that are left over are empty."""
    rows = -(-count // columns)
    figure, grid = plt.subplots(rows, columns, figsize=size, squeeze=False, **shared)
    for spare in grid.flat[count:]:
        spare.axis("off")
    return figure, list(grid.flat[:count])
