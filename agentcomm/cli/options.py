"""Options that commands share; those of conditions are declared here once for every command that takes conditions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from agentcomm.runs.choices import Carrier, Choice, TransportConfig
from agentcomm.runs.conditions import SharedConditions

Root = Annotated[Path, typer.Option(help="Where run folders lie.")]
RunFolder = Annotated[Path, typer.Argument(help="A run's folder, such as runs/demo.")]

# By parameter. Shared conditions get one option each, made from their field.
CONDITIONS: dict[str, Any] = {
    "env": Annotated[
        list[str] | None,
        typer.Option(help="Changed arguments of the environment, without attacks: predators=8 or failure=0.05."),
    ],
    "gates": Annotated[
        list[str] | None,
        typer.Option(help="Gates always open, always closed, or open at random, as often; without attacks."),
    ],
    "channel": Annotated[
        list[str] | None,
        typer.Option(
            help="Other channels than the run's, and no codec; join with +: loss:probability=0.2+delay:seconds=0.1."
        ),
    ],
    "codec": Annotated[
        list[str] | None,
        typer.Option(help="Another codec, written like --attack; with --channel, every codec on every channel."),
    ],
    "step_seconds": Annotated[
        float | None,
        typer.Option(
            help="Seconds that a step takes with these channels and codecs: the clock of delays. Default: 0.1."
        ),
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
    """Give a command every option of conditions; its argument ``conditions`` gets what was asked for as one mapping.

    The mapping has the keys of :class:`agentcomm.runs.conditions.ConditionsConfig` that were given.
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
    """Options as keys of the config; those that were not given are left out."""
    found: dict[str, Any] = {name: value for name, value in shared.items() if value is not None}
    if env is not None:
        found["environments"] = [Choice.parse(f"environment:{text}").arguments for text in env]
    if gates is not None:
        found["gates"] = gates
    rest = {"step_seconds": step_seconds, "carrier": carrier}
    rest = {name: value for name, value in rest.items() if value is not None}
    if not channel and not codec and not rest:
        return found
    ways = [[Choice.parse(part) for part in text.split("+")] for text in channel or []] or [[]]
    written: list[Choice | None] = [*(Choice.parse(text) for text in codec or [])] or [None]
    found["transports"] = [{"channels": way, "codec": code, **rest} for way in ways for code in written]
    return found
