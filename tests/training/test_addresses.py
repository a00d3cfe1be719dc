"""Addresses of Ray clusters: what is wrong with one is said at once."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from ray._private.utils import get_ray_address_file

from agentcomm.base.errors import ConfigError, RayError
from agentcomm.evaluators import check_jobs
from agentcomm.training import cluster


@pytest.mark.parametrize(
    "address", ["", "head", ":6379", "head:", "head:0", "head:65536", "http://head:6379", "ray://head:1"]
)
def test_another_form_is_refused_before_anything_runs(address: str) -> None:
    with pytest.raises(ConfigError, match="address: must be auto, or HOST:PORT such as"):
        check_jobs(1, address=address)


def test_nothing_listens_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert cluster.head_of(address) == address
    with pytest.raises(RayError, match=f"no Ray cluster answers at {address}.* leave out the address"):
        cluster.head_of(address)


def test_auto_is_the_cluster_of_this_machine_and_no_other_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(RayError, match="this machine belongs to no Ray cluster"):
        cluster.head_of("auto")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        left_by_ray_start = Path(get_ray_address_file(None))
        assert left_by_ray_start.is_relative_to(tmp_path)
        left_by_ray_start.parent.mkdir(parents=True, exist_ok=True)
        left_by_ray_start.write_text(address)
        assert cluster.head_of("auto") == address
        monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
        with pytest.raises(RayError, match=r"no Ray cluster answers at 127\.0\.0\.1:1 "):
            cluster.head_of("auto")
