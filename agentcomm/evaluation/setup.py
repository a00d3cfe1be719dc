"""Sets up a cell (team, worlds, message layer and adversary) and runs its episodes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import torch

from agentcomm.base.devices import device_of
from agentcomm.base.errors import HookError
from agentcomm.base.seeds import derive, fingerprint
from agentcomm.contracts.attack import RunAs
from agentcomm.contracts.outcome import Episodes
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.world import World
from agentcomm.evaluation.calibration import Clean, calibrate
from agentcomm.evaluation.cells import Cell
from agentcomm.evaluation.play import play
from agentcomm.evaluation.progress import CellProgress
from agentcomm.network.record import ExchangeRecord
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import make_comms, make_world, resize_team
from agentcomm.runs.folder import Run
from agentcomm.runs.policy_file import SavedPolicy
from agentcomm.step.comms import Comms
from agentcomm.step.loop import StepRecord

Episodic = dict[str, Episodes]  # episodes that were run, by the id of their cell


def load_team(run: Run, cell: Cell) -> SavedPolicy:
    """The cell's team, on its device.

    Raises:
        ConfigError: If the device is not available.
        CheckpointError: If the team's policy is missing or damaged.
    """
    device = device_of(cell.conditions.device, "device")
    return policy_file.load(run.policy(cell.variant, cell.seed), str(device))


@contextmanager
def prepare(
    cell: Cell, saved: SavedPolicy, num_worlds: int, run_as: RunAs = "attack"
) -> Iterator[tuple[World, CommPolicy, Comms]]:
    """The cell's worlds, its policy adapted to them, and its message layer with the adversary; closes all.

    Args:
        cell: The cell.
        saved: The team.
        num_worlds: B.
        run_as: What the attack runs as.
    """
    under, policy = cell.conditions, saved.policy
    with closing(make_world(saved.environment.changed(under.environment), num_worlds, under.device)) as world:
        if under.environment:
            policy = copy.deepcopy(policy)
            with closing(make_world(saved.environment, 1, under.device)) as trained:
                resize_team(policy, trained, world)
        seed = derive(cell.episode_seed, "network", cell.seed, cell.attack_label)
        attacks = [] if cell.attack is None else [cell.attack.changed({} if run_as == "attack" else {"run_as": run_as})]
        # Seeds of keys and of guards' draws depend on the weights, so that public seeds are not enough to compute them.
        secret = derive(seed, fingerprint(saved.policy))
        with closing(make_comms(world, policy, attacks, cell.defenses, seed, under.transport, secret)) as comms:
            yield world, policy, comms


def gate_probability(
    cell: Cell, saved: SavedPolicy, before: Episodic, progress: CellProgress | None = None
) -> float | None:
    """The probability that controlled gates are open; None if the policy controls the gates.

    Random gates open as often as in the same cell without gate control, whose episodes are run for that. So a cell
    depends on no other cell, and can be run again from its row alone.

    Args:
        cell: The cell.
        saved: Its team.
        before: As for :func:`episodes_of`.
        progress: Told about each step.
    """
    if cell.conditions.gates != "random":
        return {None: None, "open": 1.0, "closed": 0.0}[cell.conditions.gates]
    return episodes_of(without_control(cell), saved, before, progress=progress).gate_open


def without_control(cell: Cell) -> Cell:
    """The same cell with gates that the policy controls."""
    return replace(cell, conditions=cell.conditions.model_copy(update={"gates": None}))


def episodes_of(
    cell: Cell, saved: SavedPolicy, before: Episodic, gates: float | None = None, progress: CellProgress | None = None
) -> Episodes:
    """The episodes of a cell on which another one depends.

    Args:
        cell: The cell.
        saved: Its team.
        before: Episodes that were run before; those of the cell are added if they are missing.
        gates: From :func:`gate_probability`.
        progress: Told about each step.
    """
    if cell.id not in before:
        with prepare(cell, saved, cell.episodes) as parts:
            before[cell.id] = run_cell(cell, *parts, gates, progress=progress)
    return before[cell.id]


def run_cell(
    cell: Cell,
    world: World,
    policy: CommPolicy,
    comms: Comms,
    gates: float | None = None,
    record: int = 0,
    watch: Callable[[list[ExchangeRecord]], None] | None = None,
    follow: Callable[[StepRecord], None] | None = None,
    progress: CellProgress | None = None,
) -> Episodes:
    """Calibrate a cell's defenses, and run its episodes, one per world; see :func:`agentcomm.evaluation.play.play`.

    Args:
        cell: The cell.
        world: From :func:`prepare`.
        policy: From :func:`prepare`.
        comms: From :func:`prepare`.
        gates: From :func:`gate_probability`.
        record: Number of worlds to record frame by frame.
        watch: Called after each step with the records of its exchanges.
        follow: Called after each step with its record, including facts.
        progress: Told about each step.

    Raises:
        HookError: If the weights of the policy changed.
    """
    sampled, weights = cell.conditions.decisions == "sampled", fingerprint(policy)
    clean = Clean(
        world, policy, cell.conditions.transport, sampled, gates, derive(cell.episode_seed, "clean", cell.seed)
    )
    calibrate(comms.network.defenses, clean)
    generator = None
    if sampled:
        generator = torch.Generator(world.device).manual_seed(derive(cell.episode_seed, "decisions", cell.seed))
    episodes = play(
        world,
        policy,
        comms,
        cell.episode_seed,
        generator=generator,
        gates=gates,
        record=record,
        watch=watch,
        follow=follow,
        obedience=cell.conditions.obedience,
        progress=None if progress is None else progress.episodes(world.max_steps),
    )
    if fingerprint(policy) != weights:
        raise HookError(
            "the policy's weights changed during the episodes: the code of a plug-in writes to them, so the numbers of"
            " this cell mean nothing; read that code, and evaluate the others again with --isolate"
        )
    return episodes
