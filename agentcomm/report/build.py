"""Builds ``report.html``: one self-contained file that works offline."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import math
import shlex
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from pydantic import ValidationError

from agentcomm.base.errors import AgentcommError, FileError
from agentcomm.base.files import make_folder, write_text
from agentcomm.base.text import visible
from agentcomm.evaluation.statistics import LEVEL, RESAMPLES
from agentcomm.report import views
from agentcomm.report.charts import Chart, Line, chart, learning_charts, mean_line
from agentcomm.report.graphs import kind_of, kinds_of, pictures, short_name
from agentcomm.report.load import RunData, load_run, number
from agentcomm.report.narrative import answer
from agentcomm.report.results import Results
from agentcomm.report.text import fixed, percent
from agentcomm.report.verdicts import undefended, worthless
from agentcomm.runs.choices import PLAIN_TRANSPORT
from agentcomm.runs.conditions import Conditions
from agentcomm.runs.config import RunConfig

HERE = Path(__file__).parent
STYLES = ("page.css", "player.css")
SCRIPTS = ("table.js", "player_draw.js", "player.js")


def build_report(run: Path, output: Path | None = None) -> Path:
    """Write the report of a run, atomically replacing an older one.

    Args:
        run: Folder with ``cells.jsonl``; ``config.yaml``, ``teams/*/progress.jsonl`` and ``episodes.json`` are shown
            where they exist.
        output: The file to write; None for ``report.html`` in the run's folder.

    Returns:
        Path of the page.

    Raises:
        RunError: If the folder contains no evaluated cell.
        FileError: If the page cannot be written.
    """
    run = Path(run)
    page = render(load_run(run))
    target = run / "report.html" if output is None else output
    try:
        make_folder(target.parent)
        write_text(target, page)
    except FileError as error:
        raise FileError(f"{error}; put the page elsewhere with --output FILE") from None
    return target


def render(run: RunData) -> str:
    """The page as HTML text."""
    results = Results(run.cells)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script, style = (
        "\n".join((HERE / name).read_text(encoding="utf-8") for name in names) for names in (SCRIPTS, STYLES)
    )
    cost_header, cost_rows = views.costs(results)
    change_header, change_rows = views.changes(results)
    voc = results.value_of_communication()
    return environment.get_template("page.html").render(
        run=run,
        results=results,
        answer=answer(results, run.notes),
        flat=worthless(results, voc),
        floor_known=results.estimate(results.floor).known,
        scale=views.scale(results),
        measures=views.measures(results),
        heat=views.heatmap(results),
        same_episodes=len({(row.get("episodes"), row.get("episode_seed")) for row in run.cells}) == 1,
        threats=views.threats(results),
        change_header=change_header,
        change_rows=change_rows,
        learning=learning_charts(run.curves, results.primary.key),
        graphs=pictures(*_graphs(results)),
        shapes=kinds_of(_graphs(results)[1]),
        gate=_gate_chart(results),
        traffic=_traffic(results),
        cost_header=cost_header,
        cost_rows=cost_rows,
        training=_training(run),
        made=_made(run, results),
        player=_player(run),
        style=Markup(style),
        commands=_commands(run),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _commands(run: RunData) -> list[str]:
    """The commands that reproduce the cells; labels are valid option values."""
    name = run.folder.resolve().name
    usual, own = Conditions(), []
    with contextlib.suppress(ValidationError):  # not a valid config of this version
        config = RunConfig.model_validate(run.config)
        usual, *own = (_canonical(under, config) for under in config.evaluation.expand(config.transport))
    # Cells without attacks need no separate command: their options join those of the cells that they vary.
    groups: dict[str, tuple[list[str], list[str], list[str]]] = {}
    for row in run.cells:
        try:
            under = Conditions.model_validate(row.get("conditions") or usual.model_dump())
        except ValidationError:  # of another version
            continue
        if under in own and under.crossed:
            continue  # part of the config
        crossed = under.model_copy(update={"environment": {}, "gates": None})
        asked = crossed.options(usual)
        _, stages, changes = groups.setdefault(shlex.join(asked), (asked, [], []))
        attack, defense = row.get("attack"), row.get("defense_label", "none")
        stages += [] if not attack else ["--attack", attack["label"]]
        stages += [] if defense == "none" else ["--defense", defense]
        changes += [] if under.crossed else under.options(crossed)
    evaluate = ["agentcomm", "evaluate", f"runs/{name}-again"]
    lines = [[*evaluate, *asked, *_pairs(stages), *_pairs(changes)] for asked, stages, changes in groups.values()]
    train = ["agentcomm", "train", f"runs/{name}/config.yaml", f"name={name}-again"]
    return [shlex.join(line) for line in (train, *lines)]


def _canonical(under: Conditions, config: RunConfig) -> Conditions:
    """Conditions as in rows of cells, if their plug-ins are installed; plain ones are so without importing any."""
    if under.environment or under.transport != PLAIN_TRANSPORT:
        with contextlib.suppress(AgentcommError):
            return under.canonical(config.environment)
    return under


def _pairs(words: list[str]) -> list[str]:
    """Options and their values, each once; attacks before defenses."""
    pairs = dict.fromkeys(zip(words[::2], words[1::2], strict=True))
    return [word for pair in sorted(pairs, key=lambda pair: pair[0] == "--defense") for word in pair]


def embed(data: Any) -> Markup:
    """JSON that is safe inside a script element: no ``</script``, no ``<!--``, and no NaN."""
    text = json.dumps(_finite(data), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _shown(value: Any) -> Any:
    """Text of the page with control characters, and those that change the direction of writing, made visible."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _finite(data: Any) -> Any:
    if isinstance(data, str):
        return visible(data)
    if isinstance(data, dict):
        return {str(key): _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def _player(run: RunData) -> Markup | None:
    """Recordings with each agent's short name and shape."""
    if run.episodes is None:
        return None
    agents = [str(name) for name in run.episodes.get("agents") or []]
    kinds = [str(kind) for kind in run.episodes.get("kinds") or map(kind_of, agents)]
    shapes = kinds_of(list(dict.fromkeys(kinds)))
    return embed(
        {
            "agents": agents,
            "short": [short_name(name) for name in agents],
            "shapes": [shapes.get(kind_of(kind), "circle") for kind in kinds],
            "size": run.episodes.get("size"),
            "vision": run.episodes.get("vision"),
            "episodes": [
                {key: e.get(key) for key in ("label", "scene", "attack", "defense", "seed", "success")}
                | {"steps": [_frame(frame) for frame in e["steps"]]}
                for e in run.episodes["episodes"]
            ],
        }
    )


def _frame(frame: dict[str, Any]) -> dict[str, Any]:
    """The data of a frame for the player; messages as short rows, since they dominate the page's size."""
    messages = [
        [m.get("sender"), m.get("receiver"), m.get("fate"), int(bool(m.get("accepted")))]
        for m in frame.get("messages") or []
    ]
    return {key: frame.get(key) for key in ("agents", "prey", "actions", "gates")} | {"messages": messages}


def _graphs(results: Results) -> tuple[dict[int, Any], list[str]]:
    rows = [row for row in results.rows(None, "none") if row.get("status") == "ok" and row.get("graph")]
    agents: list[Any] = next((row["agents"] for row in rows if row.get("agents")), [])
    return {row["seed"]: row["graph"] for row in rows}, [str(name) for name in agents]


def _gate_chart(results: Results) -> Chart | None:
    """Share of open gates by step of the episode: each seed, their mean, and the mean under the worst attack."""
    lines: list[Line] = []
    worst = undefended(results)[:1]
    for attack, label, style in [(None, "clean", "team"), *((a, "worst attack", "attacked") for a in worst)]:
        seeds = []
        for row in results.rows(attack, "none"):
            shares = [number(x) for x in row.get("gate_by_step") or []]
            if row.get("status") == "ok" and any(math.isfinite(x) for x in shares):
                last = max(i for i, x in enumerate(shares) if math.isfinite(x)) + 1
                seeds.append(Line("", style, [float(i) for i in range(1, last + 1)], shares[:last], faint=True))
        if seeds:
            lines += [*(seeds if attack is None and len(seeds) > 1 else []), mean_line(label, style, seeds)]
    return chart("Share of open gates by step of the episode", "step", lines, (0.0, 1.0))


def _traffic(results: Results) -> list[tuple[str, str]]:
    """Message statistics of the team without attacks."""
    found = [
        ("share of open gates, all steps", percent(results.estimate(results.scores(None, key="gate_open")).value)),
        (
            "messages per step, whole team",
            fixed(results.estimate(results.scores(None, key="messages_per_step")).value, 2),
        ),
        ("bytes per step on the wire", fixed(results.estimate(results.scores(None, key="bytes_per_step")).value, 0)),
    ]
    return [(name, value) for name, value in found if value != "\N{EM DASH}"]


def _training(run: RunData) -> str:
    """Training time as a sentence; empty if it was not recorded."""
    seconds = [number(curve.rows[-1].get("seconds")) for curve in run.curves]
    steps = [number(curve.rows[-1].get("env_steps")) for curve in run.curves]
    known = [(s, n) for s, n in zip(seconds, steps, strict=True) if math.isfinite(s) and math.isfinite(n)]
    if not known:
        return ""
    mean_seconds, mean_steps = (sum(x) / len(known) for x in zip(*known, strict=True))
    rate = f", {mean_steps / mean_seconds:,.0f} environment steps per second" if mean_seconds > 0 else ""
    return f"Training took {mean_seconds:,.0f} s per team on average ({mean_steps:,.0f} environment steps{rate})."


def _made(run: RunData, results: Results) -> list[tuple[str, str]]:
    """The methods of the run, as pairs of a name and a value."""
    versions: dict[str, dict[str, None]] = {}
    for row in run.cells:
        for name, version in (row.get("versions") or {}).items():
            versions.setdefault(str(name), {})[str(version)] = None
    times = sorted(str(row["time"]) for row in run.cells if row.get("time"))
    episodes = sorted({int(row["episodes"]) for row in run.cells if row.get("episodes")})
    draws = sorted({str(row["episode_seed"]) for row in run.cells if row.get("episode_seed") is not None})
    silent = [row for row in run.cells if row["variant"] == "control"]
    controls = sorted({row["seed"] for row in silent})
    decisions = sorted({str(row.get("decisions") or "greedy") for row in run.cells})
    facts = [
        ("Teams", f"seeds {', '.join(map(str, results.seeds)) or 'none'}"),
        ("Retrained without messages", f"seeds {', '.join(map(str, controls)) or 'none'}"),
        (
            "Decisions",
            f"{' and '.join(decisions)}; the value of communication is the smaller of two: teams with and without"
            " messages both greedy, or both with sampled actions",
        ),
        ("Cells", f"{len(run.cells)} evaluated, {len(results.failed)} failed"),
        ("Episodes per cell", ", ".join(f"{n:,}" for n in episodes) or "\N{EM DASH}"),
        ("Seed of the episodes", f"{', '.join(draws) or '?'}{'; the same for every cell' if len(draws) == 1 else ''}"),
        (
            "Intervals",
            f"{LEVEL:.0%} percentile bootstrap over 3 or more training seeds, {RESAMPLES:,} resamples, paired by seed",
        ),
        ("Evaluated", " to ".join(dict.fromkeys((times[0], times[-1]))) if times else "\N{EM DASH}"),
        ("Versions", ", ".join(f"{name} {' / '.join(found)}" for name, found in versions.items()) or "\N{EM DASH}"),
    ]
    return facts
