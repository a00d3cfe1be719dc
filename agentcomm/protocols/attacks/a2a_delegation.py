"""Agents that delegate in a cycle, and one of them that claims each time to be the first."""

from __future__ import annotations

from typing import Any

from a2a.helpers import new_data_part, new_task_from_user_message
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.tasks import TaskUpdater
from google.protobuf.json_format import MessageToDict

from agentcomm.protocols.attacks.a2a_lab import A2AAttack, A2AParts, agent_card, client, result_of, send, server
from agentcomm.protocols.attacks.base import Outcome
from agentcomm.protocols.attacks.trying import NoAnswerError, tried

DEEPEST = 3  # hops that an honest agent accepts
ENOUGH = 6  # executions after which the attack has made its point and ends


class Delegate(AgentExecutor):
    """An agent that passes its work on to the agent of a URL in the message, one hop deeper.

    Args:
        parts: Parts of the clients that it makes.
        name: Its name as a caller.
        honest: Whether it refuses what is too deep, and counts hops on; the attacker starts at 0 each time.

    Attributes:
        calls: How often it was executed.
        unanswered: Whether an agent that it delegated to gave no answer in time.
    """

    def __init__(self, parts: A2AParts, name: str, honest: bool = True) -> None:
        self.parts, self.name, self.honest, self.calls = parts, name, honest, 0
        self.route: list[str] = []  # URLs of the agents to delegate to
        self.unanswered = False

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Count, refuse what is too deep, and delegate."""
        message = context.message
        assert message is not None
        data = MessageToDict(message.parts[0].data)
        depth = int(data.get("depth", 0)) if self.honest else -1
        task = new_task_from_user_message(message)
        await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, task.id, task.context_id)
        if depth >= DEEPEST or self.calls >= ENOUGH:
            await updater.reject()
            return
        self.calls += 1
        answer: dict[str, Any] = {"sum": 5}
        if self.route:
            try:
                async with client(self.parts, self.route[0], self.name) as caller:
                    further = await tried(send(caller, {"depth": depth + 1}), seconds=30)
            except NoAnswerError:
                self.unanswered = True
                raise
            answer = result_of(further.value) if further.worked else {}
        await updater.add_artifact([new_data_part(answer)], name="result")
        await updater.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Cancel a task."""
        await TaskUpdater(event_queue, context.task_id or "", context.context_id or "").cancel()


class DelegationCycle(A2AAttack):
    """An agent sends work back to who delegated it, as work of its own, so that its depth starts at 0 again."""

    name = "delegation_cycle"
    finding = "the depth of a delegation is the caller's word: a cycle that starts it at 0 again never ends"

    async def attempt(self, parts: A2AParts) -> Outcome:
        """Delegate to an honest agent, and to the attacker."""
        worker = Delegate(parts, "worker")
        mallory = Delegate(parts, "mallory", honest=False)
        helper = Delegate(parts, "helper")
        bare = A2AParts()  # the attacker's server has no defenses; it calls with what it holds
        async with (
            server(parts, worker) as target,
            server(parts, helper, card=lambda url: agent_card(url, "helper")) as honest,
            server(bare, mallory, card=lambda url: agent_card(url, "mallory")) as evil,
        ):
            worker.route[:] = [honest.url]
            async with client(parts, target.url, "alice") as alice:
                plain = await tried(send(alice, {}))
            worker.calls = 0
            worker.route[:], mallory.route[:] = [evil.url], [target.url]
            async with client(parts, target.url, "alice") as alice:
                attacked = await tried(send(alice, {}), seconds=60)
        if any(agent.unanswered for agent in (worker, mallory, helper)):
            raise NoAnswerError("an agent of the cycle gave no answer in time")
        fine = plain.worked and result_of(plain.value).get("sum") == 5
        evidence = {"executions": worker.calls, "attacked": attacked.word, "honest": plain.word}
        return Outcome(worker.calls > DEEPEST, fine, evidence)
