"""Jinja templates of the pages, and what every page is made of: its styles and the policy for its scripts."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from agentcomm.base.text import visible

HERE = Path(__file__).parent


def fill(template: str, styles: Sequence[str] = (), scripts: Sequence[str] = (), **values: Any) -> str:
    """A page as HTML text.

    Args:
        template: File name of the template, which gets ``style``, ``script`` and ``script_hash`` besides the values.
        styles: File names of its styles, in order.
        scripts: File names of its scripts, in order.
        values: Values of the template; text in them is escaped.
    """
    script = source(*scripts)
    return (
        _environment()
        .get_template(template)
        .render(style=Markup(source(*styles)), script=Markup(script), script_hash=digest(script), **values)
    )


def source(*names: str) -> str:
    """The joined text of styles or scripts."""
    return "\n".join((HERE / name).read_text(encoding="utf-8") for name in names)


def digest(script: str) -> str:
    """The SHA-256 of a script as a Content-Security-Policy names it."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _shown(value: Any) -> Any:
    """Text of the page with control characters, and those that change the direction of writing, made visible."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
