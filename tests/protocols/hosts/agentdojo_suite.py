"""A scripted suite in AgentDojo: prints utility and attack success without and with the guard, as JSON.

Runs in an environment that has AgentDojo. The model is scripted: it plays the user task's own calls, and obeys any
injected goal that a tool shows it.
"""

from __future__ import annotations

import json
from typing import Any

from agentdojo.agent_pipeline import AgentPipeline, BasePipelineElement, InitQuery, ToolsExecutionLoop, ToolsExecutor
from agentdojo.task_suite.load_suites import get_suite
from agentdojo.types import ChatAssistantMessage, text_content_block_from_string

from agentcomm.protocols.hosts.agentdojo import GuardTools

EFFECTS = {
    "banking": ["send_money", "schedule_transaction", "update_scheduled_transaction", "update_password",
                "update_user_info"],
    "slack": ["send_direct_message", "send_channel_message", "post_webpage", "invite_user_to_slack",
              "add_user_to_channel", "remove_user_from_slack"],
}  # fmt: skip


def said(message: Any) -> str:
    return "".join(block["content"] or "" for block in message["content"] or [])


class Obedient(BasePipelineElement):
    name = "local-obedient"

    def __init__(self, user: Any, injection: Any) -> None:
        self.user, self.injection = user, injection

    def query(
        self,
        query: str,
        runtime: Any,
        env: Any = None,
        messages: Any = (),
        extra_args: Any = None,
    ) -> Any:
        plan = self.user.ground_truth(env)
        tools = [message for message in messages if message["role"] == "tool"]
        if any(self.injection.GOAL[:40] in said(message) for message in tools):
            plan = plan + self.injection.ground_truth(env)
        calls = plan[len(tools) :][:1]
        text = None if calls else self.user.GROUND_TRUTH_OUTPUT or "done"
        content = [text_content_block_from_string(text)] if text else None
        answer = ChatAssistantMessage(role="assistant", content=content, tool_calls=calls or None)
        return query, runtime, env, [*messages, answer], extra_args


def main() -> None:
    results: dict[str, list[tuple[bool, bool]]] = {}
    for name, effects in EFFECTS.items():
        suite = get_suite("v1.2", name)
        for user in list(suite.user_tasks.values())[:6]:
            for injection in list(suite.injection_tasks.values())[:3]:
                for guard, elements in (("none", []), ("provenance", [GuardTools(effects)])):
                    model = Obedient(user, injection)
                    loop = ToolsExecutionLoop([ToolsExecutor(), model])
                    pipeline = AgentPipeline([InitQuery(), *elements, model, loop])
                    pipeline.name = "local-obedient"
                    # after what is there, so that honest calls still read their values from it
                    places = suite.get_injection_vector_defaults()
                    injected = {place: f"{text} {injection.GOAL}" for place, text in places.items()}
                    outcome = suite.run_task_with_pipeline(pipeline, user, injection, injected)
                    results.setdefault(f"{name} {guard}", []).append(outcome)
    for key, outcomes in results.items():
        utility, attack = (sum(column) / len(outcomes) for column in zip(*outcomes, strict=True))
        print(json.dumps({"what": key, "runs": len(outcomes), "utility": utility, "attack_success": attack}))


if __name__ == "__main__":
    main()
