"""The loggers of a team in training, told of each iteration; what they missed is told first.

``progress.jsonl`` is what they read, so a log that a killed process left behind is completed when training is resumed.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from agentcomm.base import loggers, registry
from agentcomm.base.documents import read_rows
from agentcomm.base.errors import PluginError, together
from agentcomm.base.files import write_text
from agentcomm.base.source import code_hash, core_hash
from agentcomm.base.versions import versions
from agentcomm.contracts.logger import LoggedTeam, Logger, Value
from agentcomm.evaluation.provenance import code
from agentcomm.runs.config import Variant
from agentcomm.runs.folder import Run, team_name
from agentcomm.runs.rows import ProgressRow
from agentcomm.training import checkpoint

IDENTITIES = "loggers.json"  # in a team's folder: its identity in each log


def check(names: Iterable[str]) -> None:
    """Import loggers, before anything is trained.

    Raises:
        PluginError: If one is unknown or cannot be imported; :class:`SeveralErrors` if several are.
    """
    together(*(partial(_check, name) for name in names))


def _check(name: str) -> None:
    try:
        loggers.find(name)
    except PluginError as error:
        raise PluginError(f"training.loggers: {error}, or leave {name!r} out of training.loggers") from error


class Loggers:
    """All loggers of a team. They are opened by the first iteration.

    Args:
        run: The run.
        variant: Variant of the team.
        seed: Its training seed.
    """

    def __init__(self, run: Run, variant: Variant, seed: int) -> None:
        self._run, self._variant, self._seed = run, variant, seed
        self._folder = run.team(variant, seed)
        self._open: list[Logger] | None = None
        self._done = 0

    def write(self, row: Mapping[str, Any]) -> None:
        """Log an iteration whose row is in the team's progress already."""
        self._done = row["env_steps"]
        if self._open is None:
            self._open = []
            self._begin()
            return
        for logger in self._open:
            logger.write(_numbers(row))

    def close(self) -> None:
        """Close all that were opened."""
        finished = self._done >= self._run.config.training.env_steps
        for logger in self._open or ():
            logger.close(finished)

    def _begin(self) -> None:
        """Open all loggers, and log what they do not have."""
        names = self._run.config.training.loggers
        if not names:
            return
        rows, _ = read_rows(self._folder / checkpoint.PROGRESS, ProgressRow, "progress")
        known = self._identities() if len(rows) > 1 else {}  # one row: training has just started
        identities = known | {name: secrets.token_hex(8) for name in names if name not in known}
        write_text(self._folder / IDENTITIES, json.dumps(identities) + "\n")
        about = parameters(self._run, self._variant, self._seed)
        for name in names:
            logger = loggers.find(name)(self._team(identities[name], name in known, about))
            assert self._open is not None
            self._open.append(logger)
            for row in rows:
                if row["env_steps"] > logger.logged:
                    logger.write(_numbers(row))

    def _team(self, identity: str, resumed: bool, about: dict[str, Value]) -> LoggedTeam:
        name = team_name(self._variant, self._seed)
        return LoggedTeam(self._run.config.name, name, self._run.path, self._folder, identity, resumed, about)

    def _identities(self) -> dict[str, str]:
        """Identities of the team in the logs that it has; what is damaged counts as missing."""
        try:
            found = json.loads((self._folder / IDENTITIES).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def parameters(run: Run, variant: Variant, seed: int) -> dict[str, Value]:
    """What a team's training depends on: the config with dotted keys, hashes, versions, variant and seed."""
    config = run.config
    plugins = {
        "hash.environment": code_hash(registry.find("environment", config.environment.name)),
        "hash.policy": code_hash(registry.find("policy", config.policy.name)),
    }
    made = {"hash.agentcomm": core_hash(), **{f"hash.{key}": value for key, value in code(config).items()}}
    told = {f"version.{package}": version for package, version in versions().items()}
    return {"variant": variant, "seed": seed, **dict(_flat(config.model_dump(mode="json"))), **made, **plugins, **told}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Value]]:
    """Values with dotted keys; lists as JSON."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, json.dumps(value) if isinstance(value, list) else value


def _numbers(row: Mapping[str, Any]) -> dict[str, int | float]:
    """The numbers of a row of progress, but for the format of its file."""
    return {k: v for k, v in row.items() if isinstance(v, int | float) and k != "format"}
