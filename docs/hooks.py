"""Hooks of the documentation site: links that lead out of docs/, the notebook, lists of plug-ins, and a last check."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import typer
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

from agentcomm.base import registry
from agentcomm.cli import catalog
from agentcomm.cli.main import app
from agentcomm.protocols.audit.run import PROBES as AUDIT
from agentcomm.protocols.findings import ROWS, SDKS
from agentcomm.runs.choices import as_yaml

ROOT = Path(__file__).resolve().parent.parent
# A link to a file of the repository that is no page of the site.
OUTSIDE = re.compile(r"\[([^\]]*)\]\((?:\.\./)+([^)#\s]+)[^)]*\)")
NOTEBOOK = re.compile(r"^<!-- notebook: (\S+) -->$", re.MULTILINE)
PLUGINS = re.compile(r"^<!-- plug-ins: (\w+) -->$", re.MULTILINE)
FINDINGS = re.compile(r"^<!-- findings: (\w+) -->$", re.MULTILINE)
PROBES = re.compile(r"^<!-- probes -->$", re.MULTILINE)
COMMANDS = re.compile(r"^<!-- commands -->$", re.MULTILINE)
# What a browser would ask another server for.
EXTERNAL = re.compile(
    r"<(?:script|img|iframe|source|video)[^>]+src=\"?(?:https?:)?//|<link[^>]+href=\"?(?:https?:)?//[^>]*>"
)
HARMLESS = re.compile(r"rel=\"?(?:canonical|next|prev)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of measurements, which lie in benchmarks/."""
    for path in sorted((ROOT / "benchmarks").glob("*.md")):
        files.append(File.generated(config, f"benchmarks/{path.name}", content=path.read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill in what a page includes, and name files that links would lead to."""
    depth = page.file.src_uri.count("/")

    def linked(found: re.Match[str]) -> str:
        text, path = found[1], found[2]
        if path.startswith(("benchmarks/", "docs/")) and path.endswith(".md") and (ROOT / path).exists():
            return f"[{text}]({'../' * depth}{path.removeprefix('docs/')})"
        return f"`{path}`" if text in (path, Path(path).name) else f"{text} (`{path}`)"

    markdown = OUTSIDE.sub(lambda found: found[0] if _inside(page, found[0]) else linked(found), markdown)
    markdown = NOTEBOOK.sub(lambda found: _notebook(ROOT / found[1]), markdown)
    markdown = COMMANDS.sub(lambda _: _commands(), markdown)
    markdown = FINDINGS.sub(lambda found: _findings(found[1]), markdown)
    markdown = PROBES.sub(lambda _: _probes(), markdown)
    return PLUGINS.sub(lambda found: _plugins(found[1]), markdown)


def on_post_build(config: Any, **_: Any) -> None:
    """Check that no page asks another server for anything.

    Raises:
        PluginError: If one does.
    """
    for path in sorted(Path(config["site_dir"]).rglob("*.html")):
        for found in EXTERNAL.finditer(path.read_text(encoding="utf-8")):
            if not HARMLESS.search(found[0]):
                raise PluginError(f"{path} loads something from another server: {found[0]}")


def _inside(page: Any, link: str) -> bool:
    """Whether a link leads to a file of docs/."""
    target = link.rpartition("(")[2].rstrip(")").partition("#")[0]
    uri = page.file.src_uri
    source = ROOT / uri if uri.startswith("benchmarks/") else ROOT / "docs" / uri
    return source.parent.joinpath(target).resolve().is_relative_to(ROOT / "docs") and not uri.startswith("benchmarks/")


def _notebook(path: Path) -> str:
    """The cells of a notebook with their text output, as Markdown."""
    parts: list[str] = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        streams = [output for output in cell["outputs"] if output.get("name") == "stdout"]
        printed = "".join("".join(output["text"]) for output in streams)
        parts += [f"```text\n{printed.rstrip()}\n```"] if printed.strip() else []
    return "\n\n".join(parts)


def _plugins(axis: Any) -> str:
    """All plug-ins of an axis with their arguments, from their docstrings and configs."""
    parts: list[str] = []
    for name in registry.loadable(axis):
        about = catalog.describe(axis, name)
        parts.append(f"### `{name}`\n\n{_text(about['description'])}")
        rows = [
            f"| `{given['name']}` | {_cell(given['accepts'])} | {_cell(_default(given['default']))} |"
            f" {_cell(given['description'])} |"
            for given in about["arguments"]
        ]
        if rows:
            parts.append("\n".join(["| argument | accepts | default | |", "|---|---|---|---|", *rows]))
    return "\n\n".join(parts)


def _findings(protocol: str) -> str:
    """What an SDK stops by itself and what the defenses add."""
    rows = [
        f"| {_cell(row.title)} | {_cell(row.alone)} | {_cell(row.setting)} |"
        f" {f'`{row.defense}`' if row.defense else ''} |"
        for row in ROWS
        if row.protocol == protocol
    ]
    package, measured = SDKS[protocol]
    head = [f"As measured on {package} {measured}:", ""]
    return "\n".join(
        [*head, "| what | the SDK as it comes | its own setting | our defense |", "|---|---|---|---|", *rows]
    )


def _probes() -> str:
    """The probes of the audit."""
    rows = [
        f"| `{probe.id}` | {_cell(probe.title)} | {'yes' if probe.changes else ''} | {_cell(probe.fix)} |"
        for some in AUDIT.values()
        for probe in some
    ]
    return "\n".join(["| probe | passes if | needs `--allow-changes` | fix |", "|---|---|---|---|", *rows])


def _commands() -> str:
    """All commands with their arguments and options, from the command line itself."""
    parts: list[str] = []
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        example = command.epilog.removeprefix("Example: ")
        parts.append(f"### {name}\n\n{command.help}\n\n```\n{example}\n```")
        params = [param for param in command.params if param.name != "help"]
        rows = [f"| `{_cell(_word(param))}` | {_cell(getattr(param, 'help', '') or '')} |" for param in params]
        parts.append("\n".join(["| argument or option | |", "|---|---|", *rows]))
    return "\n\n".join(parts)


def _word(param: Any) -> str:
    """An option with its value, or an argument."""
    if param.param_type_name != "option":
        return str(param.metavar or param.name)
    return f"{', '.join(param.opts)} {'' if param.is_flag else param.metavar or ''}".strip()


def _text(page: str) -> str:
    """A docstring in reStructuredText as Markdown."""
    page = re.sub(r":\w+:`~?([^`]*)`", lambda found: f"`{found[1].rpartition('.')[2]}`", page)
    return re.sub(r"^(\s*)(\S.*)::$", r"\1\2:", page, flags=re.MULTILINE)


def _default(value: Any) -> str:
    return value if value == "required" else f"`{as_yaml(list(value) if isinstance(value, tuple) else value)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
