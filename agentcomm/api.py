"""The Python API: train, evaluate, rerun, messages; report, pictures, compare and export are in ``reports.py``."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentcomm.base.devices import device_of
from agentcomm.base.errors import ConfigError, together
from agentcomm.base.files import writing
from agentcomm.base.inputs import looking_in
from agentcomm.base.registry import Axis
from agentcomm.base.text import shorten
from agentcomm.certifying import certify as certify
from agentcomm.checking import check_used, refusal
from agentcomm.evaluators import check_jobs, evaluator_for
from agentcomm.progress import evaluation_bar, training_bar
from agentcomm.reports import compare as compare
from agentcomm.reports import export as export
from agentcomm.reports import pictures as pictures
from agentcomm.reports import report as report
from agentcomm.reruns import rerun as rerun
from agentcomm.runs import config as configs
from agentcomm.runs.assembly import check_training
from agentcomm.runs.choices import as_yaml
from agentcomm.runs.conditions import Conditions
from agentcomm.runs.config import RunConfig
from agentcomm.runs.folder import Run, claim
from agentcomm.runs.foreign import from_callable as from_callable
from agentcomm.runs.given import Given, attacks_of, choice_of, conditions_of, group_of, groups_of, run_of

if TYPE_CHECKING:
    from agentcomm.evaluation.cells import Cell, Group
    from agentcomm.training.trainer import Watcher

# The run's own conditions only.
ONE_CELL: dict[str, Any] = {"environments": (), "gates": (), "transports": ()}


def train(
    config: str | Path | RunConfig | dict[str, Any],
    overrides: Iterable[str] = (),
    root: str | Path = "runs",
    resume: bool = False,
    watcher: Watcher | None = None,
    trust: bool = False,
    progress: bool | None = None,
    jobs: int = 1,
    address: str | None = None,
) -> Run:
    """Train all teams of a config.

    Args:
        config: A YAML file (``agentcomm init`` writes one), nested dicts, or a validated config.
        overrides: Overrides ``dotted.key=value`` of the config, such as ``["seeds=[0,1]", "training.env_steps=1e6"]``.
        root: Folder that contains the run folders.
        resume: Whether to resume an existing run.
        watcher: Notified of each team and each iteration, in place of the progress bar.
        trust: Whether to import the modules and read the files that a run's config names, whoever made it.
        progress: Whether to show a progress bar; by default, in a terminal or a notebook.
        jobs: Number of teams to train at the same time, each in a process of its own. Each process has
            ``training.threads``, or else its share of the cores; numbers depend on threads alone.
        address: Ray cluster on which to train them instead: ``"auto"``, or ``"host:port"``.

    Returns:
        The run, for :func:`evaluate` and :func:`report`.

    Raises:
        AgentcommError: If the config or the folder cannot be used.
        agentcomm.training.trainer.Stopped: After Ctrl-C or SIGTERM, once a checkpoint of every team at work is written.
    """
    words = [overrides] if isinstance(overrides, str) else list(overrides)
    check_jobs(jobs, address=address, what="teams are trained")
    checked = _config(config, words, trust).check()
    if not isinstance(root, str | os.PathLike):
        raise ConfigError(f"root is the path of a folder, not {shorten(root)}")
    from agentcomm.training.trainer import train as train_run

    check_used(checked, checked.attacks, checked.defenses, (checked.transport,))
    check_training(checked)
    if address is None:  # nodes of a cluster have devices of their own
        device_of(checked.training.device, "training.device")
    kept = "what was trained up to the last checkpoint is kept; resume with --resume"
    with (
        writing(Path(root) / checked.name, kept),
        claim(checked, Path(root), resume, trust) as run,
        training_bar(False if watcher is not None and progress is None else progress) as bar,
    ):
        train_run(run, watcher or bar, jobs, address)
    return run


def _config(config: Any, overrides: list[str], trust: bool) -> RunConfig:
    """A validated config.

    Raises:
        AgentcommError: If it cannot be used.
    """
    if isinstance(config, str | os.PathLike):
        return configs.load(Path(config), overrides, trust)
    if isinstance(config, RunConfig):
        if not overrides:
            return config
        config = config.model_dump(mode="json")
    if not isinstance(config, dict):
        raise ConfigError(
            "a config is the path of a YAML file, a dict such as {'name': 'mine', 'environment': 'predator_prey',"
            f" 'policy': 'ic3net'}}, or a RunConfig, not {shorten(config)}"
        )
    return configs.parse(configs.overridden(copy.deepcopy(config), overrides), "the config")


def evaluate(
    run: Run | str | Path,
    attacks: Given | Sequence[Given] | None = None,
    defenses: Given | Sequence[Given | Sequence[Given]] | None = None,
    conditions: Sequence[Conditions] | Mapping[str, Any] | None = None,
    watch: Callable[[Cell, float, int], None] | None = None,
    isolate: bool = False,
    trust: bool = False,
    progress: bool | None = None,
    jobs: int = 1,
    address: str | None = None,
    retry_failed: bool = False,
    adaptive: bool | None = None,
    keep_going: bool = False,
) -> list[dict[str, Any]]:
    """Evaluate trained teams under attacks and defenses, on common random numbers.

    Args:
        run: A run or its folder.
        attacks: Attacks, each evaluated by itself, such as ``["drop:probability=0.5", {"name": "noise"}]``, or
            registered classes; None for the config's, ``[]`` for no attack.
        defenses: Defenses, each evaluated by itself, such as ``["clip", "authenticate+clip"]``, where ``+`` or a list
            inside the list joins defenses that act together; None for the config's.
        conditions: What the cells are evaluated under besides. A mapping replaces some of the keys of the config's
            ``evaluation``:

            - ``environments``: environment overrides, evaluated without attacks: ``[{"failure": 0.05}]``
            - ``gates``: ``["open", "closed", "random"]``, evaluated without attacks
            - ``transports``: channels and codecs besides those of training, crossed with attacks and defenses:
              ``[{"channels": ["loss:probability=0.2"], "codec": "int8"}]``
            - ``decisions``: ``"greedy"`` or ``"sampled"`` actions
            - ``obedience``: probability that members obey directives (attack ``directive``), from 0 to 1
            - ``device``: such as ``"cuda:0"``

            None for the config's. A list of :class:`agentcomm.runs.conditions.Conditions` is taken as it is.
        watch: In place of the progress bar. Called before each cell, and about every second within one that takes
            longer, with the cell, the number of finished cells (within a cell with the finished share of it) and the
            total.
        isolate: Whether to evaluate each cell in a process of its own, so that a plug-in cannot spoil another cell.
        trust: Whether to import the modules and read the files that the run names, whoever made it.
        progress: Whether to show a progress bar; by default, in a terminal or a notebook.
        jobs: Number of processes that evaluate cells at the same time; the rows do not depend on it.
        address: Ray cluster on which to evaluate them instead: ``"auto"``, or ``"host:port"``.
        retry_failed: Whether to evaluate failed cells again; otherwise, their rows are kept until what they depend on
            changes.
        adaptive: Whether to add, for each group of defenses, the attacks that are aimed at them (``Defense.adaptive``)
            and fit the team; their rows have ``adaptive`` set. None for the config's.
        keep_going: Whether a plug-in of another distribution that fails its quick conformance check only marks its
            cells as failed; otherwise, none is evaluated.

    Returns:
        One row per cell, as in ``cells.jsonl``.

    Raises:
        AgentcommError: If no team is trained, a plug-in does not fit the team, or conditions have no effect on it.
    """
    run = run_of(run, trust)
    settings = run.config.evaluation
    chosen: dict[str, Any] = {}
    together(
        lambda: chosen.update(attacks=settings.attacks if attacks is None else _adopted(run, attacks_of(attacks))),
        lambda: chosen.update(defenses=settings.defenses if defenses is None else _groups(run, defenses)),
        lambda: chosen.update(conditions=_grid(conditions, run.config)),
        lambda: check_jobs(jobs, isolate, address),
    )
    kept = "finished cells are kept; repeat the command to evaluate the rest"
    with (
        looking_in(run.places()),
        writing(run.path, kept),
        evaluation_bar(False if watch is not None and progress is None else progress) as bar,
    ):
        from agentcomm.evaluation.grid import evaluate as evaluate_grid

        if not isolate and not keep_going:
            grouped = [defense for group in chosen["defenses"] for defense in group]
            check_used(run.config, chosen["attacks"], grouped, [under.transport for under in chosen["conditions"]])
        shown = watch or bar or (lambda cell, done, total: None)
        evaluator = evaluator_for(run, jobs, isolate, address, check="agentcomm.checking:check_used")
        aimed = settings.adaptive if adaptive is None else adaptive
        more: dict[str, Any] = {"retry_failed": retry_failed, "adaptive": aimed}
        if keep_going:
            more["refuse"] = partial(refusal, run.config, {})
        return evaluate_grid(run, **chosen, watch=shown, evaluator=evaluator, **more)


def _adopted(run: Run, group: Group, axis: Axis = "attack") -> Group:
    """Plug-ins whose files are found from the run's folder as well."""
    return tuple(run.adopt(axis, choice) for choice in group)


def _groups(run: Run, given: Any) -> tuple[Group, ...]:
    return tuple(_adopted(run, group, "defense") for group in groups_of(given))


def _expanded(given: Any, config: RunConfig) -> list[Conditions]:
    """All conditions of a grid."""
    found = conditions_of(given, config.evaluation)
    return found if isinstance(found, list) else found.expand(config.transport)


def _grid(given: Any, config: RunConfig) -> list[Conditions]:
    """All conditions of a grid, checked.

    Raises:
        AgentcommError: If some are invalid, or a given environment is the one of training; the text names all mistakes.
    """
    keys = given if isinstance(given, Mapping) else {}
    together(*(partial(_checked, {key: value}, config) for key, value in keys.items()))
    return _checked(given, config)


def _checked(given: Any, config: RunConfig) -> list[Conditions]:
    """See :func:`_grid`; keys that cannot be read hide other mistakes."""
    found = _expanded(given, config)
    together(*(partial(under.check, config.environment) for under in found))
    changed = found if isinstance(given, Mapping) and "environments" in given else ()
    together(*(partial(_check_changes, under, config) for under in changed))
    return found


def _check_changes(under: Conditions, config: RunConfig) -> None:
    if under.environment and not under.canonical(config.environment).environment:
        raise ConfigError(f"environments: {as_yaml(under.environment)} is how the team was trained; leave it out")


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

    run = run_of(run, trust)
    config = run.config
    cell: dict[str, Any] = {}
    together(
        lambda: cell.update(attack=None if attack is None else run.adopt("attack", choice_of("attack", attack))),
        lambda: cell.update(defenses=() if defense is None else _adopted(run, group_of(defense), "defense")),
        lambda: cell.update(conditions=_one(conditions, config)),
        lambda: _whole(episode, "episode"),
        lambda: _whole(config.seeds[0] if seed is None else seed, "seed"),
    )
    chosen = Cell(
        "team",
        config.seeds[0] if seed is None else seed,
        cell["attack"],
        cell["defenses"],
        config.evaluation.episodes,
        config.evaluation.seed,
        cell["conditions"],
    )
    with looking_in(run.places()):
        return trace_messages(run, chosen.canonical(config.environment), episode)


def _one(conditions: Any, config: RunConfig) -> Conditions:
    """The conditions of one cell.

    Raises:
        AgentcommError: If they are invalid, or those of several cells.
    """
    if conditions is None or isinstance(conditions, Mapping):
        conditions = ONE_CELL | dict(conditions or {})
    usual, *others = _expanded(conditions, config)
    if len(others) > 1:
        named = "; ".join(under.label(config.transport) for under in others)
        raise ConfigError(f"these are the conditions of several cells ({named}); give those of one cell")
    found = others[0] if others else usual
    found.check(config.environment)
    return found


def _whole(value: Any, what: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{what}: must be a whole number (got {shorten(value)})")
