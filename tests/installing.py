"""Packages that are installed without pip: a copy of their code, and what their pyproject.toml announces."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path


def install(package: Path, target: Path) -> None:
    """Install a project of pure Python into a folder for the import path, as ``pip install --target`` would."""
    project = tomllib.loads((package / "pyproject.toml").read_text())
    about, setuptools = project["project"], project["tool"]["setuptools"]
    for name in setuptools.get("packages", ()):
        shutil.copytree(package / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in setuptools.get("py-modules", ()):
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(package / f"{name}.py", target)
    points = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
        for group, points in about["entry-points"].items()
    ]
    metadata = target / f"{about['name'].replace('-', '_')}-{about['version']}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n")
    (metadata / "entry_points.txt").write_text("\n".join(points))
