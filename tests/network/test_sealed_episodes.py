"""A sealed message of an earlier episode, or of another world, is a replay, and refused on both transports."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from builders import Attacked, comms, defense, team_shape

from agentcomm.conformance.conversations import carry, conversation
from agentcomm.contracts.traffic import Traffic
from agentcomm.network.transports.objects import ObjectTransport

S = team_shape(worlds=2)
STEPS = 3


class Wiretap:
    """Records what arrives, and later puts the recording in its place."""

    def __init__(self, network: Attacked, monkeypatch: pytest.MonkeyPatch) -> None:
        self.transport = network.network.transport
        self.receive = self.transport.receive
        self.recorded: list[Any] = []
        self.played: list[Any] | None = None
        monkeypatch.setattr(self.transport, "receive", self)

    def __call__(self, traffic: Traffic) -> Traffic:
        real = isinstance(self.transport, ObjectTransport)
        if self.played is not None:
            old = self.played.pop(0)
            if not real:
                return self.receive(old)
            self.transport.wire = old
            present = torch.zeros_like(traffic.present)
            present[tuple(torch.tensor(list(old)).T)] = True
            return self.receive(replace(traffic, present=present))
        self.recorded.append(dict(self.transport.wire) if real else traffic)
        return self.receive(traffic)


def tapped(transport: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Attacked, Wiretap]:
    network = comms(S, [], [defense("authenticate", S)], 0, transport=transport)
    network.reset(torch.arange(2))
    return network, Wiretap(network, monkeypatch)


@pytest.mark.parametrize("transport", ["batch", "objects"])
def test_messages_of_an_earlier_episode_are_refused(transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, tap = tapped(transport, monkeypatch)
    said = conversation(S, STEPS)
    assert all(inbox.mask.any() for inbox in carry(network, said))
    network.reset(torch.arange(2))
    before = network.ledger["accepted"].clone()
    tap.played = list(tap.recorded)
    assert not any(inbox.mask.any() for inbox in carry(network, said)), "nothing of the last episode is heard"
    assert torch.equal(network.ledger["accepted"], before)
    network.reset(torch.arange(2))
    tap.played = None
    assert all(inbox.mask.any() for inbox in carry(network, said)), "messages of this episode are"


@pytest.mark.parametrize("transport", ["batch", "objects"])
def test_messages_of_another_world_are_refused(transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, tap = tapped(transport, monkeypatch)
    said = conversation(S, STEPS)
    carry(network, said)
    network.reset(torch.tensor([0]))  # world 1 goes on, so its windows are past these sequence numbers as well
    tap.played = [swapped(recorded) for recorded in tap.recorded]
    assert not any(inbox.mask.any() for inbox in carry(network, said))


def swapped(recorded: Any) -> Any:
    """The recording of two worlds, with the worlds exchanged."""
    if isinstance(recorded, dict):
        return {(1 - world, *place): data for (world, *place), data in recorded.items()}
    fields = {name: value.flip(0) for name, value in vars(recorded).items() if isinstance(value, torch.Tensor)}
    return Traffic(**fields)


def test_the_running_episode_is_saved_and_restored() -> None:
    network = comms(S, [], [defense("authenticate", S)], 0)
    network.reset(torch.arange(2))
    network.reset(torch.tensor([1]))
    saved = network.network.snapshot()
    again = comms(S, [], [defense("authenticate", S)], 0)
    again.network.restore(saved)
    assert again.network.keyring.episode.tolist() == network.network.keyring.episode.tolist() == [2, 5]
