"""Who reaches what: tasks, contexts, the extended card, and messages sent again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

from agentcomm.protocols.audit.a2a.client import A2AClient, Sent, sent
from agentcomm.protocols.audit.probes import Found, Probe, Trial, failed, passed, skipped, tried, unclear
from agentcomm.protocols.audit.target import ANONYMOUS, Caller
from agentcomm.protocols.audit.wire import Answer, dig

NO_TASK = "the control did not succeed: the owner's message led to no task"
ONLY_MESSAGES = (
    "the agent answers with messages and makes no tasks; if other messages make some, give one with --message"
)


def no_task(where: str, owned: Sent) -> Found:
    """What to say of an operation on tasks if the owner's message made none."""
    if owned.reply is not None:
        return skipped(where, ONLY_MESSAGES)
    return unclear(where, f"{NO_TASK} ({owned.answer.short})")


async def tasks(agent: A2AClient) -> AsyncIterator[Found]:
    """Tasks of the owner, as strangers try to reach them."""
    yield await _on_task(agent, "GetTask", _is_task, id="task")
    yield await _on_task(agent, "ListTasks", _listed, _not_listed, contextId="context")
    if agent.can("pushNotifications"):
        yield await _on_task(agent, "ListTaskPushNotificationConfigs", _is_result, taskId="task")
    if agent.can("streaming"):
        yield await _on_task(agent, "SubscribeToTask", _is_task, id="task")
    yield await _on_task(agent, "CancelTask", _is_task, last=True, id="task")
    owned = await agent.send(agent.target.owner)
    if owned.task is None:
        yield no_task("SendMessage", owned)
        return

    async def resume(caller: Caller) -> Answer:
        return (await agent.send(caller, taskId=owned.task)).answer

    trial = Trial("SendMessage", resume, lambda answer: sent(answer).task == owned.task, control_last=True)
    yield await tried(trial, agent.target, agent.admitted)


Reached = Callable[[Answer, str], bool]


def _is_task(answer: Answer, task: str) -> bool:
    return task in (dig(answer.result, "id"), dig(answer.result, "task", "id"))


def _is_result(answer: Answer, task: str) -> bool:
    return isinstance(answer.result, dict)


def _listed(answer: Answer, task: str) -> bool:
    listed = dig(answer.result, "tasks")
    return isinstance(listed, list) and any(dig(one, "id") == task for one in listed)


def _not_listed(answer: Answer) -> bool:
    return answer.refused or isinstance(answer.result, dict)


async def _on_task(
    agent: A2AClient,
    method: str,
    reached: Reached,
    denied: Callable[[Answer], bool] = lambda answer: answer.refused,
    *,
    last: bool = False,
    **params: str,
) -> Found:
    """Try a method on a new task of the owner; ``params`` names which of its ids each parameter takes."""
    owned = await agent.send(agent.target.owner)
    if owned.task is None:
        return no_task(method, owned)
    task, ids = owned.task, {"task": owned.task, "context": owned.context or ""}
    given: dict[str, Any] = {name: ids[which] for name, which in params.items()}

    async def attempt(caller: Caller) -> Answer:
        return await agent.call(method, caller, **given)

    trial = Trial(method, attempt, lambda answer: reached(answer, task), denied, control_last=last)
    return await tried(trial, agent.target, agent.admitted)


async def contexts(agent: A2AClient) -> AsyncIterator[Found]:
    """A stranger's message in the owner's context."""
    owned = await agent.send(agent.target.owner)
    if owned.context is None:
        if owned.reply is not None:
            yield skipped("contextId", "the agent's messages name no context")
        else:
            yield unclear("contextId", f"the control did not succeed: the owner's message got no context"
                          f" ({owned.answer.short})")  # fmt: skip
        return

    async def attempt(caller: Caller) -> Answer:
        return (await agent.send(caller, contextId=owned.context)).answer

    def denied(answer: Answer) -> bool:
        return answer.refused or sent(answer).served  # served in a context of the stranger's own

    trial = Trial("contextId", attempt, lambda answer: sent(answer).context == owned.context, denied)
    yield await tried(trial, agent.target, agent.admitted)


async def anonymous(agent: A2AClient) -> AsyncIterator[Found]:
    """Messages and tasks of callers without a token."""
    control = await agent.send(agent.target.owner)
    mine = await agent.send(ANONYMOUS)
    if mine.reply is not None:
        yield failed("SendMessage", "a message sent without a token was answered")
        return
    if mine.task is None:
        if control.served and mine.answer.refused:
            yield passed("SendMessage", f"callers without a token are refused ({mine.answer.short})")
        else:
            yield unclear("SendMessage", f"a caller without a token got no task ({mine.answer.short})")
        return
    seen = await agent.call("GetTask", ANONYMOUS, id=mine.task)
    if _is_task(seen, mine.task):
        yield failed("GetTask", "a task sent without a token can be read by any caller without a token")
    else:
        yield unclear("GetTask", f"a task was sent without a token, and reading it gave {seen.short}")


async def replays(agent: A2AClient) -> AsyncIterator[Found]:
    """The owner's message, sent twice with one messageId."""
    message = str(uuid4())
    first = await agent.send(agent.target.owner, messageId=message)
    if not first.served:
        yield unclear("messageId", f"the control did not succeed: the owner got {first.answer.short}")
        return
    again = await agent.send(agent.target.owner, messageId=message)
    if again.served and (again.task, again.reply) == (first.task, first.reply):
        yield passed("messageId", "the second copy was answered with the first one's task or reply")
    elif again.served:
        yield failed("messageId", "the second copy of one message led to a new task or reply")
    elif again.answer.refused:
        yield passed("messageId", f"the second copy was refused ({again.answer.short})")
    else:
        yield unclear("messageId", f"the second copy was neither answered nor refused: {again.answer.short}")


async def extended_card(agent: A2AClient) -> AsyncIterator[Found]:
    """The extended card, asked for without a token."""
    where = "GetExtendedAgentCard"
    if not agent.can("extendedAgentCard"):
        yield skipped(where, "the card claims no extended card")
        return
    attempt = await agent.call(where, ANONYMOUS)
    control = await agent.call(where, agent.target.owner)
    if dig(attempt.result, "name"):
        yield failed(where, "a caller without a token gets the extended card")
    elif not dig(control.result, "name"):
        yield unclear(where, f"the control did not succeed: the owner got {control.short}")
    elif attempt.refused:
        yield passed(where, f"refused without a token ({attempt.short}); the owner gets it")
    else:
        yield unclear(where, f"neither served nor refused without a token: {attempt.short}")


PROBES = (
    Probe("a2a-extended-card", "the extended card needs authentication", extended_card),
    Probe("a2a-owner-open", "tasks are reached by their owner only", tasks, changes=True),
    Probe("a2a-context", "contexts are entered by their owner only", contexts, changes=True),
    Probe("a2a-anonymous", "callers without a token are not served, nor share tasks", anonymous, changes=True),
    Probe("a2a-replay", "a message sent again does not run again", replays, changes=True),
)
