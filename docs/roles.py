"""Turns the roles of reStructuredText in docstrings into Markdown, for the reference of the site."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":\w+:`~?([^`]*)`")


class Roles(griffe.Extension):
    """``:class:`agentcomm.x.Y``` becomes ```Y```."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite a docstring once it is read."""
        if obj.docstring is not None:
            text = ROLE.sub(lambda found: f"`{found[1].rpartition('.')[2]}`", obj.docstring.value)
            obj.docstring.value = text.replace("][", "]\\[")  # shapes, no links
