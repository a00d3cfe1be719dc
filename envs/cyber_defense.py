"""Cyber defense: one agent per subnet must evict an intruder whose traces others see better than it does.

A network has ``subnets`` in a ring, each of ``hosts`` machines that one agent defends. The intruder holds hosts with
the rights of a user or of root. From each root host it attempts, in every step, to exploit a random host of a
neighboring subnet and one of its own. It hides on the hosts that it holds: their own subnet notices a compromised host
with probability ``local`` per step only. An attempt from another subnet is logged where it arrives, with its source,
with probability ``detect``: the neighbors know which host must be restored, and only its own agent can do it. There are
false alarms in both kinds of logs.

| | |
|---|---|
| agents | ``subnet_0`` .. |
| actions | 0 wait; 1 .. H restore a host; H + 1 isolate the subnet for this step |
| mask | a host that is being restored cannot be restored again; such an action waits |
| observation | own number; own hosts with an alert, and offline; neighbors' hosts logged as sources; isolated |
| reward | -(compromised ``weight`` + offline ``downtime`` + isolated H ``isolation``) / H, in the own subnet |
| success | no host is compromised after the last step |
| harm | steps in which the intruder had root, summed over hosts |
| end | truncated after ``max_steps`` steps |

A step: agents act; a restored host is clean, and offline for ``repair`` steps. Users become root with probability
``escalate``; each root host makes its attempts, which get the rights of a user with probability ``lateral`` or, in the
own subnet, ``spread``. Attempts neither leave nor enter an isolated subnet, and offline hosts cannot be exploited. With
probability ``entry``, a random host is compromised from outside. An episode starts with one root host. Compromised
hosts cost confidentiality; restored and isolated ones availability. In the last subnet, which is the critical one, a
compromised host counts ``critical`` times.

| argument | default | | argument | default | |
|---|---|---|---|---|---|
| ``subnets`` | 4 | N | ``escalate`` | 0.5 | user to root |
| ``hosts`` | 4 | H, per subnet | ``lateral`` | 0.3 | success between subnets |
| ``detect`` | 0.9 | attempts logged | ``spread`` | 0.1 | success within a subnet |
| ``local`` | 0.1 | compromised hosts noticed | ``entry`` | 0.05 | new intrusions |
| ``false_alarm`` | 0.01 | per host and log | ``repair`` | 2 | steps offline |
| ``critical`` | 2 | weight of the last subnet | ``downtime`` | 1 | of an offline host |
| ``max_steps`` | 30 | | ``isolation`` | 0.5 | of an isolated subnet, per host |

Floors (mean return of an agent; the scripts below in ``tests/envs/test_cyber_defense.py``): -2.5 if the host is
restored that most logs name, the neighbors' included; -13.5 if it is one that the own subnet notices, -12.1 at random,
-22.2 if all are isolated, -26.3 if nobody does anything.

The setting is that of CAGE Challenge 4 (TTCP 2023, https://github.com/cage-challenge/cage-challenge-4): an agent per
zone, an intruder that moves laterally, restoring costs availability, zones of higher priority, false alarms and short
messages between agents. The rules are our own and much simpler.

Versions: 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.world import DrawnMessage, Transition, World, WorldConfig
from agentcomm.pettingzoo.view import ParallelView, view
from envs.canvas import AGENT, HARMED, QUIET, Mark, draw, frame
from envs.symbols import arranged, check_keys, check_mode, draw_text, layout, readings

CLEAN, USER, ROOT = range(3)
SIDE = 400  # pixels of a picture


class CyberDefenseConfig(WorldConfig):
    """Arguments of Cyber defense."""

    subnets: int = Field(4, ge=2, le=64, description="number of subnets, in a ring: the agents")
    hosts: int = Field(4, ge=1, le=32, description="hosts per subnet")
    detect: float = Field(0.9, ge=0, le=1, description="chance that an attempt from another subnet is logged")
    local: float = Field(0.1, ge=0, le=1, description="chance per step that a subnet notices its compromised host")
    false_alarm: float = Field(0.01, ge=0, le=1, description="chance of a false alarm, per step, host and log")
    escalate: float = Field(0.5, ge=0, le=1, description="chance per step that the intruder becomes root on a host")
    lateral: float = Field(0.3, ge=0, le=1, description="chance that an attempt in another subnet succeeds")
    spread: float = Field(0.1, ge=0, le=1, description="chance that an attempt in the own subnet succeeds")
    entry: float = Field(0.05, ge=0, le=1, description="chance per step of a new intrusion from outside")
    repair: int = Field(2, ge=1, description="steps for which a restored host is offline")
    critical: float = Field(2.0, ge=0, description="weight of compromised hosts in the last subnet; 1 elsewhere")
    downtime: float = Field(1.0, ge=0, description="cost of an offline host per step, in compromised hosts")
    isolation: float = Field(0.5, ge=0, description="cost per host of an isolated subnet per step")
    max_steps: int = Field(30, ge=1, description="steps of an episode")


class CyberDefense(World[CyberDefenseConfig]):
    """B copies of Cyber defense.

    State: ``access`` [B, N, H] int64, what the intruder holds (0 nothing, 1 user, 2 root); ``offline`` [B, N, H] int64,
    steps until a host is back; ``isolated`` [B, N] bool, in the last step; ``noticed`` [B, N, H] bool, own hosts with
    an alert; ``logged`` [B, N, K, H] bool, hosts of the K neighbors that are logged as sources; ``harmed`` [B] int64.
    """

    masks_actions = True

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Three subnets, and two, which are each other's only neighbor."""
        busy = {"entry": 0.3, "lateral": 0.6, "false_alarm": 0.1}
        return {"": {"subnets": 3, "hosts": 3} | busy, "pair": {"subnets": 2, "hosts": 2, "repair": 3} | busy}

    def __init__(self, config: CyberDefenseConfig, num_worlds: int = 1, device: str | torch.device = "cpu") -> None:
        super().__init__(config, num_worlds, device)
        n, h = config.subnets, config.hosts
        self.agents = tuple(f"subnet_{number}" for number in range(n))
        self.action_names = ("wait", *(f"restore_{host}" for host in range(h)), "isolate")
        node = torch.arange(n, device=self.device)
        both = torch.stack([node - 1, node + 1], 1) % n
        self.neighbor = both if n > 2 else both[:, :1]
        k = self.neighbor.shape[1]
        self.weight = torch.ones(n, device=self.device)
        self.weight[-1] = config.critical
        # Codes of the own number; alerts, hosts that are offline, and sources in the logs; and of being isolated.
        self._entries = [range(n), *(range(code, code + 1) for code in range(n, n + (2 + k) * h + 1))]
        self.layout = layout(config.observation, len(self._entries), self._entries[-1].stop)
        hosts = torch.zeros(num_worlds, n, h, dtype=torch.int64, device=self.device)
        self.state = {
            "access": hosts.clone(),
            "offline": hosts.clone(),
            "isolated": hosts[..., 0].bool(),
            "noticed": hosts.bool(),
            "logged": hosts.bool().unsqueeze(2).repeat(1, 1, k, 1),
            "harmed": hosts[:, 0, 0].clone(),
        }

    def begin(self, worlds: Tensor, generator: torch.Generator, scene: Mapping[str, Any] | None = None) -> None:
        """Draw the host from which the intruder starts, or use those of the scene.

        Args:
            worlds: [W] int64 indices.
            generator: Source of all randomness.
            scene: ``{"access": [[0, 0, 2], ...]}``, what the intruder holds of each subnet's hosts.

        Raises:
            ValueError: If there is another key, or not one number 0 .. 2 per host.
        """
        hosts = self.config.subnets * self.config.hosts
        first = torch.randint(hosts, (len(worlds), 1), generator=generator, device=self.device)
        access = torch.zeros(len(worlds), hosts, dtype=torch.int64, device=self.device).scatter(1, first, ROOT)
        access = access.view(len(worlds), self.config.subnets, self.config.hosts)
        if scene is not None:
            access = self._read(scene)
        for value in self.state.values():
            value[worlds] = 0
        self.state["access"][worlds] = access

    def _read(self, scene: Mapping[str, Any]) -> Tensor:
        check_keys(scene, ("access",))
        given, (n, h) = scene["access"], (self.config.subnets, self.config.hosts)
        lists = isinstance(given, list) and all(isinstance(row, list) and len(row) == h for row in given)
        if not lists or len(given) != n or any(type(a) is not int or not 0 <= a <= ROOT for row in given for a in row):
            raise ValueError(f"scene: 'access' must be {n} lists of {h} numbers 0 .. {ROOT}, not {given!r}")
        return torch.tensor(given, device=self.device)

    def allowed(self) -> Tensor:
        """[B, N, A] bool, actions that are possible: hosts that are offline cannot be restored."""
        online = self.state["offline"] == 0
        always = torch.ones_like(online[..., :1])
        return torch.cat([always, online, always], 2)

    def advance(self, actions: Tensor, generator: torch.Generator) -> Transition:
        """Agents restore and isolate, then the intruder moves, then sensors report."""
        h = self.config.hosts
        host = torch.arange(1, h + 1, device=self.device)
        online = self.state["offline"] == 0
        restored = (actions.unsqueeze(2) == host) & online
        isolated = actions == h + 1
        offline = torch.where(restored, self.config.repair, (self.state["offline"] - 1).clamp_min(0))
        access = self.state["access"].masked_fill(restored, CLEAN)
        access, logged = self._intrude(access, offline == 0, isolated, generator)
        luck = torch.rand((*access.shape, 2), generator=generator, device=self.device)
        held = access > CLEAN
        noticed = (held & (luck[..., 0] < self.config.local)) | (luck[..., 1] < self.config.false_alarm)
        self.state |= {
            "access": access,
            "offline": offline,
            "isolated": isolated,
            "noticed": noticed,
            "logged": logged,
            "harmed": self.state["harmed"] + (access == ROOT).sum((1, 2)),
        }
        lost = held.sum(2) * self.weight + (offline > 0).sum(2) * self.config.downtime
        reward = -(lost / h + isolated * self.config.isolation)
        never = torch.zeros(self.num_worlds, dtype=torch.bool, device=self.device)
        return Transition(reward=reward, terminated=never, active=torch.ones_like(isolated))

    def _intrude(
        self, access: Tensor, online: Tensor, isolated: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """What the intruder holds after its attempts, and which sources neighbors log."""
        (b, n, h), k, config = access.shape, self.neighbor.shape[1], self.config
        luck = torch.rand(b, n, h, 7 + k, generator=generator, device=self.device)
        up, slot, far, won, near, won_near, seen, *alarms = luck.unbind(-1)
        access = torch.where((access == USER) & (up < config.escalate), ROOT, access)
        root = access == ROOT
        # Each root host picks a neighboring subnet and a host there, and a host of its own subnet.
        way = (slot * k).long().clamp_max(k - 1)
        subnet = self.neighbor.expand(b, -1, -1).gather(2, way)
        open_way = ~isolated.unsqueeze(2) & ~isolated.gather(1, subnet.flatten(1)).view(b, n, h)
        own = torch.arange(n, device=self.device).view(1, n, 1)
        at_far = subnet * h + (far * h).long().clamp_max(h - 1)
        at_near = own * h + (near * h).long().clamp_max(h - 1)
        tried = root & open_way & online.flatten(1).gather(1, at_far.flatten(1)).view(b, n, h)
        target = torch.stack([at_far, at_near], 3).flatten(1)
        hit = torch.stack([tried & (won < config.lateral), root & (won_near < config.spread)], 3).flatten(1)
        taken = torch.zeros(b, n * h, dtype=torch.int64, device=self.device).scatter_add_(1, target, hit.long())
        # A new intrusion from outside, by the first host's numbers.
        entry = torch.rand(b, 2, generator=generator, device=self.device)
        place = (entry[:, 1:] * n * h).long().clamp_max(n * h - 1)
        taken = taken.scatter_add(1, place, (entry[:, :1] < config.entry).long())
        access = torch.maximum(access, ((taken.view(b, n, h) > 0) & online).long() * USER)
        # In slot s of subnet i are the hosts of neighbor[i, s] that were seen to try something in i.
        spotted = tried & (seen < config.detect)
        sources = spotted[:, self.neighbor] & (subnet[:, self.neighbor] == own.unsqueeze(3))
        false = torch.stack(alarms, 2) < config.false_alarm
        return access, sources | false

    def observe(self, worlds: Tensor | None = None) -> Tensor:
        """[B, N, 2 + (2 + K) H] int64 codes: number, alerts, offline, sources, isolated; or their one-hot codes."""
        chosen = self._all if worlds is None else worlds
        state = {name: value[chosen] for name, value in self.state.items()}
        flags = [state["noticed"], state["offline"] > 0, state["logged"].flatten(2), state["isolated"].unsqueeze(2)]
        code = torch.arange(self._entries[1].start, self._entries[-1].stop, device=self.device)
        shown = torch.where(torch.cat(flags, 2), code, -1)
        number = torch.arange(self.num_agents, device=self.device).expand(len(chosen), -1).unsqueeze(2)
        return arranged(torch.cat([number, shown], 2), self.layout)

    def readings(self) -> Tensor | None:
        """The own number, and each flag or nothing."""
        number, *flags = self._entries
        shown = readings(self, number, *((-1, *flag) for flag in flags))
        if shown is not None:
            code = torch.arange(-1, self.layout.vocabulary, device=self.device)
            shown[:, 0] &= code == torch.arange(self.num_agents, device=self.device).unsqueeze(1)
        return shown

    def success(self) -> Tensor:
        """[B] bool, no host is compromised."""
        return (self.state["access"] == CLEAN).all(2).all(1)

    @property
    def harm(self) -> Tensor:
        """[B] int64, steps in which the intruder had root, summed over hosts."""
        return self.state["harmed"].clone()

    def facts(self) -> dict[str, Tensor]:
        """Roles, and whether the intruder holds a host of the subnet."""
        return super().facts() | {"compromised": (self.state["access"] > CLEAN).any(2).long()}

    def scene(self, world: int) -> dict[str, Any]:
        """What the intruder holds, hosts that are offline, isolated subnets, alerts and logs."""
        return {
            name: self.state[name][world].tolist() for name in ("access", "offline", "isolated", "noticed", "logged")
        }

    def render(self, world: int, mode: Literal["ansi", "rgb_array"], links: list[DrawnMessage] | None = None) -> Any:
        """Draw one world as text, or as an [H, W, 3] image: compromised hosts are red, large for root, offline gray.

        Raises:
            ValueError: If the mode is unknown.
        """
        check_mode(mode)
        scene = self.scene(world)
        if mode == "ansi":
            lines = []
            for number, agent in enumerate(self.agents):
                hosts = zip(scene["access"][number], scene["offline"][number], scene["noticed"][number], strict=True)
                drawn = " ".join(("x" if off else ".ur"[held]) + ("!" if alert else " ") for held, off, alert in hosts)
                lines.append(f"{agent} [{drawn.rstrip()}]" + (" isolated" if scene["isolated"][number] else ""))
            return draw_text([*lines, ". clean  u user  r root  x offline  ! alert"], self.agents, links)
        n, h = self.config.subnets, self.config.hosts
        angle = 2 * np.pi * np.arange(n) / n - np.pi / 2
        spots = [SIDE / 2 + SIDE * 0.34 * np.array([np.sin(a), np.cos(a)]) for a in angle]
        marks = []
        for number, spot in enumerate(spots):
            marks.append(Mark(spot, 5, AGENT, "square" if scene["isolated"][number] else "disc"))
            for host in range(h):
                turn = 2 * np.pi * host / h
                at = spot + SIDE * 0.09 * np.array([np.sin(turn), np.cos(turn)])
                held, off = scene["access"][number][host], scene["offline"][number][host]
                marks.append(Mark(at, 9 if held == ROOT else 6, QUIET if off else HARMED if held else AGENT))
        ring = [(spots[i], spots[(i + 1) % n], (208, 215, 222)) for i in range(n)]
        return draw(SIDE, SIDE, marks, spots, links, frame(SIDE, SIDE) + ring)


def restore_noticed(world: CyberDefense) -> Tensor:
    """[B, N] int64, actions without messages: each agent restores a host on which it has an alert."""
    return _restore(world, world.state["noticed"].long())


def restore_named(world: CyberDefense) -> Tensor:
    """[B, N] int64, actions with messages: each agent restores the host with most alerts, also those of neighbors."""
    logged, neighbor = world.state["logged"], world.neighbor
    votes = world.state["noticed"].long()
    for slot in range(neighbor.shape[1]):  # what the neighbor in this slot has logged about the own hosts
        theirs = logged[:, neighbor[:, slot]]
        back = neighbor[neighbor[:, slot]] == torch.arange(world.num_agents, device=world.device).unsqueeze(1)
        votes = votes + (theirs & back.unsqueeze(2)).any(2)
    return _restore(world, votes)


def _restore(world: CyberDefense, votes: Tensor) -> Tensor:
    """[B, N] int64, the host with most votes [B, N, H] of those online is restored; if there are none, wait."""
    most, host = votes.masked_fill(world.state["offline"] > 0, 0).max(2)
    return torch.where(most > 0, host + 1, 0)


def parallel_env(**arguments: Any) -> ParallelView:
    """One Cyber defense world for PettingZoo; arguments: those of its config, and ``render_mode``."""
    return view("cyber_defense", **arguments)
