"""Plug-ins are found by name, and what goes wrong is said in words that help."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import agentcomm.channels
import agentcomm.codecs
import agentcomm.defenses
import attacks
import envs
import policies
from agentcomm import registry
from agentcomm.contracts.attack import Attack
from agentcomm.defense import Defense
from agentcomm.errors import ConfigError, PluginError
from agentcomm.messages.channel import Channel
from agentcomm.messages.codec import Codec
from agentcomm.plugin import Plugin, PluginConfig
from agentcomm.policy import CommPolicy
from agentcomm.world import World

FOLDERS: dict[registry.Axis, Any] = {
    "environment": envs,
    "policy": policies,
    "attack": attacks,
    "defense": agentcomm.defenses,
    "channel": agentcomm.channels,
    "codec": agentcomm.codecs,
}


@pytest.fixture
def _clean_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})


def announced() -> list[tuple[registry.Axis, str]]:
    return [(axis, name) for axis in registry.AXES for name in registry.names(axis)]


# Everything else can be had without arguments.
REQUIRED = {
    ("attack", "learned"): {"untrained": True},
    ("attack", "mask"): {"untrained": True},
    ("channel", "trace"): {"file": "trace.csv"},
}


@pytest.mark.parametrize(("axis", "name"), announced())
def test_registered_names_are_the_plugins_own(axis: registry.Axis, name: str) -> None:
    plugin = registry.find(axis, name)
    assert plugin.name == name
    assert plugin.version
    assert issubclass(plugin.Config, PluginConfig)
    assert isinstance(registry.build_config(axis, name, REQUIRED.get((axis, name), {})), plugin.Config)


BASES: dict[registry.Axis, type[Plugin]] = {
    "environment": World,
    "policy": CommPolicy,
    "attack": Attack,
    "defense": Defense,
    "channel": Channel,
    "codec": Codec,
}


@pytest.mark.parametrize("axis", BASES)
def test_everything_in_the_tree_is_announced(axis: registry.Axis) -> None:
    """Every public class of an axis in its folder that no other class derives from."""
    package = FOLDERS[axis]
    modules = [info.name for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    classes = {c for name in modules for c in vars(importlib.import_module(name)).values() if isinstance(c, type)}
    found = {c for c in classes if issubclass(c, BASES[axis]) and c.__module__ in modules and c.__name__[0] != "_"}
    leaves = {c for c in found if not any(other is not c and issubclass(other, c) for other in found)}
    assert leaves <= {registry.find(axis, name) for name in registry.names(axis)}
    assert leaves, "the search finds something"


# ---- what cannot be found


@pytest.mark.parametrize(
    ("axis", "name", "says"),
    [
        ("attack", "nois", "unknown attack 'nois'; did you mean 'noise'?"),
        ("attack", "impersonat", "did you mean 'impersonate'?"),
        ("policy", "comformer", "did you mean 'commformer'?"),
        ("environment", "predator", "unknown environment 'predator'; .*predator_prey"),
        ("defense", "xyz", "unknown defense 'xyz'; known: authenticate, clip, codeword"),
        ("defense", "noise", "unknown defense 'noise'"),
        ("channel", "lossy", "unknown channel 'lossy'; did you mean 'loss'?"),
    ],
)
def test_unknown_names_come_with_suggestions(axis: registry.Axis, name: str, says: str) -> None:
    for lookup in (lambda: registry.find(axis, name), lambda: registry.build_config(axis, name, {})):
        with pytest.raises(PluginError, match=says):
            lookup()


@pytest.mark.usefixtures("_clean_registry")
def test_a_script_can_register_a_plugin() -> None:
    @registry.register("attack", "mine")
    class Mine(Plugin):
        name = "mine"

    assert registry.find("attack", "mine") is Mine
    assert "mine" in registry.names("attack")
    assert "mine" not in registry.names("defense")
    assert registry.register("attack", "mine")(Mine) is Mine, "again the same: a notebook cell run twice"


@pytest.mark.usefixtures("_clean_registry")
def test_names_are_taken_once() -> None:
    registry.register("attack", "mine")(type("First", (Plugin,), {}))
    with pytest.raises(PluginError, match=r"attack 'mine' is already registered by .*; choose another name"):
        registry.register("attack", "mine")(type("Second", (Plugin,), {}))
    with pytest.raises(PluginError, match="attack 'noise' is already announced by an installed package"):
        registry.register("attack", "noise")(type("Third", (Plugin,), {}))
    registry.register("defense", "noise")(type("Fourth", (Plugin,), {}))


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import nowhere_to_be_found", "cannot be imported: No module named 'nowhere_to_be_found'"),
        ("Plug = 3", "is not an agentcomm plug-in class"),
        ("class Plug: pass", "is not an agentcomm plug-in class"),
        ("x = 1 / 0", "cannot be imported: division by zero"),
        ("def broken(:", "cannot be imported: "),
        ("", "cannot be imported: .*no attribute 'Plug'"),
    ],
)
def test_broken_packages_are_explained(
    source: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    module = f"foreign_{abs(hash(source))}"
    (tmp_path / f"{module}.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    point = EntryPoint("foreign", f"{module}:Plug", "agentcomm.attacks")
    monkeypatch.setattr(registry, "_announced", lambda axis: {"foreign": point} if axis == "attack" else {})
    with pytest.raises(PluginError, match=f"'foreign'.*{says}"):
        registry.find("attack", "foreign")


@pytest.mark.parametrize("package", ["envs", "policies", "attacks"])
@pytest.mark.parametrize("content", ["", "raise ImportError('mine')", "predator_prey = noise = commformer = 1"])
def test_a_foreign_package_that_hides_ours_is_named(package: str, content: str, tmp_path: Path) -> None:
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text(content)
    axis, name = {
        "envs": ("environment", "predator_prey"),
        "policies": ("policy", "commformer"),
        "attacks": ("attack", "noise"),
    }[package]
    code = (
        # As a regular install is: an editable one finds submodules even below a foreign package.
        "import sys\nsys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f).lower()]\n"
        f"sys.path = ['', *sys.path, {str(Path(envs.__file__).parents[1])!r}]\n"
        "from agentcomm import registry\nfrom agentcomm.errors import PluginError\n"
        f"try:\n    registry.find({axis!r}, {name!r})\nexcept PluginError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    if content.startswith("raise"):
        assert f"plug-in '{name}'" in done.stdout
        assert "mine" in done.stdout
    else:
        assert f"the package '{package}' at {tmp_path}" in done.stdout
        assert "hides the one that agentcomm installs" in done.stdout
        assert "rename or move that folder, or start Python from another directory" in done.stdout


# ---- arguments


@pytest.mark.parametrize(
    ("axis", "name", "arguments", "says"),
    [
        (
            "attack",
            "noise",
            {"epsilom": 1},
            "attack 'noise' cannot be used:\n  epsilom: unknown key; did you mean 'epsilon'",
        ),
        ("attack", "noise", {"zzz": 1}, "zzz: unknown key; known: adaptive, budget, epsilon"),
        ("attack", "noise", {"epsilon": "much"}, "epsilon: .*valid number.*'much'"),
        ("attack", "noise", {"epsilon": -1, "probability": 2}, "epsilon: .*\n  probability: "),
        ("environment", "predator_prey", {"size": 2, "predators": 4}, "\n  4 agents and a prey need distinct cells"),
        ("environment", "predator_prey", {"observation": "pixels"}, "observation: .*'dense' or 'indices'"),
        (
            "policy",
            "commformer",
            {"topology": {"kind": "full", "density": 1}},
            "topology.full.density: unknown key; known: kind",
        ),
        ("policy", "commformer", {"topology": {}}, "topology: .*'kind'"),
    ],
)
def test_bad_arguments_are_explained(axis: registry.Axis, name: str, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        registry.build_config(axis, name, arguments)


def test_errors_can_say_where_the_arguments_stood() -> None:
    with pytest.raises(ConfigError, match=r"demo\.yaml: attacks\.0 'noise' cannot be used"):
        registry.build_config("attack", "noise", {"x": 1}, where="demo.yaml: attacks.0")
