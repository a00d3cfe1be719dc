"""Why a team's process was lost, as far as Ray knows it, and who is told."""

from __future__ import annotations

import re

from agentcomm.base.text import reason
from agentcomm.training.watching import Watcher

from ray import exceptions  # isort: skip

NODE = re.compile(r"its node has died|node (was|has been) (terminated|drained|preempted)", re.IGNORECASE)
MEMORY = re.compile(r"running low on memory|exceeds the memory usage threshold", re.IGNORECASE)
ENDED = re.compile(r"worker process has died|unexpected system error", re.IGNORECASE)


def why_lost(error: Exception, node: str = "") -> str:
    """Why a process was lost.

    Ray does not know which signal ended a process: a kill, a crash and an exit of foreign code look the same to it.
    Neither does it know at first that a node is lost, only that a process on it does not answer.

    Args:
        error: What Ray raised when the process was asked.
        node: Address of its node, if that is known.
    """
    text = str(error) if "ip: " in str(error) or not node else f"{error}\nip: {node}"
    if isinstance(error, exceptions.OutOfMemoryError) or MEMORY.search(text):
        return f"Ray ended its process{_which(text)}, because its machine ran out of memory"
    if isinstance(error, exceptions.NodeDiedError | exceptions.LocalRayletDiedError) or NODE.search(text):
        return f"the node of its process{_which(text)} was lost"
    if isinstance(error, exceptions.ActorUnavailableError):
        return f"its process{_which(text)} cannot be reached any more: its node was lost, or it was killed"
    if isinstance(error, exceptions.WorkerCrashedError) or ENDED.search(text):
        return (
            f"its process{_which(text)} was killed, as by kill -9 or by the system for want of memory, or it crashed;"
            " Ray knows no signal"
        )
    return f"its process was lost: {reason(error).partition('. ')[0]}"


def tell_lost(watcher: Watcher, name: str, text: str) -> None:
    """Tell a watcher that a team's process was lost, if it has a method ``lost`` for that."""
    tell = getattr(watcher, "lost", None)
    if tell is not None:
        tell(name, text)


def _which(text: str) -> str:
    """Number and address of the process, as far as Ray's text has them."""
    number, address = re.search(r"\bpid: (\d+)", text), re.search(r"\bip: ([\w.:]+)", text)
    parts = [number[1] if number else "", f"on {address[1]}" if address else ""]
    found = " ".join(filter(None, parts))
    return f" ({found})" if found else ""
