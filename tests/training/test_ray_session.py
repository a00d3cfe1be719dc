"""Ray starts quietly or says why not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import ray

from agentcomm.base.errors import RayError
from agentcomm.training.ray_session import ray_session


def test_ray_that_does_not_start_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard error is the screen's again, too."""

    def fail(**_: object) -> None:
        raise Exception("The current node timed out during startup.\nLong story")

    monkeypatch.setattr(ray, "init", fail)
    before = os.fstat(2)
    says = r"did not start \(The current node timed out during startup.\).*--resume"
    with pytest.raises(RayError, match=says), ray_session(tmp_path / "ray.log"):
        pass
    assert os.fstat(2).st_ino == before.st_ino
