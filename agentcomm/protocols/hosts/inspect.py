"""Provenance in Inspect, as an approver of tool calls and as a solver; needs ``pip install 'agentcomm[inspect]'``.

``Task(..., approval=[ApprovalPolicy(guard_tools(["pay"]), "*")])``, or, for tasks whose approval is taken,
``solver=[use_guarded_tools(inbox(), pay(), effects=["pay"]), generate()]``.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from agentcomm.protocols.extras import needs
from agentcomm.protocols.hosts.provenance import Provenance

with needs("inspect"):
    from inspect_ai.approval import Approval, approver
    from inspect_ai.solver import Generate, Solver, TaskState, solver
    from inspect_ai.tool import Tool, ToolDef, ToolError


def of_messages(messages: Sequence[Any], effects: Sequence[str]) -> Provenance:
    """The provenance of a conversation."""
    provenance = Provenance(effects)
    for message in messages:
        if message.role in ("system", "user"):
            provenance.trust(message.text)
        elif message.role == "tool":
            provenance.observe(message.text)
            provenance.observe(message.error.message if message.error else "")
    return provenance


@approver(name="agentcomm_provenance")
def guard_tools(effects: Sequence[str]) -> Any:
    """Rejects calls with effects whose arguments were read from tools' outputs.

    Args:
        effects: Tools that change something.
    """

    async def approve(message: str, call: Any, view: Any, history: Sequence[Any]) -> Approval:
        refusal = of_messages(history, effects).refusal(call.function, call.arguments)
        return Approval(decision="approve") if refusal is None else Approval(decision="reject", explanation=refusal)

    return approve


@solver(name="agentcomm_guarded_tools")
def use_guarded_tools(*tools: Tool, effects: Sequence[str]) -> Solver:
    """Gives the model tools that refuse such calls themselves.

    Args:
        tools: The tools.
        effects: Those that change something.
    """

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        state.tools = [_guarded(tool, state, effects) for tool in tools]
        return state

    return solve


def _guarded(tool: Tool, state: TaskState, effects: Sequence[str]) -> Tool:
    known = ToolDef(tool)

    @functools.wraps(known.tool)
    async def run(*positional: Any, **named: Any) -> Any:
        refusal = of_messages(state.messages, effects).refusal(known.name, {**named, "": positional})
        if refusal is not None:
            raise ToolError(refusal)
        return await known.tool(*positional, **named)

    return ToolDef(run, name=known.name, description=known.description, parameters=known.parameters).as_tool()
