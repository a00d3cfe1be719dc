"""Settings of the whole suite: one thread per process, Ray and the browser once at a time, helpers within reach."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentcomm.base import registry

# Test processes share the cores. Torch reads this when it is first imported, and so do commands that tests start.
os.environ["OMP_NUM_THREADS"] = "1"
# Python keeps the modules it compiled, and pytest the tests whose assertions it rewrote, whatever the user's settings
# are: else each run, and each process that a test starts, does that again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# No garbage is looked for while tests are collected, as what is made then stays.
gc.disable()
# The key that signs the runs of this user, away from the user's own settings.
SETTINGS = tempfile.TemporaryDirectory()
os.environ["XDG_CONFIG_HOME"] = SETTINGS.name
sys.path.insert(0, str(Path(__file__).parent))

ALONE = ("ray", "browser")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Group tests for ``pytest --dist loadgroup``: all that start Ray run in one process, and so do the browser's.

    The others run file by file, so that what the tests of a file share is made once.
    """
    if item.config.pluginmanager.hasplugin("xdist"):
        alone = next((name for name in ALONE if item.get_closest_marker(name)), item.path.name)
        item.add_marker(pytest.mark.xdist_group(alone))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Commands that start a Ray of their own run before the tests that share one: never are there two at a time.

    With ``pytest -n 2 --dist loadgroup --no-loadscope-reorder``, the groups that take minutes start first, then the
    files with many tests, so that no process works on alone at the end.
    """
    items.sort(key=lambda item: "ray" not in item.keywords or "ray_running" in getattr(item, "fixturenames", ()))
    if config.pluginmanager.hasplugin("xdist"):
        sizes = Counter(item.path for item in items)

        def place(item: pytest.Item) -> tuple[int, int]:
            alone = [name for name in ALONE if item.get_closest_marker(name)]
            return (ALONE.index(alone[0]), 0) if alone else (len(ALONE), -sizes[item.path])

        items.sort(key=place)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Look for garbage again, but neither among all that was made so far nor as often as Python does by default."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()


@pytest.fixture(scope="session")
def ray_running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One Ray for all tests that train in this process. Value: its log."""
    from agentcomm.training.ray_session import ray_session  # not before it is needed: it takes seconds

    log = tmp_path_factory.mktemp("ray") / "ray.log"
    with ray_session(log, runners=3):
        yield log


@pytest.fixture(autouse=True)
def _plugins_of_one_test() -> Iterator[None]:
    """Plug-ins that a test registers are gone after it."""
    before = dict(registry._registered)
    yield
    registry._registered.clear()
    registry._registered.update(before)
