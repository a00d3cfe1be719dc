"""One process per agent, over real servers: the same episodes as in the batch, action by action."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from small import untrained

from agentcomm.base.errors import MessageError, ProtocolError, RequirementError, RunError
from agentcomm.protocols.team import PATIENCE
from agentcomm.protocols.team.locality import check_local
from agentcomm.protocols.team.mailbox import GATES, Mailbox
from agentcomm.protocols.team.member import Member
from agentcomm.protocols.team.play import TeamEpisode, play_in_batch, play_in_processes, team_of
from agentcomm.protocols.team.requests import Begin, Turn, from_bytes, sign, to_bytes, verified
from agentcomm.protocols.team.seals import Seals
from agentcomm.runs.folder import open_run
from agentcomm.wire.encoding import encode
from agentcomm.wire.envelope import Envelope, pack_floats

STUDIES = Path(__file__).parents[2] / "studies" / "runs"


def agents_left() -> list[int]:
    """Processes of agents of this test's session."""
    return [child.pid for child in psutil.Process().children(recursive=True) if "nursery" in " ".join(child.cmdline())]


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    yield
    assert not agents_left()


def played(run_folder: Path, protocol: str, seeds: tuple[int, ...], sampled: bool) -> None:
    run = open_run(run_folder)
    saved = team_of(run, None)
    episodes: list[TeamEpisode] = []
    play_in_processes(run, saved, protocol, seeds, sampled, episodes.append)  # type: ignore[arg-type]
    assert [episode.seed for episode in episodes] == list(seeds)
    for episode in episodes:
        assert episode.same(play_in_batch(saved, episode.seed, sampled))
        assert episode.messages


def test_predator_capture_prey_is_the_same_over_a2a() -> None:
    played(STUDIES / "capture", "a2a", (5, 6), sampled=False)


def test_agents_that_act_in_turns_are_the_same_over_mcp() -> None:
    """The third of them hears two others, the first of whom has told its action a turn earlier."""
    played(STUDIES / "peer_mat", "mcp", (2,), sampled=False)


@pytest.mark.slow
@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("protocol", ["a2a", "mcp"])
@pytest.mark.parametrize("name", ["capture", "capture_gated", "market", "peer_mat"])
def test_teams_are_the_same_in_processes(name: str, protocol: str, sampled: bool) -> None:
    """Fixed and learned graphs, gates, a hub, and agents that act in turns."""
    played(STUDIES / name, protocol, (1, 2), sampled)


def test_teams_whose_agents_cannot_be_apart_are_refused(tmp_path: Path) -> None:
    for name in ("dynamic", "individual"):
        of_each_step = untrained(tmp_path, f"name={name}", f"policy.topology.name={name}")
        with pytest.raises(RequirementError, match=f"topology '{name}' computes the graph of every step for all"):
            team_of(of_each_step, None)
    coded = untrained(tmp_path, "name=coded", "transport.codec=int8")
    with pytest.raises(RequirementError, match=r"int8.*whole payloads"):
        team_of(coded, None)
    plain = untrained(tmp_path, "name=plain")
    with pytest.raises(RunError, match="no trained team of seed 7"):
        team_of(plain, 7)
    saved = team_of(plain, None)
    saved.policy.act = lambda hidden: hidden.mean(1, keepdim=True).expand_as(hidden)  # type: ignore[method-assign]
    from agentcomm.runs.assembly import make_world

    with closing(make_world(saved.environment, 1)) as world, pytest.raises(RequirementError, match="its 'act' lets"):
        check_local(saved.policy, world)


ENVIRONMENT = Ed25519PrivateKey.generate()
MEMBERS = [Ed25519PrivateKey.generate() for _ in range(3)]
KEYS = tuple(key.public_key().public_bytes_raw() for key in MEMBERS)


def test_agents_obey_only_the_environment() -> None:
    turn = Turn(1, 0, 3, b"\0" * 8, (True, False), None, False)
    data = sign(turn, ENVIRONMENT)
    assert verified(data, ENVIRONMENT.public_key()) == turn
    assert verified(sign(Begin(0, 1, None, ("u",), KEYS), ENVIRONMENT), ENVIRONMENT.public_key()).episode == 1
    for bad in (b"", data[:-1], data + b"x", sign(turn, MEMBERS[0]), data.replace(b"\x03", b"\x04", 1), b"\x92" * 5000):
        with pytest.raises(MessageError):
            verified(bad, ENVIRONMENT.public_key())


def test_an_error_of_a_policy_is_named_to_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDKs would answer with an internal error, which says nothing."""

    async def fails(member: Member, request: Begin) -> bytes:
        raise ZeroDivisionError("of the policy")

    async def go() -> None:
        member = Member.__new__(Member)
        member._environment, member._me, member._busy = ENVIRONMENT.public_key(), 0, asyncio.Lock()
        with pytest.raises(MessageError, match="agent 0 failed: ZeroDivisionError: of the policy"):
            await member.handle(sign(Begin(0, 1, None, (), ()), ENVIRONMENT))

    monkeypatch.setattr(Member, "_begin", fails)
    asyncio.run(go())


def envelope(sender: int = 1, step: int = 0, round_: int = 0, width: int = 2, to: int = 0, episode: int = 0) -> bytes:
    plain = Envelope(
        sent_round=round_, sender=sender, audience=to, sequence=0, sent_at=step, expiry=step, hops=1,
        payload=pack_floats(torch.arange(width).float().numpy()),
    )  # fmt: skip
    return encode(Seals(sender, MEMBERS[sender], KEYS, episode).seal(plain))


def test_a_mailbox_takes_what_its_agent_waits_for_and_nothing_else() -> None:
    async def run() -> None:
        box = Mailbox(0, 3, 2, 2, 0.05)
        with pytest.raises(MessageError, match="no member"):
            box.put(envelope())
        box.begin_episode(Seals(0, MEMBERS[0], KEYS, 0))
        waiting = asyncio.create_task(box.take(0, 0, 1))
        await asyncio.sleep(0)
        box.put(envelope())
        assert (await waiting).tolist() == [0, 1]
        box.put(envelope(round_=GATES, width=1))
        box.put(envelope(sender=2, step=1))
        for bad, why in (
            (envelope(), "repeated"),
            (envelope(sender=2, step=2), "stale"),
            (envelope(sender=2, round_=2), "no round"),
            (envelope(sender=2, width=3), "wrong length"),
            (envelope(sender=2, to=1), "audience"),
            (envelope(sender=2, episode=1), "no member"),
            (b"\x9c", "truncated"),
        ):
            with pytest.raises(MessageError, match=why):
                box.put(bad)
        assert len(box._waiting) == 3
        box.begin_step(1)
        assert list(box._waiting) == [(1, 0, 2)]
        with pytest.raises(Exception, match="agent 0 has waited"):
            await box.take(1, 0, 1)

    asyncio.run(run())


def test_tensors_survive_and_wrong_lengths_are_refused() -> None:
    for tensor in (torch.tensor(3), torch.randn(4), torch.zeros(0)):
        assert torch.equal(from_bytes(to_bytes(tensor), tensor.dtype, tuple(tensor.shape)), tensor)
    with pytest.raises(MessageError, match="7 bytes; 8 are expected"):
        from_bytes(b"1234567", torch.int64, ())


@pytest.mark.slow
def test_an_agent_that_dies_is_named_at_once() -> None:
    run = open_run(STUDIES / "capture")
    saved = team_of(run, None)

    def kill_one(episode: TeamEpisode) -> None:
        nursery = psutil.Process(next(pid for pid in agents_left()))
        psutil.Process(nursery.pid).children()[1].kill()

    start = time.monotonic()
    with pytest.raises(ProtocolError, match=r"agent \d: .*; the process of agent 1 was ended by SIGKILL"):
        play_in_processes(run, saved, "a2a", range(100), False, kill_one)
    assert time.monotonic() - start < PATIENCE


@pytest.mark.slow
def test_ctrl_c_ends_all_processes() -> None:
    words = ["play", str(STUDIES / "market"), "--protocol", "mcp", "--episodes", "500"]
    command = subprocess.Popen(
        [sys.executable, "-m", "agentcomm", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert command.stdout is not None
    family = psutil.Process(command.pid)
    while not any("nursery" in " ".join(child.cmdline()) for child in family.children(recursive=True)):
        assert command.poll() is None
        time.sleep(0.2)
    time.sleep(2)
    agents = family.children(recursive=True)
    os.kill(command.pid, signal.SIGINT)
    said = command.communicate(timeout=60)[0]
    assert command.returncode == 130
    assert "Stopped by Ctrl-C after " in said
    assert "all processes of agents have ended" in said
    assert "Traceback" not in said
    assert not psutil.wait_procs(agents, timeout=10)[1]
