"""The Python API: train, evaluate, messages, report. Each function corresponds to a command."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentcomm.base.errors import ConfigError
from agentcomm.base.files import writing
from agentcomm.base.inputs import looking_in
from agentcomm.base.plugin import Plugin, foreign
from agentcomm.base.registry import Axis, find, names
from agentcomm.contracts.topology import TopologyChoice
from agentcomm.runs import config as configs
from agentcomm.runs.assembly import check_training
from agentcomm.runs.choices import Choice, TransportConfig, build
from agentcomm.runs.conditions import Conditions
from agentcomm.runs.config import RunConfig
from agentcomm.runs.folder import Run, claim, open_run, run_folder

if TYPE_CHECKING:
    from agentcomm.evaluation.cells import Cell
    from agentcomm.training.trainer import Watcher

# A plug-in: "name", "name:key=value", {"name": ..., key: value}, or a Choice.
Given = str | Choice | dict[str, Any]
# The run's own conditions only.
ONE_CELL: dict[str, Any] = {"environments": (), "gates": (), "transports": ()}


def train(
    config: str | Path | RunConfig | dict[str, Any],
    overrides: Iterable[str] = (),
    root: str | Path = "runs",
    resume: bool = False,
    watcher: Watcher | None = None,
    trust: bool = False,
) -> Run:
    """Train all teams of a config.

    Args:
        config: A YAML file, nested dicts, or a validated config.
        overrides: Overrides ``dotted.key=value`` of a YAML file.
        root: Folder that contains the run folders.
        resume: Whether to resume an existing run.
        watcher: Notified of each team and each iteration.
        trust: Whether to import the modules and read the files that a resumed run names, whoever made it.

    Returns:
        The run, for :func:`evaluate` and :func:`report`.

    Raises:
        AgentcommError: If the config or the folder cannot be used.
        agentcomm.training.trainer.Stopped: After Ctrl-C or SIGTERM, once a checkpoint is written.
    """
    from agentcomm.training.trainer import train as train_run

    if isinstance(config, dict):
        config = configs.parse(config, "config")
    elif not isinstance(config, RunConfig):
        config = configs.load(config, overrides, trust if resume else None)
    folder = Path(root) / config.name
    kept = "what was trained up to the last checkpoint is kept; resume with --resume"
    _check_foreign(config.check(), config.attacks, config.defenses, (config.transport,))
    check_training(config)
    with writing(folder, kept), claim(config, Path(root), resume, trust) as run:
        train_run(run, watcher)
    return run


def evaluate(
    run: Run | str | Path,
    attacks: Given | Sequence[Given] | None = None,
    defenses: Given | Sequence[Given | Sequence[Given]] | None = None,
    conditions: Sequence[Conditions] | Mapping[str, Any] | None = None,
    watch: Callable[[Cell, float, int], None] = lambda cell, done, total: None,
    isolate: bool = False,
    trust: bool = False,
) -> list[dict[str, Any]]:
    """Evaluate trained teams under attacks and defenses, on common random numbers.

    Args:
        run: A run or its folder.
        attacks: Attacks, such as ``"drop:probability=0.5"``; None for the config's.
        defenses: Defenses, such as ``"authenticate"``, or ``"authenticate+clip"`` for both together; None for the
            config's.
        conditions: Conditions of the cells; None for the config's. A mapping replaces some of the config's keys:
            ``{"gates": ["open"], "decisions": "sampled"}``.
        watch: Called before each cell, and about every second within one that takes longer, with the cell, the number
            of finished cells (within a cell with the finished share of it) and the total.
        isolate: Whether to evaluate each cell in a process of its own, so that a plug-in cannot spoil another cell.
        trust: Whether to import the modules and read the files that the run names, whoever made it.

    Returns:
        One row per cell, as in ``cells.jsonl``.

    Raises:
        AgentcommError: If no team is trained or a plug-in does not fit the team.
    """
    from agentcomm.evaluation.grid import evaluate as evaluate_grid

    run = run if isinstance(run, Run) else open_run(run, trust)
    settings = run.config.evaluation
    chosen_attacks = settings.attacks
    if attacks is not None:
        chosen_attacks = tuple(run.adopt("attack", _choice(a)) for a in _each(attacks))
    chosen_defenses = settings.defenses
    if defenses is not None:
        chosen_defenses = tuple(tuple(run.adopt("defense", d) for d in _group(group)) for group in _each(defenses))
    for attack in chosen_attacks:
        build("attack", attack)
    for defense in (d for group in chosen_defenses for d in group):
        build("defense", defense)
    if conditions is None or isinstance(conditions, Mapping):
        conditions = settings.changed(conditions or {}).expand(run.config.transport)
    for under in conditions:
        under.check(run.config.environment)
    grouped = tuple(defense for group in chosen_defenses for defense in group)
    kept = "finished cells are kept; repeat the command to evaluate the rest"
    with looking_in(run.places()), writing(run.path, kept):
        _check_foreign(run.config, chosen_attacks, grouped, tuple(under.transport for under in conditions))
        evaluator = None
        if isolate:
            from agentcomm.evaluation.isolate import Isolated

            evaluator = Isolated(run)
        return evaluate_grid(run, chosen_attacks, chosen_defenses, conditions, watch, evaluator)


def messages(
    run: Run | str | Path,
    episode: int = 0,
    seed: int | None = None,
    attack: Given | None = None,
    defense: Given | Sequence[Given] | None = None,
    conditions: Conditions | Mapping[str, Any] | None = None,
    trust: bool = False,
) -> list[dict[str, Any]]:
    """Replay an episode of a cell and return all its messages.

    Args:
        run: A run or its folder.
        episode: Index of the episode.
        seed: Training seed of the team; None for the first.
        attack: Attack of the cell.
        defense: Defenses of the cell.
        conditions: Conditions of the cell, or a mapping as for :func:`evaluate`; None for the run's own.
        trust: As for :func:`evaluate`.

    Returns:
        See :func:`agentcomm.evaluation.trace.messages`.

    Raises:
        AgentcommError: If the team is not trained, a plug-in does not fit, the episode does not exist, or the
            conditions are those of several cells.
    """
    from agentcomm.evaluation.cells import Cell
    from agentcomm.evaluation.trace import messages as trace_messages

    run = run if isinstance(run, Run) else open_run(run, trust)
    config = run.config
    if not isinstance(conditions, Conditions):
        usual, *others = config.evaluation.changed(ONE_CELL | dict(conditions or {})).expand(config.transport)
        if len(others) > 1:
            named = "; ".join(under.label(config.transport) for under in others)
            raise ConfigError(f"these are the conditions of several cells ({named}); give those of one cell")
        conditions = others[0] if others else usual
    conditions.check(config.environment)
    cell = Cell(
        "team",
        config.seeds[0] if seed is None else seed,
        None if attack is None else run.adopt("attack", _choice(attack)),
        () if defense is None else tuple(run.adopt("defense", choice) for choice in _group(defense)),
        config.evaluation.episodes,
        config.evaluation.seed,
        conditions,
    ).canonical(config.environment)
    with looking_in(run.places()):
        return trace_messages(run, cell, episode)


def report(run: Run | str | Path, output: str | Path | None = None) -> Path:
    """Write a run's report and return its path; nothing that the run names is imported.

    Args:
        run: A run or its folder.
        output: The file to write; None for ``report.html`` in the run's folder.

    Raises:
        AgentcommError: If the run does not exist, no cell has been evaluated, or the file cannot be written.
    """
    from agentcomm.report import build_report

    folder = run.path if isinstance(run, Run) else run_folder(run)
    return build_report(folder, None if output is None else Path(output))


def _check_foreign(
    config: RunConfig,
    attacks: Sequence[Choice],
    defenses: Sequence[Choice],
    transports: Sequence[TransportConfig],
) -> None:
    """Run the quick conformance checks of plug-ins from outside this distribution.

    Raises:
        AgentcommError: If one of them breaks its contract.
    """
    chosen: list[tuple[Axis, Choice]] = [("environment", config.environment), ("policy", config.policy)]
    chosen += [("attack", attack) for attack in attacks] + [("defense", defense) for defense in defenses]
    for transport in transports:
        chosen += [("channel", channel) for channel in transport.channels]
        chosen += [] if transport.codec is None else [("codec", transport.codec)]
    used = [find(axis, choice.name) for axis, choice in chosen] + [find("metric", name) for name in names("metric")]
    parts = [value for _, value in build("policy", config.policy)]
    used += [find("topology", part.name) for part in parts if isinstance(part, TopologyChoice)]
    if not any(map(foreign, used)):
        return  # importing the checks takes longer than deciding that none is needed
    from agentcomm.conformance.quick import check_foreign

    check_foreign(config.environment, config.policy, attacks, defenses, transports)


def _choice(given: Given) -> Choice:
    if isinstance(given, str):
        return Choice.parse(given)
    if isinstance(given, Choice):
        return given
    if isinstance(given, dict) and isinstance(given.get("name"), str):
        return Choice.model_validate(given)
    forms = "a name, such as 'drop' or 'drop:probability=0.5', or a dict such as {'name': 'drop', 'probability': 0.5}"
    hint = ""
    if isinstance(given, type) and issubclass(given, Plugin):
        hint = f"; give {given.__name__} by its name, {given.name!r}, once it is registered with @register(...)"
    raise ConfigError(f"attacks and defenses are given as {forms}; not {given!r}{hint}")


def _each(given: Any) -> list[Any]:
    """A sequence of choices; a single choice becomes a list of one."""
    several = isinstance(given, Iterable) and not isinstance(given, str | Choice | dict | type)
    return list(given) if several else [given]


def _group(given: Given | Sequence[Given]) -> tuple[Choice, ...]:
    parts = given.split("+") if isinstance(given, str) else _each(given)
    group = tuple(_choice(part) for part in parts)
    labels = [choice.label for choice in group]
    if len(set(labels)) < len(labels):
        raise ConfigError(f"{'+'.join(labels)} contains a defense twice")
    return group
