"""Modules of plug-ins that are given by a wrong name, or are not found."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from agentcomm.base.errors import ConfigError, PluginError
from agentcomm.base.modules import import_modules
from agentcomm.base.registry import find


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("sly.py", "sly"),
        ("bugs/a_raise", "bugs.a_raise"),
        ("./bugs/a_raise.py", "bugs.a_raise"),
        ("bugs\\a_raise.py", "bugs.a_raise"),
        ("/elsewhere/far.py", "far, and put its folder (/elsewhere) on PYTHONPATH"),
        ("../far", "far, and put its folder (..) on PYTHONPATH"),
    ],
)
def test_a_file_in_place_of_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, name: str) -> None:
    """Nothing of it is run."""
    monkeypatch.chdir(tmp_path)
    Path("sly.py").write_text("raise SystemExit")
    with pytest.raises(ConfigError) as caught:
        import_modules([given])
    assert str(caught.value).endswith(f"without .py and with dots for slashes: {name}")


def test_a_module_that_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "/some/path")
    with pytest.raises(ConfigError) as caught:
        import_modules(["lost.inside"], ["/where/it/was"])
    said = str(caught.value)
    assert f"no such module in /where/it/was, /some/path, {tmp_path} or among installed packages" in said
    assert "put lost/inside.py into one of these folders" in said
    assert "PYTHONPATH" in said


def test_a_module_called_py_is_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("package_with").mkdir()
    Path("package_with/__init__.py").touch()
    Path("package_with/py.py").touch()
    import_modules(["package_with.py"])
    assert sys.modules.pop("package_with.py")


def test_an_unknown_plug_in_may_be_one_of_ones_own() -> None:
    with pytest.raises(PluginError, match=r"config's plugins or, on evaluate and init, into --plugins"):
        find("attack", "nowhere")
