"""The command ``new``."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from agentcomm.base import registry
from agentcomm.base.errors import ConfigError, together
from agentcomm.base.files import writing
from agentcomm.base.registry import Axis
from agentcomm.base.text import shorten
from agentcomm.base.values import parse_yaml
from agentcomm.cli.completion import words
from agentcomm.cli.listing import find_axis
from agentcomm.cli.screen import say

TEMPLATES = "agentcomm.cli.templates"
# A command that uses the new plug-in.
USES: dict[Axis, str] = {
    "environment": "agentcomm init mine --env {name}",
    "policy": "agentcomm init mine --policy {name}",
    "topology": "agentcomm train mine.yaml policy.topology={name}",
    "attack": "agentcomm evaluate runs/mine --attack {name}",
    "defense": "agentcomm evaluate runs/mine --defense {name}",
    "channel": "agentcomm evaluate runs/mine --channel {name}",
    "codec": "agentcomm evaluate runs/mine --codec {name}",
    "metric": "agentcomm evaluate runs/mine  # cells have every metric that applies to them",
}


def new(
    axis: Annotated[
        str,
        typer.Argument(metavar="AXIS", help=f"One of {', '.join(registry.AXES)}.", autocompletion=words(registry.AXES)),
    ],
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of the plug-in: lower-case words joined by underscores.")
    ],
    folder: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the package's folder is created.")] = Path(),
) -> None:
    """Write a package with a plug-in of your own that works as it is: module, entry point and test."""
    chosen = find_axis(axis)
    home = folder / f"agentcomm-{name.replace('_', '-')}"
    together(lambda: _check_name(chosen, name), lambda: _check_folder(home))
    texts = package(chosen, name)
    for path, text in texts.items():
        with writing(home / path):
            (home / path).parent.mkdir(parents=True, exist_ok=True)
            (home / path).write_text(text, encoding="utf-8")
    module = f"agentcomm_{name}"
    say(f"The package is in {home}: {', '.join(texts)}")
    say(f"Install it:  pip install --no-deps --editable {home}")
    say(f"Check it:    agentcomm check {module}:{_class(name)}")
    say(f"Use it:      {USES[chosen].format(name=name)}")


def package(axis: Axis, name: str) -> dict[str, str]:
    """The files of a new package.

    Args:
        axis: The plug-in's axis.
        name: Its name, a valid one.

    Returns:
        Contents by path within the package's folder.
    """
    own, module = f"my_{axis}", f"agentcomm_{name}"
    code = _template(f"{axis}.py")
    about = code.partition('"""')[2].partition('"""')[0].partition("\n")[0].removeprefix(f"{own}: ")

    def filled(text: str, of: Axis) -> str:
        for old, now in (
            (f"{TEMPLATES}.{of}", module),
            (f"agentcomm.{registry.PLURAL[of]}", f"agentcomm.{registry.PLURAL[axis]}"),
            (f"list {registry.PLURAL[of]}", f"list {registry.PLURAL[axis]}"),
            (f'find("{of}"', f'find("{axis}"'),
            (_class(f"my_{of}"), _class(name)),
            (f"my-{of}", name.replace("_", "-")),
            (f"my_{of}", name),
            ("  # isort: skip", ""),
            ("SUMMARY", about[:1].upper() + about[1:]),
            ("USE_IT", USES[axis].format(name=name)),
        ):
            text = text.replace(old, now)
        return text

    return {
        "pyproject.toml": filled(_template("package.toml"), "attack"),
        "README.md": filled(_template("package.md"), "attack"),
        f"{module}.py": filled(code, axis),
        f"tests/test_{name}.py": filled(_template("test_plugin.py"), "attack"),
    }


def _template(name: str) -> str:
    return files(TEMPLATES).joinpath(name).read_text(encoding="utf-8")


def _class(name: str) -> str:
    """The class of a plug-in, such as ``MyAttack`` of ``my_attack``."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def _check_name(axis: Axis, name: str) -> None:
    """Check the name of a new plug-in.

    Raises:
        ConfigError: If it is malformed or taken.
    """
    problem = None
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or len(name) > 40:
        problem = "is no valid name; write at most 40 lower-case letters and digits, words joined by underscores"
    elif not isinstance(parse_yaml(name, "the name"), str):
        problem = "is no text in a YAML config; choose another name"
    elif name in registry.names(axis):
        problem = f"is already the name of {registry.article(axis)}; choose another name"
    elif re.search(rf"\b{_class(name)}(Config)?\b", _template(f"{axis}.py")):
        problem = f"would make a class {_class(name)}, which the package imports; choose another name"
    if problem is not None:
        raise ConfigError(f"NAME: {shorten(name)} {problem}")


def _check_folder(home: Path) -> None:
    """Check that nothing would be overwritten.

    Raises:
        ConfigError: If the folder of the package exists.
    """
    if home.exists():
        raise ConfigError(f"{home} exists already; choose another name, or delete it")
