"""Loggers of training by name: the testbed's own, and those that installed packages announce.

A package announces a logger as an entry point in the group ``agentcomm.loggers``. It names a subclass of
:class:`agentcomm.contracts.logger.Logger`. A logger's module is imported when a run with it is trained.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from agentcomm.base.announced import load
from agentcomm.base.errors import PluginError

GROUP = "agentcomm.loggers"
OWN = {
    "csv": "agentcomm.training.csv_logger:CSVLogger",
    "mlflow": "agentcomm.training.mlflow_logger:MLflowLogger",
    "wandb": "agentcomm.training.wandb_logger:WandbLogger",
}


@cache
def _announced() -> dict[str, EntryPoint]:
    """Entry points by name; the testbed's own keep their names."""
    others = {point.name: point for point in entry_points(group=GROUP)}
    return others | {name: EntryPoint(name, value, GROUP) for name, value in OWN.items()}


def names() -> tuple[str, ...]:
    """Names of all loggers."""
    return tuple(sorted(_announced()))


def find(name: str) -> Any:
    """The logger class with this name.

    Raises:
        PluginError: If no package announces it, it needs a package that is not installed, or its module cannot be
            imported.
    """
    try:
        return load("logger", name, _announced())
    except PluginError as error:
        missing = error.__cause__
        if name not in OWN or not isinstance(missing, ModuleNotFoundError):
            raise
        raise PluginError(
            f"logger {name!r} needs the package {missing.name!r}, which is not installed;"
            f" install it with: pip install 'agentcomm[{name}]'"
        ) from missing
