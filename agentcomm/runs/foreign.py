"""Runs of foreign policies: a folder like that of a trained run, around callables that were trained elsewhere.

Everything that works with a run works with it: evaluation, report, comparison, export, replay of an episode.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from agentcomm.base.errors import ConfigError, did_you_mean
from agentcomm.base.inputs import looking_in
from agentcomm.base.modules import import_modules
from agentcomm.base.text import shorten
from agentcomm.contracts.policy import CommPolicy
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import make_policy, make_world
from agentcomm.runs.choices import Choice
from agentcomm.runs.config import Variant, parse
from agentcomm.runs.folder import Run, claim
from agentcomm.runs.given import choice_of

FORM = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
PATHS = ("checkpoint", "control_checkpoint")


def is_callable_name(text: str) -> bool:
    """Whether a text has the form ``package.module:function``, and there is no such folder."""
    return FORM.fullmatch(text) is not None and not Path(text).exists()


def from_callable(
    policy: str | Callable[..., Any],
    environment: Any,
    *,
    checkpoints: str | Path | Sequence[str | Path] = (),
    control: str | Callable[..., Any] | None = None,
    control_checkpoints: str | Path | Sequence[str | Path] = (),
    name: str | None = None,
    episodes: int | None = None,
    root: str | Path = "runs",
    plugins: Sequence[str] = (),
    **arguments: Any,
) -> Run:
    """A run of a policy that was trained elsewhere or written by hand, for :func:`agentcomm.evaluate` and the report.

    Args:
        policy: The callable, in a module that can be imported: ``"package.module:function"``, or the function itself.
            See :func:`agentcomm.pettingzoo.message_actions_inbox.foreign_policy` for what it takes and returns.
        environment: The environment: a name, a name with arguments, or a mapping.
        checkpoints: Files or folders of weights: ``policy`` is then a function that is called with the path of one and
            returns the callable. Several are as many teams, as from several training seeds.
        control: Another callable, trained without messages, with which the report compares the team.
        control_checkpoints: Its weights, as many as there are teams; with ``policy`` as function if there is no
            ``control``.
        name: Name of the run; by default, of callable and environment.
        episodes: Episodes per cell; None for the default.
        root: Folder that contains the run folders.
        plugins: Further modules to import, such as that of an environment.
        **arguments: Further arguments of the policy ``foreign``, in place of what the callable declares: ``messages``,
            ``batched``, ``state``, ``topology``.

    Returns:
        The run, which is used again if the same is asked for.

    Raises:
        AgentcommError: If the callable cannot be imported, something does not fit, or the folder holds another run.
    """
    make, module = _located(policy)
    own, others = _listed(checkpoints), _listed(control_checkpoints)
    silent = None if control is None else _located(control)
    silent = (make, module) if silent is None and others else silent
    if others and len(others) != max(len(own), 1):
        raise ConfigError(f"control_checkpoints: {len(others)} given for {max(len(own), 1)} teams; give one per team")
    where = choice_of("environment", environment)
    import_modules(plugins)
    chosen: dict[str, Any] = {"name": "foreign", "make": make} | _plain(_declared(make) | arguments)
    if silent is not None:
        chosen["control"] = silent[0]
    teams = [
        {key: str(Path(paths[number]).absolute()) for key, paths in zip(PATHS, (own, others), strict=True) if paths}
        for number in range(max(len(own), 1))
    ]
    config = parse(
        {
            "name": name or _name(make, where),
            "environment": where.model_dump(),
            "policy": chosen | teams[0],
            "seeds": list(range(len(teams))),
            "control": silent is not None,
            "plugins": list(dict.fromkeys([*plugins, module, *([] if silent is None else [silent[1]])])),
            "evaluation": {} if episodes is None else {"episodes": episodes},
        },
        f"the run of {make}",
    )
    variants: tuple[Variant, ...] = ("team",) if silent is None else ("team", "control")
    choices = [Choice.model_validate(chosen | paths) for paths in teams]
    with closing(make_world(where, 1)) as world:  # what does not fit is refused before there is a folder
        made = {
            (variant, seed): make_policy(choice, world, variant, seed)
            for seed, choice in enumerate(choices)
            for variant in variants
        }
    with claim(config, Path(root), resume=True) as run, looking_in(run.places()):
        for (variant, seed), policy in made.items():
            _save(run, run.adopt("policy", choices[seed]), policy, variant, seed)
        run.write_config()
    return run


def _name(make: str, where: Choice) -> str:
    """The usual name of a run: of the callable and the environment, which for one of others is what makes it."""
    environment = where.arguments.get("make") or where.name
    return re.sub(r"[^\w-]+", "-", f"{make}-{environment}").strip("-")


def _save(run: Run, choice: Choice, policy: CommPolicy, variant: Variant, seed: int) -> None:
    """Write the policy of a team into the run, unless it is there."""
    folder, environment = run.policy(variant, seed), run.config.environment
    if folder.exists() and policy_file.read_about(folder).policy == choice:
        return
    policy.taken_over.fill_(1)  # type: ignore[operator]
    policy_file.save(folder, policy, environment, choice, variant, seed, {"foreign": choice.arguments["make"]})


def _listed(paths: str | Path | Sequence[str | Path]) -> list[str | Path]:
    return [paths] if isinstance(paths, str | Path) else list(paths)


def _located(policy: Any) -> tuple[str, str]:
    """A callable as ``module:function``, and its module.

    Raises:
        ConfigError: If it is neither a text of that form nor found in a module.
    """
    if isinstance(policy, str):
        if not FORM.fullmatch(policy):
            raise ConfigError(f"policy: must be 'package.module:function' (got {shorten(policy)})")
        module = policy.partition(":")[0]
        import_modules([module])
        return policy, module
    module = str(getattr(policy, "__module__", None))
    name = str(getattr(policy, "__qualname__", "<unnamed>"))
    if module == "__main__" and (file := getattr(sys.modules["__main__"], "__file__", None)):
        module = Path(file).stem  # a script imports itself again, under this name
        import_modules([module], [str(Path(file).absolute().parent)])
    if module == "__main__" or not FORM.fullmatch(f"{module}:{name}"):
        raise ConfigError(
            f"policy: {shorten(policy)} cannot be imported again by its name; define a function at the top of a module,"
            " and give 'module:function'"
        )
    return f"{module}:{name}", module


def _declared(make: str) -> dict[str, Any]:
    """What a callable declares about itself.

    Raises:
        ConfigError: If its module does not have it.
    """
    module, _, name = make.partition(":")
    found: Any = sys.modules[module]
    for part in name.split("."):
        if not hasattr(found, part):
            near = [key for key in vars(found) if not key.startswith("_")] if hasattr(found, "__dict__") else []
            raise ConfigError(f"policy: {module} has no {part!r}; {did_you_mean(part, near)}")
        found = getattr(found, part)
    declared = getattr(found, "declared", None)
    return {} if declared is None else dict(declared._asdict())


def _plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as in a config."""
    return {key: value.model_dump() if isinstance(value, BaseModel) else value for key, value in arguments.items()}
