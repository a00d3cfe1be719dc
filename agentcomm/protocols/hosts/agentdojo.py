"""Provenance as an element of AgentDojo's pipeline; needs ``pip install 'agentcomm[agentdojo]'``.

``AgentPipeline([InitQuery(), GuardTools({"send_money"}), model, ToolsExecutionLoop([ToolsExecutor(), model])])``
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from agentcomm.protocols.extras import needs
from agentcomm.protocols.hosts.provenance import Provenance

with needs("agentdojo"):
    from agentdojo.agent_pipeline import BasePipelineElement
    from agentdojo.agent_pipeline.tool_execution import tool_result_to_str
    from agentdojo.functions_runtime import EmptyEnv, FunctionCall, FunctionsRuntime

EMPTY = EmptyEnv()


class GuardedRuntime(FunctionsRuntime):
    """Runs tools, follows what they show, and refuses calls by it.

    Args:
        inner: The runtime that has the tools.
        provenance: Where values come from.
    """

    def __init__(self, inner: Any, provenance: Provenance) -> None:
        super().__init__(tuple(inner.functions.values()))
        self.provenance = provenance

    def run_function(
        self, env: Any, function: str, kwargs: Mapping[str, Any], raise_on_error: bool = False
    ) -> tuple[Any, str | None]:
        """Run a tool; a refused call is an error that the model sees.

        Raises:
            PermissionError: If the call is refused and ``raise_on_error``.
        """
        refusal = self.provenance.refusal(function, kwargs)
        if any(isinstance(value, FunctionCall) for value in kwargs.values()):
            refusal = f"{function} is refused: calls within calls cannot be followed"
        if refusal is not None:
            if raise_on_error:
                raise PermissionError(refusal)
            return "", f"PermissionError: {refusal}"
        result, error = super().run_function(env, function, kwargs, raise_on_error)
        self.provenance.observe(tool_result_to_str(result))
        self.provenance.observe(error or "")  # may repeat what a tool has read
        return result, error


class GuardTools(BasePipelineElement):
    """Refuses calls with effects whose arguments were read from tools' outputs; goes after ``InitQuery``.

    Args:
        effects: Tools that change something.
    """

    name = "agentcomm-provenance"

    def __init__(self, effects: Collection[str]) -> None:
        self.effects = frozenset(effects)

    def query(
        self,
        query: str,
        runtime: Any,
        env: Any = EMPTY,
        messages: Sequence[Any] = (),
        extra_args: dict[str, Any] | None = None,
    ) -> tuple[str, Any, Any, Sequence[Any], dict[str, Any]]:
        """Hand on a runtime that refuses."""
        provenance = Provenance(self.effects)
        provenance.trust(query)
        for message in messages:
            text = "\n".join(block["content"] or "" for block in message["content"] or ())
            (provenance.trust if message["role"] in ("system", "user") else provenance.observe)(text)
        return query, GuardedRuntime(runtime, provenance), env, messages, {} if extra_args is None else extra_args
