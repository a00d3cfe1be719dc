"""Evaluates the grid of cells: attack x defense x conditions x seed, on common random numbers.

All cells share their episodes (the world's seed is the same), and an attack draws the same random numbers
whatever the defense. Finished cells are appended to ``cells.jsonl``, also those that failed; cells that are already
there are not evaluated again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

from agentcomm.base.errors import AgentcommError, RequirementError, together
from agentcomm.base.files import append_line
from agentcomm.base.log import event_log
from agentcomm.evaluation import provenance, stored
from agentcomm.evaluation.cells import Cell, Group, plan
from agentcomm.evaluation.fitting import check_conditions
from agentcomm.evaluation.identity import Identities, mark_stale
from agentcomm.evaluation.progress import CellProgress
from agentcomm.evaluation.provenance import one_thread
from agentcomm.evaluation.recordings import record
from agentcomm.evaluation.row import about, evaluate_cell, runs_of
from agentcomm.evaluation.schedule import Batch, Finished, Tally, Tell, Watch, batches
from agentcomm.evaluation.setup import Episodic, load_team, prepare
from agentcomm.runs.choices import Choice
from agentcomm.runs.conditions import Conditions
from agentcomm.runs.folder import Run
from agentcomm.runs.policy_file import SavedPolicy


class Evaluator:
    """Evaluates cells in this process; :mod:`agentcomm.evaluation.processes` does it in others.

    Args:
        run: The run.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.own = run, run.config.transport.canonical()
        self._team: tuple[object, SavedPolicy] | None = None  # the last one loaded
        self._clean_twins: Episodic = {}

    def misfits(self, cells: Sequence[Cell]) -> dict[str, str]:
        """Set up every cell once with a single world, to find errors before a long evaluation starts.

        Returns:
            Ids of the cells whose attack or defenses lack something under their conditions, but not under all, with the
            reason; and of those whose attack is only there since it is aimed at a defense, and does not fit the team.

        Raises:
            AgentcommError: If an attack or a group of defenses cannot be used under any of the conditions.
        """
        return _misfits(self.run, cells)

    def about(self, cell: Cell) -> dict[str, Any]:
        """The fields of a cell's row that are known before evaluation."""
        return about(cell, self._saved(cell), self.own)

    def row(self, cell: Cell, tell: Callable[[float], None] = lambda share: None) -> dict[str, Any]:
        """Evaluate a cell; an error in a plug-in marks it as failed.

        Args:
            cell: The cell.
            tell: Called about every second with the finished share of the cell.
        """
        progress = CellProgress(runs_of(cell, self._clean_twins), tell)
        return evaluate_cell(cell, self._saved(cell), self.run.config, self._clean_twins, progress)

    def rows(self, batches: Sequence[Batch], tell: Tell) -> Finished:
        """Evaluate batches of cells; each row as soon as it is there.

        Args:
            batches: From :func:`agentcomm.evaluation.schedule.batches`.
            tell: Called when a cell is begun, and about every second with its finished share.
        """
        for batch in batches:
            self._clean_twins.clear()  # no other batch has the same
            for cell in batch:
                tell(cell, 0)
                yield cell, self.row(cell, partial(tell, cell))

    def record(self, cells: Sequence[Cell]) -> None:
        """Record scenes of the cells for the player."""
        record(self.run, cells, self.run.config.evaluation.recordings)

    def _saved(self, cell: Cell) -> SavedPolicy:
        team = (cell.variant, cell.seed, cell.conditions.device)
        if self._team is None or self._team[0] != team:
            self._team = (team, load_team(self.run, cell))
        return self._team[1]


def evaluate(
    run: Run,
    attacks: Sequence[Choice],
    defenses: Sequence[Group],
    conditions: Sequence[Conditions],
    watch: Watch = lambda cell, done, total: None,
    evaluator: Evaluator | None = None,
    retry_failed: bool = False,
    adaptive: bool = False,
    refuse: Callable[[Cell], str | None] = lambda cell: None,
) -> list[dict[str, Any]]:
    """Evaluate every cell of the grid that is not in ``cells.jsonl`` yet, and record scenes for the player.

    Args:
        run: The run.
        attacks: Attacks, each evaluated by itself, besides no attack.
        defenses: Groups of defenses used together, besides no defense.
        conditions: Conditions of the cells.
        watch: Called before each cell, and about every second within one that takes longer, with the cell, the number
            of finished cells (with the finished shares of those under way) and the total.
        evaluator: Evaluates the cells; None to do so in this process.
        retry_failed: Whether to evaluate failed cells again, although nothing they depend on has changed.
        adaptive: Whether to add, for each group of defenses, the attacks that are aimed at them and fit the team.
        refuse: Why a cell is not to be evaluated; its row says that it failed, and why. None for cells that are.

    Returns:
        The rows of the whole grid, in order.

    Raises:
        AgentcommError: If no team is trained, or an attack or defense does not fit the team.
    """
    cells, evaluator = plan(run, attacks, defenses, conditions, adaptive), evaluator or Evaluator(run)
    with run.lock(), one_thread():
        identities = Identities(run)
        rows = stored.read(run)
        stale = mark_stale(run, rows, identities)
        log = event_log(run.events)
        for old, reason in stale.items():
            log.info("stale", id=old, reason=reason)
        refused = {cell.id: problem for cell in cells if (problem := refuse(cell)) is not None}
        sound = [cell for cell in cells if cell.id not in refused]
        for name, reason in (misfits := evaluator.misfits(sound) if sound else {}).items():
            log.warning("cell_skipped", id=name, reason=reason)
        cells = [cell for cell in cells if cell.id not in misfits]
        known = stored.current(stored.forget_failed(run, rows, cells) if retry_failed else rows)
        todo = [cell for cell in cells if cell.id not in known]
        tally, code = Tally(watch, len(cells)), provenance.code(run.config_before)
        for cell in cells:
            if cell.id in known:
                tally.tell(cell, 0)
                tally.finish(cell)
        with closing(_rows(evaluator, todo, refused, tally.tell)) as finished:
            for cell, row in finished:
                row["provenance"] |= code
                row |= {"identity": identities.of(cell), "replaces": stale.get(cell.id)}
                known[cell.id] = row
                append_line(run.cells, row)
                log.info("cell", id=cell.id, status=row["status"], seconds=row["seconds"])
                tally.finish(cell)
        stored.put_in_order(run, cells)
        evaluator.record([cell for cell in cells if known[cell.id]["status"] != "failed"])
    return [known[cell.id] for cell in cells]


def _rows(evaluator: Evaluator, cells: Sequence[Cell], refused: Mapping[str, str], tell: Tell) -> Finished:
    """The rows of refused cells, by id with the reason, and then those that are evaluated."""
    for cell in cells:
        if cell.id in refused:
            yield cell, evaluator.about(cell) | {"status": "failed", "error": refused[cell.id], "seconds": 0.0}
    yield from evaluator.rows(batches([cell for cell in cells if cell.id not in refused]), tell)


def _misfits(run: Run, cells: Sequence[Cell]) -> dict[str, str]:
    """See :meth:`Evaluator.misfits`."""
    variant, seed = run.trained()[0]
    kinds = [replace(cell, variant=variant, seed=seed) for cell in cells]
    teams: dict[str, SavedPolicy] = {}
    missing: dict[str, RequirementError] = {}
    for kind in {kind.id: kind for kind in kinds}.values():
        device = kind.conditions.device
        if device not in teams:
            teams[device] = load_team(run, kind)
        try:
            with prepare(kind, teams[device], 1):
                pass
        except RequirementError as error:
            missing[kind.id] = error
    able = {(kind.attack_label, kind.defense_label) for kind in kinds if kind.id not in missing}
    asked = {kind.attack_label for kind in kinds if not kind.defenses}  # the others are aimed at defenses
    never = [
        kind.id
        for kind in kinds
        if kind.id in missing and kind.attack_label in asked and (kind.attack_label, kind.defense_label) not in able
    ]
    together(
        lambda: check_conditions(cells, run.config, next(iter(teams.values())).policy),
        *(partial(_raise, missing[unable]) for unable in never),
    )
    return {c.id: str(missing[kind.id]) for c, kind in zip(cells, kinds, strict=True) if kind.id in missing}


def _raise(error: AgentcommError) -> None:
    raise error
