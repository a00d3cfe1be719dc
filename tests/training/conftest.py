"""One Ray for all tests that need it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agentcomm.training.ray_session import ray_session


@pytest.fixture(scope="session")
def ray_running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    log = tmp_path_factory.mktemp("ray") / "ray.log"
    with ray_session(log, runners=3):
        yield log
