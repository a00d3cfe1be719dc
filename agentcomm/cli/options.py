"""Options that commands share, among them the options of conditions for every command that takes conditions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from agentcomm.cli.completion import run_folders
from agentcomm.runs.choices import Carrier, Choice, TransportConfig
from agentcomm.runs.conditions import SharedConditions

Root = Annotated[Path, typer.Option(help="Folder that contains the run folders.")]
RunFolder = Annotated[
    Path, typer.Argument(metavar="RUN", help="Folder of the run, such as runs/demo.", autocompletion=run_folders)
]
Plugins = Annotated[
    list[str] | None,
    typer.Option(metavar="MODULE", help="A module of yours that registers plug-ins; can be repeated."),
]

# Options by parameter. Each shared condition gets an option made from its field.
CONDITIONS: dict[str, Any] = {
    "env": Annotated[
        list[str] | None,
        typer.Option(help="Environment overrides to evaluate without attacks, such as predators=8 or failure=0.05."),
    ],
    "gates": Annotated[
        list[str] | None,
        typer.Option(
            help="Evaluate without attacks with all gates open, closed, or random with the team's own frequency."
        ),
    ],
    "channel": Annotated[
        list[str] | None,
        typer.Option(
            help="Channels instead of the run's transport; join with +: loss:probability=0.2+delay:seconds=0.1."
        ),
    ],
    "codec": Annotated[
        list[str] | None,
        typer.Option(
            help="Codec instead of the run's transport; with --channel, every codec is combined with every channel."
        ),
    ],
    "step_seconds": Annotated[
        float | None,
        typer.Option(help="Duration of a step with these channels and codecs, in seconds. Default: 0.1."),
    ],
}
CONDITIONS["carrier"] = Annotated[
    Carrier | None,
    typer.Option(help=f"{(TransportConfig.model_fields['carrier'].description or '').capitalize()}. Default: batch."),
]
for _name, _field in SharedConditions.model_fields.items():
    CONDITIONS[_name] = Annotated[
        _field.annotation | None,  # type: ignore[operator]
        typer.Option(help=f"{(_field.description or '').capitalize()}. Default: the config's."),
    ]


def takes_conditions(command: Callable[..., None]) -> Callable[..., None]:
    """Decorator that adds the options of conditions to a command, and passes them to it as the argument ``conditions``.

    ``conditions`` is a mapping with those keys of :class:`agentcomm.runs.conditions.ConditionsConfig` that were given.
    """

    @wraps(command)
    def run(**given: Any) -> None:
        asked = {name: given.pop(name) for name in CONDITIONS}
        command(**given, conditions=_keys(**asked))

    own = inspect.signature(command, eval_str=True).parameters.values()
    parameters = [p.replace(kind=p.KEYWORD_ONLY) for p in own if p.name != "conditions"]
    parameters += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)
        for name, option in CONDITIONS.items()
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def _keys(
    env: list[str] | None,
    gates: list[str] | None,
    channel: list[str] | None,
    codec: list[str] | None,
    step_seconds: float | None,
    carrier: Carrier | None,
    **shared: Any,
) -> dict[str, Any]:
    """The given options as keys of the config."""
    found: dict[str, Any] = {name: value for name, value in shared.items() if value is not None}
    if env is not None:
        found["environments"] = [Choice.parse(f"environment:{text}").arguments for text in env]
    if gates is not None:
        found["gates"] = gates
    rest = {"step_seconds": step_seconds, "carrier": carrier}
    rest = {name: value for name, value in rest.items() if value is not None}
    if not channel and not codec and not rest:
        return found
    channels = [[Choice.parse(part) for part in text.split("+")] for text in channel or []] or [[]]
    codecs: list[Choice | None] = [*(Choice.parse(text) for text in codec or [])] or [None]
    found["transports"] = [{"channels": c, "codec": written, **rest} for c in channels for written in codecs]
    return found
