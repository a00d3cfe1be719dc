"""The line of a plug-in's code that ran last: where to look when what it returned breaks the contract."""

from __future__ import annotations

import inspect
import os
import sys
from types import FrameType
from typing import Any

from agentcomm.base.plugin import Plugin


class LastLine:
    """Notes the last line that a plug-in's code returned from, while it is entered.

    Args:
        plugin: The plug-in's class. Its code is the file of its module or, within a package, the package's folder.
    """

    def __init__(self, plugin: type[Plugin]) -> None:
        self._plugin = plugin
        file = getattr(sys.modules.get(plugin.__module__), "__file__", None) or ""
        self._code = os.path.dirname(file) + os.sep if "." in plugin.__module__ else file
        self._last: tuple[str, int, str] | None = None

    def __enter__(self) -> LastLine:
        self._before = sys.getprofile()
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(self._before)

    def _note(self, frame: FrameType, event: str, _: Any) -> None:
        file = frame.f_code.co_filename
        if event == "return" and self._code and file.startswith(self._code) and frame.f_code.co_name != "<module>":
            self._last = file, frame.f_lineno, frame.f_code.co_name

    def __str__(self) -> str:
        """Such as ``your code last ran to mine.py, line 12, in screen``; the line of the class if nothing of it ran."""
        if self._last is not None:
            return "your code last ran to {}, line {}, in {}".format(*self._last)
        try:
            file, (_, line) = inspect.getfile(self._plugin), inspect.getsourcelines(self._plugin)
        except (OSError, TypeError):  # defined in a notebook or on the command line
            return self._plugin.__module__
        return f"{file}, line {line}, class {self._plugin.__name__}"
