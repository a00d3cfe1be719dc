"""Plug-ins are found by name, and what goes wrong is said in words that help."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import agentcomm.channels
import agentcomm.codecs
import agentcomm.defenses
import agentcomm.metrics
import attacks
import envs
import policies
from agentcomm.base import registry
from agentcomm.base.errors import ConfigError, PluginError
from agentcomm.base.plugin import Plugin, PluginConfig
from agentcomm.contracts.attack import Attack
from agentcomm.contracts.channel import Channel
from agentcomm.contracts.codec import Codec
from agentcomm.contracts.defense import Defense
from agentcomm.contracts.metric import Metric
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.topology import Topology, TopologyChoice
from agentcomm.contracts.world import World

FOLDERS: dict[registry.Axis, Any] = {
    "environment": envs,
    "policy": policies,
    "attack": attacks,
    "defense": agentcomm.defenses,
    "channel": agentcomm.channels,
    "codec": agentcomm.codecs,
    "topology": policies,
    "metric": agentcomm.metrics,
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
    "topology": Topology,
    "metric": Metric,
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
        ("defense", "xyz", "unknown defense 'xyz'; known: .*authenticate, "),
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


def announce(monkeypatch: pytest.MonkeyPatch, axis: registry.Axis, points: dict[str, str]) -> None:
    """Pretend that packages announce these and nothing else, by full name."""
    faked = {
        full: EntryPoint(full.partition("/")[2], value, f"agentcomm.{registry.PLURAL[axis]}")
        for full, value in points.items()
    }
    monkeypatch.setattr(registry, "_announced", lambda a: faked if a == axis else {})


@pytest.fixture
def _names_again() -> Iterator[None]:
    """Classes have the names that they are announced by, whatever a test pretended."""
    yield
    for name in registry.names("attack"):
        registry.find("attack", name)


# ---- names of several packages


@pytest.mark.usefixtures("_clean_registry", "_names_again")
def test_a_full_name_says_which_package(monkeypatch: pytest.MonkeyPatch) -> None:
    announce(
        monkeypatch,
        "attack",
        {
            "ours/drop": "attacks.external.drop:Drop",
            "theirs/drop": "attacks.external.noise:Noise",
            "theirs/jam": "attacks.external.jam:Jam",
        },
    )
    assert registry.names("attack") == ["jam", "ours/drop", "theirs/drop"]
    for name, kind in (("ours/drop", "Drop"), ("theirs/drop", "Noise"), ("jam", "Jam"), ("theirs/jam", "Jam")):
        plugin = registry.find("attack", name)
        assert plugin.__name__ == kind
        assert plugin.name == name.removeprefix("theirs/") if kind == "Jam" else plugin.name == name
    with pytest.raises(PluginError, match=r"attack 'drop' is announced by .*; write 'ours/drop' or 'theirs/drop'"):
        registry.find("attack", "drop")
    with pytest.raises(PluginError, match="unknown attack 'theirs/jams'; did you mean"):
        registry.find("attack", "theirs/jams")
    with pytest.raises(PluginError, match="'drop' is already announced"):
        registry.register("attack", "drop")(type("Mine", (Plugin,), {}))


def test_everything_here_has_a_full_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    for axis, name in announced():
        assert registry.find(axis, f"agentcomm/{name}") is registry.find(axis, name)
        assert registry.find(axis, name).name == name


@pytest.mark.usefixtures("_clean_registry")
def test_a_class_has_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    points = {"ours/drop": "attacks.external.drop:Drop", "theirs/lose": "attacks.external.drop:Drop"}
    with monkeypatch.context() as patch:
        announce(patch, "attack", points)
        for name in ("drop", "lose", "theirs/lose"):
            with pytest.raises(PluginError, match="attack 'ours/drop' and 'theirs/lose'"):
                registry.find("attack", name)
    mine = registry.register("attack", "mine")(type("Mine", (Plugin,), {}))
    with pytest.raises(PluginError, match="already registered as 'mine'; register it once"):
        registry.register("attack", "yours")(mine)


@pytest.mark.usefixtures("_clean_registry")
def test_policies_keep_their_default_where_another_package_has_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    points = {f"agentcomm/{p.name}": p.value for p in registry._announced("topology").values()}
    announce(monkeypatch, "topology", points | {"theirs/none": "nowhere:Nothing"})
    for name in ("agentcomm/none", "none"):
        assert TopologyChoice(name=name).build(4, 8).name == "none"
    assert registry.names("topology").count("none") == 1
    assert "theirs/none" in registry.names("topology")
    monkeypatch.undo()
    assert TopologyChoice(name="none").build(4, 8).name == "none"


def test_the_package_of_an_entry_point_is_its_distribution() -> None:
    assert all(full.startswith("agentcomm/") for full in registry._announced("codec"))
    assert registry._package(EntryPoint("x", "their_module.deep:X", "agentcomm.codecs")) == "their_module"


@pytest.mark.parametrize("axis", registry.AXES)
def test_forms_are_named_and_fit(axis: registry.Axis) -> None:
    forms = registry.forms(axis)
    assert {name for name, _ in forms.values()} == set(registry.names(axis)), "each plug-in has a form"
    for form, (name, arguments) in forms.items():
        assert form == name or form.startswith(f"{name} ")
        registry.build_config(axis, name, arguments)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (
            "import nowhere_to_be_found",
            "ModuleNotFoundError: No module named 'nowhere_to_be_found' .*foreign_\\w+.py, line 1",
        ),
        ("Plug = 3", "is not an agentcomm plug-in class"),
        ("class Plug: pass", "is not an agentcomm plug-in class"),
        ("x = 1 / 0", "ZeroDivisionError: division by zero .*foreign_\\w+.py, line 1"),
        ("x = 1\ndef broken(:", "SyntaxError: .*foreign_\\w+.py, line 2"),
        ("raise SystemExit(3)", "SystemExit: 3 .*foreign_\\w+.py, line 1"),
        ("", "cannot be imported: .*no attribute 'Plug'"),
    ],
)
def test_broken_packages_are_explained(
    source: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    module = f"foreign_{abs(hash(source))}"
    (tmp_path / f"{module}.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    announce(monkeypatch, "attack", {"other/foreign": f"{module}:Plug"})
    with pytest.raises(PluginError, match=f"'foreign'.*{says}"):
        registry.find("attack", "foreign")


@pytest.mark.usefixtures("_clean_registry")
def test_broken_and_shadowing_packages_are_reported_and_the_rest_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "falls_over.py").write_text("x = 1\nraise SystemExit('on import')")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "stands_up.py").write_text("from attacks.external.jam import Jam\nclass Drop(Jam): pass")
    ours = {f"agentcomm/{p.name}": p.value for p in registry._announced("attack").values()}
    theirs = {
        "theirs/broken": "falls_over:X",
        "theirs/odd": "no name at all",
        "theirs/drop": "stands_up:Drop",
        "theirs/again": "attacks.external.jam:Jam",
    }
    announce(monkeypatch, "attack", ours | theirs | {"a/same": "falls_over:Y", "b/same": "falls_over:Z"})
    found = registry.loadable("attack")
    assert set(found) == {full.partition("/")[2] for full in ours} | {"theirs/drop"}, "the rest works"
    assert found["drop"].__name__ == "Drop"
    text = "\n".join(registry.problems())
    for words in (
        r"attack 'broken' is left out: .*SystemExit: on import \(.*falls_over.py, line 2\)",
        "attack 'odd' is left out: plug-in 'odd' .no name at all. cannot be imported",
        "attack 'again' is left out: .*announced as attack 'agentcomm/jam' and 'theirs/again'",
        "attack 'theirs/drop' has the name of an attack of another package; write its full name, 'theirs/drop'",
        "attack 'a/same' has the name of",
        "attack 'b/same' has the name of",
    ):
        assert re.search(words, text), text
    with pytest.raises(PluginError, match="write 'a/same' or 'b/same'"):
        registry.find("attack", "same")


def test_there_is_nothing_to_report_here() -> None:
    assert registry.problems() == []


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
        "from agentcomm.base import registry\nfrom agentcomm.base.errors import PluginError\n"
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
        ("attack", "noise", {"epsilon": "much"}, "epsilon: must be a number of at least 0 \\(got 'much'\\)"),
        ("attack", "noise", {"epsilon": -1, "probability": 2}, "epsilon: .*\n  probability: "),
        (
            "environment",
            "predator_prey",
            {"size": 2, "predators": 4},
            "4 agents and a prey need distinct cells; size=2 has 4",
        ),
        (
            "environment",
            "predator_prey",
            {"observation": "pixels"},
            "observation: must be dense or indices \\(got 'pixels'\\)",
        ),
        (
            "policy",
            "commformer",
            {"topology": {"name": "full", "density": 1}},
            "topology.density: unknown key; known: none",
        ),
        ("policy", "commformer", {"topology": {"name": "random", "densty": 1}}, "topology.densty: .*mean 'density'"),
        ("policy", "commformer", {"topology": {"name": "random", "seed": -1}}, r"topology.seed: .*\(got -1\)"),
        (
            "policy",
            "commformer",
            {"topology": {"name": "rnig"}},
            "topology: unknown topology 'rnig'; did you mean 'ring'",
        ),
        (
            "policy",
            "commformer",
            {"topology": {}},
            "topology.name: is missing \\(name of the topology; see `agentcomm list topologies`\\)",
        ),
    ],
)
def test_bad_arguments_are_explained(axis: registry.Axis, name: str, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        registry.build_config(axis, name, arguments)


def test_errors_can_say_where_the_arguments_stood() -> None:
    with pytest.raises(ConfigError, match=r"demo\.yaml: attacks\.0 'noise' cannot be used"):
        registry.build_config("attack", "noise", {"x": 1}, where="demo.yaml: attacks.0")


def test_a_plug_in_derives_from_the_base_of_its_axis() -> None:
    for axis, given, words in (
        ("attack", type("Plain", (), {}), "Plain is not an agentcomm plug-in class; derive it from Attack"),
        ("attack", 3, "3 is not an agentcomm plug-in class"),
        ("attack", type("Shield", (Defense,), {}), "Shield is a defense; register it as one, or derive it from Attack"),
    ):
        with pytest.raises(PluginError, match=words):
            registry.register(axis, "mine")(given)  # type: ignore[arg-type]
