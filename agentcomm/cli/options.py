"""Options that commands share, among them the options of conditions for every command that takes conditions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from agentcomm.base import transports
from agentcomm.cli.completion import plugins, run_folders, words
from agentcomm.runs.choices import TransportConfig
from agentcomm.runs.conditions import GateControlName, SharedConditions

Root = Annotated[Path, typer.Option(help="Folder that contains the run folders.")]
Trust = Annotated[
    bool,
    typer.Option("--trust", help="Import the modules and read the files that the run names, whoever made it."),
]
RunFolder = Annotated[
    Path, typer.Argument(metavar="RUN", help="Folder of the run, such as runs/demo.", autocompletion=run_folders)
]
RunOrCallable = Annotated[
    Path,
    typer.Argument(
        metavar="RUN",
        help="Folder of the run, such as runs/demo; or a policy that was trained elsewhere, as MODULE:FUNCTION.",
        autocompletion=run_folders,
    ),
]
Plugins = Annotated[
    list[str] | None,
    typer.Option(metavar="MODULE", help="A module of yours that registers plug-ins; can be repeated."),
]
Jobs = Annotated[
    int,
    typer.Option(metavar="N", help="Teams to train, or cells to evaluate, at the same time, in own processes."),
]
Address = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="Use the Ray cluster there instead; auto: the one of this machine."),
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Evaluate failed cells again; otherwise, they are kept as failed.")
]

Adaptive = Annotated[
    bool,
    typer.Option("--adaptive", help="Add each defense's adaptive attacks: those that know it and aim at its weakness."),
]

WRITTEN = "NAME[:KEY=VALUE,...]"
_WRITTEN: dict[str, Any] = {"metavar": WRITTEN}
_ATTACK: dict[str, Any] = _WRITTEN | {"autocompletion": plugins("attack")}
_DEFENSE: dict[str, Any] = _WRITTEN | {"autocompletion": plugins("defense")}
Attacks = Annotated[
    list[str] | None, typer.Option(help="An attack; repeat it for more. Default: the config's.", **_ATTACK)
]
Defenses = Annotated[
    list[str] | None,
    typer.Option(help="A defense; repeat it for more, or join those that act together: authenticate+clip.", **_DEFENSE),
]
Attack = Annotated[str | None, typer.Option(help="Attack of the cell.", **_ATTACK)]
Defense = Annotated[str | None, typer.Option(help="Defenses of the cell, joined with +.", **_DEFENSE)]

# Options by parameter. Each shared condition gets an option made from its field.
CONDITIONS: dict[str, Any] = {
    "env": Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE,...", help="Changed environment, without attacks, such as failure=0.05."),
    ],
    "gates": Annotated[
        list[str] | None,
        typer.Option(
            metavar="open|closed|random",
            help="Control all gates, without attacks; random: with the team's own frequency.",
            autocompletion=words(get_args(GateControlName)),
        ),
    ],
    "channel": Annotated[
        list[str] | None,
        typer.Option(
            help="Channels in place of the run's; join several with +: loss+delay.",
            autocompletion=plugins("channel"),
            **_WRITTEN,
        ),
    ],
    "codec": Annotated[
        list[str] | None,
        typer.Option(
            help="Codec in place of the run's; crossed with every --channel.",
            autocompletion=plugins("codec"),
            **_WRITTEN,
        ),
    ],
    "step_seconds": Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Duration of a step with these channels and codecs. Default: 0.1."),
    ],
}
CONDITIONS["carrier"] = Annotated[
    str | None,
    typer.Option(
        metavar="|".join(transports.names()),
        help=f"{(TransportConfig.model_fields['carrier'].description or '').capitalize()}. Default: batch.",
        autocompletion=words(transports.names()),
    ),
]
for _name, _field in SharedConditions.model_fields.items():
    _words = get_args(_field.annotation)  # of a closed set; the config's check names them all
    CONDITIONS[_name] = Annotated[
        (str if _words else _field.annotation) | None,  # type: ignore[operator]
        typer.Option(
            help=f"{(_field.description or '').capitalize()}. Default: the config's.",
            metavar="|".join(_words) or {float: "NUMBER"}.get(_field.annotation, _name.upper()),  # type: ignore[arg-type]
            autocompletion=words(_words),
        ),
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
    carrier: str | None,
    **shared: Any,
) -> dict[str, Any]:
    """The given options as keys of the config."""
    found: dict[str, Any] = {name: value for name, value in shared.items() if value is not None}
    if env is not None:
        found["environments"] = env
    if gates is not None:
        found["gates"] = gates
    rest = {"step_seconds": step_seconds, "carrier": carrier}
    rest = {name: value for name, value in rest.items() if value is not None}
    if not channel and not codec and not rest:
        return found
    channels: list[str | list[str]] = [*(channel or [])] or [[]]
    codecs: list[str | None] = [*(codec or [])] or [None]
    found["transports"] = [{"channels": c, "codec": written, **rest} for c in channels for written in codecs]
    return found
