"""The processes of a team's agents: one process imports what all of them need, and is forked once per agent.

The first line of its standard input is the team (JSON); each agent then writes a line with its URL and public key into
a pipe. All processes end when standard input does, which it does when the process that started them is gone.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import select
import signal
import sys
from contextlib import AsyncExitStack, closing, suppress
from pathlib import Path
from typing import Any

import torch

from agentcomm.base.errors import AgentcommError
from agentcomm.base.inputs import looking_in
from agentcomm.base.text import exit_text
from agentcomm.protocols.carrier import Sender, load
from agentcomm.protocols.serving import serve
from agentcomm.protocols.team.member import Member
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import make_world
from agentcomm.runs.folder import open_run

LOOK = 0.2  # seconds between two looks whether an agent has ended


def main() -> None:
    """Start the agents, and end them with standard input."""
    channel = int(sys.argv[1])
    team = json.loads(sys.stdin.readline())
    load(team["protocol"])  # imports the SDK, before there are threads
    ours, theirs = os.pipe()  # ours ends when this process is gone
    children = []
    for agent in range(team["agents"]):
        child = os.fork()
        if child == 0:
            os.close(theirs)
            _run_agent(team, agent, channel, ours)
        children.append(child)
    with suppress(KeyboardInterrupt):
        _watch(children, channel)
    for child in children:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    for child in children:
        with suppress(ChildProcessError):
            os.waitpid(child, 0)


def _watch(children: list[int], channel: int) -> None:
    """Wait for the end of standard input; say which agents end before."""
    left = set(children)
    while True:
        if select.select([sys.stdin], [], [], LOOK)[0] and not os.read(sys.stdin.fileno(), 1024):
            return
        pid, status = os.waitpid(-1, os.WNOHANG) if left else (0, 0)
        if pid in left:
            left.remove(pid)
            why = f"the process of agent {children.index(pid)} {exit_text(os.waitstatus_to_exitcode(status))}"
            os.write(channel, (json.dumps({"error": why}) + "\n").encode())


def _run_agent(team: dict[str, Any], agent: int, channel: int, alive: int) -> None:
    """Be one agent; ends this process."""
    torch.set_num_threads(1)
    try:
        asyncio.run(_agent(team, agent, channel, alive))
    except AgentcommError as error:
        os.write(channel, (json.dumps({"error": str(error)}) + "\n").encode())
    except BaseException as error:
        os.write(channel, (json.dumps({"error": f"agent {agent}: {error!r}"}) + "\n").encode())
    finally:
        os._exit(0)


async def _agent(team: dict[str, Any], agent: int, channel: int, alive: int) -> None:
    """Load the policy, serve the agent, and say where, until the parent process is gone."""
    patience = team["patience"]
    carrier = load(team["protocol"], timeout=2 * patience)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(alive, ended.set)
    connected: dict[str, Sender] = {}
    async with AsyncExitStack() as stack:

        async def connect(urls: tuple[str, ...]) -> list[Sender]:
            for url in urls:
                if url not in connected:
                    connected[url] = await stack.enter_async_context(carrier.connect(url))
            return [connected[url] for url in urls]

        for module in team["modules"]:
            importlib.import_module(module)
        run = open_run(Path(team["run"]), trust=True)  # the command that starts this process has the user's consent
        with looking_in(run.places()):
            saved = policy_file.load(run.policy("team", team["seed"]))
            world = stack.enter_context(closing(make_world(saved.environment, 1)))
        member = Member(saved.policy, world, agent, bytes.fromhex(team["environment"]), connect, patience)
        url = await stack.enter_async_context(
            serve(lambda url: carrier.application(f"agent_{agent}", member.handle, url))
        )
        public = member.private.public_key().public_bytes_raw().hex()
        os.write(channel, (json.dumps({"agent": agent, "url": url, "public": public}) + "\n").encode())
        os.close(channel)
        await ended.wait()


if __name__ == "__main__":
    main()
