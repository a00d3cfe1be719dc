"""The Python API: train, evaluate, report. Each call is one command of the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from agentcomm import config as configs
from agentcomm.config import Choice, Decisions, EvaluationConfig, GateControlName, PathChoice, RunConfig
from agentcomm.errors import ConfigError, explain
from agentcomm.run import Run, create, open_run

if TYPE_CHECKING:
    from agentcomm.evaluation.grid import Cell
    from agentcomm.training.trainer import Watcher

# A plug-in: "name", "name:key=value", {"name": ..., key: value}, or a Choice.
Given = str | Choice | dict[str, Any]


def train(
    config: str | Path | RunConfig | dict[str, Any],
    overrides: Iterable[str] = (),
    root: str | Path = "runs",
    resume: bool = False,
    watcher: Watcher | None = None,
) -> Run:
    """Train all teams of a config.

    Args:
        config: A YAML file, nested dicts, or a checked config.
        overrides: ``dotted.key=value`` texts, for a YAML file.
        root: Where run folders lie.
        resume: Go on with a run that is there.
        watcher: Sees training go on.

    Returns:
        The run, for :func:`evaluate` and :func:`report`.

    Raises:
        AgentcommError: If the config or the folder cannot be used.
        agentcomm.training.trainer.Stopped: After Ctrl-C; a checkpoint is written.
    """
    from agentcomm.training.trainer import train as train_run

    if isinstance(config, dict):
        config = configs.parse(config, "config")
    elif not isinstance(config, RunConfig):
        config = configs.load(config, overrides)
    run = create(config.check(), Path(root), resume)
    train_run(run, watcher)
    return run


def evaluate(
    run: Run | str | Path,
    attacks: Given | Sequence[Given] | None = None,
    defenses: Given | Sequence[Given | Sequence[Given]] | None = None,
    worlds: Sequence[dict[str, Any]] | None = None,
    gates: Sequence[GateControlName] | None = None,
    paths: Sequence[PathChoice | dict[str, Any]] | None = None,
    watch: Callable[[Cell, int, int], None] = lambda cell, done, total: None,
    decisions: Decisions | None = None,
    obedience: float | None = None,
) -> list[dict[str, Any]]:
    """Evaluate trained teams under attacks and defenses, on common random numbers.

    Args:
        run: A run or its folder.
        attacks: Such as ``"drop:probability=0.5"``; None takes the config's.
        defenses: Such as ``"authenticate"`` or ``"authenticate+clip"`` for both together; None takes the config's.
        worlds: Changes of the environment's arguments to play clean in, such as ``{"predators": 8}``; None takes the
            config's.
        gates: Of ``"open"``, ``"shut"`` and ``"random"`` (as often as the team's own); None takes the config's.
        paths: Other paths of messages (channels and codec), each with every attack and defense; None takes the
            config's.
        watch: Called before each cell with the cells done and their total.
        decisions: ``"greedy"`` or ``"sampled"``; None takes the config's.
        obedience: Chance that members do what a directive tells them, in all cells; None takes the config's.

    Returns:
        One row per cell, as in ``cells.jsonl``.

    Raises:
        AgentcommError: If nothing is trained or a plug-in does not fit.
    """
    from agentcomm.evaluation.grid import evaluate as evaluate_grid
    from agentcomm.evaluation.grid import record

    run = run if isinstance(run, Run) else open_run(run)
    settings = run.config.evaluation
    chosen_attacks = settings.attacks if attacks is None else [_choice(a) for a in _each(attacks)]
    chosen_defenses = settings.defenses
    if defenses is not None:
        groups = [defenses] if isinstance(defenses, str | Choice | dict) else defenses
        chosen_defenses = tuple(_group(group) for group in groups)
    for attack in chosen_attacks:
        configs.build("attack", attack)
    for defense in (d for group in chosen_defenses for d in group):
        configs.build("defense", defense)
    chosen = settings.model_dump(exclude={"attacks", "defenses"})
    chosen |= {"worlds": worlds} if worlds is not None else {}
    chosen |= {"gates": gates} if gates is not None else {}
    chosen |= {"paths": paths} if paths is not None else {}
    chosen |= {"decisions": decisions} if decisions is not None else {}
    chosen |= {"obedience": obedience} if obedience is not None else {}
    try:
        grid = EvaluationConfig.model_validate(chosen | {"attacks": chosen_attacks, "defenses": chosen_defenses})
    except ValidationError as error:
        raise ConfigError(explain(error, "evaluation")) from None
    for changes in grid.worlds:
        configs.build("environment", run.config.environment.changed(changes))
    for path in grid.paths:
        path.check()
    rows = evaluate_grid(run, grid, watch)
    failed = {row["id"] for row in rows if row["status"] == "failed"}
    record(run, chosen_attacks, chosen_defenses, settings.recordings, failed, grid.obedience)
    return rows


def messages(
    run: Run | str | Path,
    episode: int = 0,
    seed: int | None = None,
    attack: Given | None = None,
    defense: Given | Sequence[Given] | None = None,
    path: PathChoice | None = None,
) -> list[dict[str, Any]]:
    """Every message of one evaluated episode, which is played again for that.

    Args:
        run: A run or its folder.
        episode: Number of the episode.
        seed: Of the team; None for the first.
        attack: The cell's attack.
        defense: The cell's defenses.
        path: The cell's channels and codec, if not those of training.

    Returns:
        See :func:`agentcomm.evaluation.messages.messages`.

    Raises:
        AgentcommError: If the team is not trained, a plug-in does not fit, or there is no such episode.
    """
    from agentcomm.evaluation.messages import cell_of
    from agentcomm.evaluation.messages import messages as write_down

    run = run if isinstance(run, Run) else open_run(run)
    none = {"worlds": (), "gates": (), "recordings": 0}
    settings = run.config.evaluation.model_copy(
        update=none
        | {
            "attacks": () if attack is None else (_choice(attack),),
            "defenses": () if defense is None else (_group(defense),),
            "paths": () if path is None else (path,),
        }
    )
    return write_down(run, cell_of(run, settings, run.config.seeds[0] if seed is None else seed), episode)


def report(run: Run | str | Path) -> Path:
    """Write ``report.html`` and return its path.

    Raises:
        AgentcommError: If there is no such run, or no cell is evaluated yet.
    """
    from agentcomm.evaluation.report import build_report

    run = run if isinstance(run, Run) else open_run(run)
    return build_report(run.path)


def _choice(given: str | Choice | dict[str, Any]) -> Choice:
    if isinstance(given, str):
        return Choice.parse(given)
    return given if isinstance(given, Choice) else Choice.model_validate(given)


def _each(given: Given | Sequence[Given]) -> Sequence[Given]:
    """A single choice counts as a list of one."""
    return [given] if isinstance(given, str | Choice | dict) else given


def _group(given: Given | Sequence[Given]) -> tuple[Choice, ...]:
    parts = given.split("+") if isinstance(given, str) else _each(given)
    group = tuple(_choice(part) for part in parts)
    labels = [choice.label for choice in group]
    if len(set(labels)) < len(labels):
        raise ConfigError(f"{'+'.join(labels)} names a defense twice")
    return group
