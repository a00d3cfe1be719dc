"""Progress in MLflow; needs ``pip install 'agentcomm[mlflow]'``.

It goes to ``mlflow.db`` in the run's folder, unless the user sets ``MLFLOW_TRACKING_URI``.
"""

from __future__ import annotations

import logging
import os
import time
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow is imported

# Drivers of the database: imported here, so that it is known before training whether they are installed.
import alembic  # noqa: F401
import sqlalchemy  # noqa: F401
from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

from agentcomm.contracts.logger import LoggedTeam, Logger, Numbers

TAG = "agentcomm.identity"
MOST_PARAMETERS = 100  # MLflow takes no more at once
LONGEST = 6000  # characters of a parameter's value

for name in ("mlflow", "alembic"):  # that tables are made is no news to users
    logging.getLogger(name).setLevel(logging.WARNING)


class MLflowLogger(Logger):
    """A run of MLflow per team, in an experiment with the name of the run."""

    def __init__(self, team: LoggedTeam) -> None:
        database = f"sqlite:///{team.run_folder.absolute() / 'mlflow.db'}"
        self._client: Any = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or database)
        experiment = self._client.get_experiment_by_name(team.run)
        number = self._client.create_experiment(team.run) if experiment is None else experiment.experiment_id
        found = self._client.search_runs([number], f"tags.`{TAG}` = '{team.identity}'") if team.resumed else []
        if found:
            self._continue(found[0], team)
        else:
            self._begin(number, team)

    def _begin(self, experiment: str, team: LoggedTeam) -> None:
        started = self._client.create_run(experiment, tags={TAG: team.identity}, run_name=team.name)
        self._id = started.info.run_id
        given = [Param(key, str(value)[:LONGEST]) for key, value in team.parameters.items()]
        for start in range(0, len(given), MOST_PARAMETERS):
            self._client.log_batch(self._id, params=given[start : start + MOST_PARAMETERS])

    def _continue(self, run: Any, team: LoggedTeam) -> None:
        """Continue a run. MLflow cannot change a parameter, so one with a new value becomes a tag."""
        self._id = run.info.run_id
        self._client.update_run(self._id, status="RUNNING")
        for key, value in team.parameters.items():
            if run.data.params.get(key) != str(value)[:LONGEST]:
                self._client.set_tag(self._id, f"resumed.{key}", str(value)[:LONGEST])
        steps = [point.step for point in self._client.get_metric_history(self._id, "iteration")]
        self.logged = max(steps, default=0)

    def write(self, row: Numbers) -> None:
        """Log a row at its env steps."""
        now, step = int(time.time() * 1000), int(row["env_steps"])
        if step > self.logged:  # a run that is resumed from a checkpoint repeats iterations
            self._client.log_batch(self._id, metrics=[Metric(key, float(v), now, step) for key, v in row.items()])

    def close(self, finished: bool) -> None:
        """Set the run's status."""
        self._client.set_terminated(self._id, "FINISHED" if finished else "KILLED")
