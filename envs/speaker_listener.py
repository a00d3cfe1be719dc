"""Speaker-Listener: a speaker that cannot move knows to which landmark a listener should go.

Rules are those of simple_speaker_listener in mpe2 (Lowe et al., NeurIPS 2017, arXiv 1706.02275; mpe2 1.1, MIT licence),
step by step the same (``tests/envs/test_speaker_listener.py``). The speaker sees which of the landmarks is the goal;
the listener sees all landmarks, but not which one it is. Both, and the landmarks, start uniformly in -1 .. 1 in both
directions. A step lasts 0.1 units of time: position += 0.1 velocity, and then velocity = 0.75 velocity + 0.5 push.

| | |
|---|---|
| agents | ``speaker``, ``listener`` |
| actions | listener: 0 none, then a push of 1: 1 left, 2 right, 3 down, 4 up; speaker: its words |
| ``continuous`` | listener: a push to the right and up, each in -1 .. 1; speaker: the numbers of its word |
| observation | speaker: the goal, one-hot; listener: velocity, the way to each landmark, the speaker's last word |
| reward | both: minus the squared distance of the listener from the goal |
| success | the listener touches the goal: a distance of at most 0.115 |
| end | truncated after ``max_steps`` steps |

| argument | default | |
|---|---|---|
| ``landmarks`` | 3 | number of landmarks |
| ``words`` | 0 | words that the world itself carries from speaker to listener, one step late; 3 in mpe2 |
| ``continuous`` | false | pushes of any size in two directions |
| ``max_steps`` | 25 | |

By default the speaker has no words and its actions do nothing: what it has to say goes through messages.

The entries of the other role are 0. Returns of scripted agents: -7.7 with messages (continuous: -6.1), -15.8
without, -40.7 at random.

Known answers: a listener that knows the goal stops at it and loses nothing more; one that does not is best off in the
middle of the landmarks, at a mean squared distance of (1 - 1 / L) 2 / 3 from the goal: 4 / 9 for L = 3
(:func:`expected`). :func:`steer` moves a listener either way.

Versions: 1. Deviations from mpe2: the speaker observes the goal one-hot instead of its color, and has no words by
default; of continuous pushes, mpe2 takes four, to the left, right, down and up, and adds them up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import one_hot

from agentcomm.base.errors import ConfigError
from agentcomm.contracts.actions import ActionSpace
from agentcomm.contracts.continuous import Continuous
from agentcomm.contracts.discrete import Discrete
from agentcomm.contracts.world import DrawnMessage, Observation, Transition, World, WorldConfig
from agentcomm.pettingzoo.view import ParallelView, view
from envs.canvas import AGENT, GOAL, QUIET, Mark, draw, frame, rounded
from envs.symbols import check_keys, check_mode, draw_text

STEP, DAMPING, PUSH = 0.1, 0.25, 5.0  # units of time of a step, lost velocity per step, acceleration by an action
TOUCH = 0.075 + 0.04  # radii of the listener and of a landmark
PUSHES = ((0.0, 0.0), (-1.0, 0.0), (1.0, 0.0), (0.0, -1.0), (0.0, 1.0))
SPEAKER, LISTENER = range(2)
SIDE = 400  # pixels of a picture, for -1.5 .. 1.5


class SpeakerListenerConfig(WorldConfig):
    """Arguments of Speaker-Listener."""

    landmarks: int = Field(3, ge=2, le=16, description="number of landmarks")
    words: int = Field(
        0, ge=0, le=16, description="words that the world carries from the speaker to the listener; 3 in mpe2"
    )
    continuous: bool = Field(False, description="pushes of any size in -1 .. 1 in two directions, not one of four")
    max_steps: int = Field(25, ge=1, description="steps of an episode")


class SpeakerListener(World[SpeakerListenerConfig]):
    """B copies of Speaker-Listener.

    State: ``position`` and ``velocity`` [B, 2] float32 of the listener; ``speaker`` [B, 2] and ``landmarks`` [B, L, 2]
    float32; ``goal`` [B] int64; ``word`` [B, words] float32, the speaker's last, 0 before the first.
    """

    agents = ("speaker", "listener")

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Without words, with more of them than there are pushes, and with continuous pushes."""
        return {"": {}, "words": {"landmarks": 2, "words": 6}, "continuous": {"words": 1, "continuous": True}}

    def __init__(self, config: SpeakerListenerConfig, num_worlds: int = 1, device: str | torch.device = "cpu") -> None:
        super().__init__(config, num_worlds, device)
        if config.observation != "dense":
            raise ConfigError("speaker_listener observes positions: use observation=dense")
        moves = ("none", "left", "right", "down", "up")
        self.action_names = (*moves, *(f"word_{number}" for number in range(len(moves), config.words)))
        # The speaker needs an action, even if it has nothing to say.
        words, wide = max(config.words, 1), max(config.words, 2)
        self._actions: ActionSpace = Discrete(self.action_names, sizes=(words, len(moves)))
        if config.continuous:
            self._actions = Continuous((-1.0,) * wide, (1.0,) * wide, dimensions=(words, 2))
        self.layout = Observation("dense", 3 * config.landmarks + 2 + config.words)
        self._pushes = torch.tensor(PUSHES, device=self.device)
        zero = torch.zeros(num_worlds, 2, device=self.device)
        self.state = {
            "position": zero.clone(),
            "velocity": zero.clone(),
            "speaker": zero.clone(),
            "landmarks": torch.zeros(num_worlds, config.landmarks, 2, device=self.device),
            "goal": torch.zeros(num_worlds, dtype=torch.int64, device=self.device),
            "word": torch.zeros(num_worlds, config.words, device=self.device),
        }

    @property
    def actions(self) -> ActionSpace:
        """Pushes of the listener and words of the speaker."""
        return self._actions

    @property
    def roles(self) -> tuple[int, ...]:
        """The speaker and the listener."""
        return (SPEAKER, LISTENER)

    def begin(self, worlds: Tensor, generator: torch.Generator, scene: Mapping[str, Any] | None = None) -> None:
        """Draw all places and the goal, or use those of the scene.

        Args:
            worlds: [W] int64 indices.
            generator: Source of all randomness.
            scene: ``{"listener": [x, y], "landmarks": [[x, y], ...], "goal": landmark}``.

        Raises:
            ValueError: If a key is missing or unknown, or a value is not of this form.
        """
        count = self.config.landmarks
        places = 2 * torch.rand(len(worlds), 2 + count, 2, generator=generator, device=self.device) - 1
        goal = torch.randint(count, worlds.shape, generator=generator, device=self.device)
        if scene is not None:
            places, goal = self._read(scene)
        self.state["speaker"][worlds] = places[..., 0, :]
        self.state["position"][worlds] = places[..., 1, :]
        self.state["landmarks"][worlds] = places[..., 2:, :]
        self.state["velocity"][worlds] = 0.0
        self.state["goal"][worlds] = goal
        self.state["word"][worlds] = 0.0

    def _read(self, scene: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        check_keys(scene, ("listener", "landmarks", "goal"))
        count, goal = self.config.landmarks, scene["goal"]
        try:
            places = torch.tensor([[0.0, 0.0], scene["listener"], *scene["landmarks"]], dtype=torch.float32)
        except (TypeError, ValueError) as error:
            raise ValueError(f"scene: 'listener' and 'landmarks' must be places [x, y]: {error}") from None
        if places.shape != (2 + count, 2) or not places.isfinite().all():
            raise ValueError(f"scene: there must be a listener and {count} landmarks, places [x, y], not {dict(scene)}")
        if type(goal) is not int or not 0 <= goal < count:
            raise ValueError(f"scene: 'goal' must be a landmark 0 .. {count - 1}, not {goal!r}")
        return places.to(self.device), torch.tensor(goal, device=self.device)

    def advance(self, actions: Tensor, generator: torch.Generator) -> Transition:
        """Move the listener, and hand on the word of the speaker."""
        said, moves, words = actions[:, SPEAKER], actions[:, LISTENER], self.config.words
        if self.config.continuous:
            push, word = moves[:, :2], said[:, :words]
        else:
            push = self._pushes[moves]
            word = one_hot(said, len(self.action_names))[:, :words].float()
        velocity = self.state["velocity"]
        self.state |= {
            "position": self.state["position"] + STEP * velocity,
            "velocity": (1 - DAMPING) * velocity + STEP * PUSH * push,
            "word": word.clone(),
        }
        reward = -self._to_goal().square().sum(1, keepdim=True)
        never = torch.zeros(self.num_worlds, dtype=torch.bool, device=self.device)
        return Transition(reward.expand(-1, 2).clone(), never, never.logical_not().unsqueeze(1).expand(-1, 2).clone())

    @property
    def goals(self) -> Tensor:
        """[B, 2], the place of the goal."""
        return self.state["landmarks"][self._all, self.state["goal"]]

    def _to_goal(self) -> Tensor:
        """[B, 2], the way from the listener to the goal."""
        return self.goals - self.state["position"]

    def observe(self, worlds: Tensor | None = None) -> Tensor:
        """[B, 2, 3 L + 2 + words] float32: goal; velocity, ways to the landmarks, word."""
        chosen = self._all if worlds is None else worlds
        state = {name: value[chosen] for name, value in self.state.items()}
        goal = one_hot(state["goal"], self.config.landmarks).float()
        ways = (state["landmarks"] - state["position"].unsqueeze(1)).flatten(1)
        heard = torch.cat([torch.zeros_like(goal), state["velocity"], ways, state["word"]], 1)
        told = torch.cat([goal, torch.zeros_like(heard[:, goal.shape[1] :])], 1)
        return torch.stack([told, heard], 1)

    def success(self) -> Tensor:
        """[B] bool, the listener touches the goal."""
        return self._to_goal().square().sum(1) <= TOUCH**2

    def facts(self) -> dict[str, Tensor]:
        """Roles, and the goal, for the speaker."""
        goal = torch.stack([self.state["goal"], torch.full_like(self.state["goal"], -1)], 1)
        return super().facts() | {"goal": goal}

    def scene(self, world: int) -> dict[str, Any]:
        """All places, the goal, and the speaker's last word."""
        found: dict[str, Any] = {"goal": int(self.state["goal"][world])}
        for name in ("position", "speaker", "landmarks", "word"):
            found[name] = rounded(self.state[name][world])
        return found

    def render(self, world: int, mode: Literal["ansi", "rgb_array"], links: list[DrawnMessage] | None = None) -> Any:
        """Draw one world as text, or as an [H, W, 3] image: the goal is the red diamond, the speaker gray.

        Raises:
            ValueError: If the mode is unknown.
        """
        check_mode(mode)
        scene = self.scene(world)
        if mode == "ansi":
            lines = [f"{name} at {x:.2f}, {y:.2f}" for name, (x, y) in zip(self.agents, _two(scene), strict=True)]
            for number, (x, y) in enumerate(scene["landmarks"]):
                line = f"landmark {number} at {x:.2f}, {y:.2f}"
                lines.append(line + (" is the goal" if number == scene["goal"] else ""))
            return draw_text(lines, self.agents, links)

        def at(place: list[float]) -> Any:
            x, y = (max(-1.45, min(1.45, value)) for value in place)
            return np.array([(1.5 - y) * SIDE / 3, (x + 1.5) * SIDE / 3])

        spots = [at(place) for place in _two(scene)]
        marks = [
            Mark(at(place), 9, GOAL if number == scene["goal"] else QUIET, "diamond")
            for number, place in enumerate(scene["landmarks"])
        ]
        marks += [Mark(spots[SPEAKER], 8, QUIET), Mark(spots[LISTENER], 10, AGENT)]
        return draw(SIDE, SIDE, marks, spots, links, frame(SIDE, SIDE))


def _two(scene: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Places of speaker and listener."""
    return scene["speaker"], scene["position"]


def steer(world: SpeakerListener, target: Tensor) -> Tensor:
    """[B, 2, ...], actions with which the listener comes to rest at a target [B, 2].

    It looks at where it would come to rest, which a push of 1 moves by 0.2, and pushes along the direction in which
    that is farthest from the target; along both, as far as it is necessary, if pushes are continuous.
    """
    off, reach = target - place_of_rest(world), STEP * STEP * PUSH / DAMPING
    if world.config.continuous:
        push = (off / reach).clamp(-1.0, 1.0)
        actions = torch.zeros(len(off), 2, *world.actions.shape, device=world.device)
        actions[:, LISTENER, :2] = push
        return actions
    along = off.abs().argmax(1)
    way = off.gather(1, along.unsqueeze(1)).squeeze(1)
    move = (1 + 2 * along + (way > 0)).masked_fill(way.abs() < reach / 2, 0)
    return torch.stack([torch.zeros_like(move), move], 1)


def place_of_rest(world: SpeakerListener) -> Tensor:
    """[B, 2], where the listener would come to rest without further pushes."""
    return world.state["position"] + world.state["velocity"] * STEP / DAMPING


def told(world: SpeakerListener) -> Tensor:
    """[B, 2, ...], actions of a listener that knows the goal."""
    return steer(world, world.goals)


def silent(world: SpeakerListener) -> Tensor:
    """[B, 2, ...], actions of a listener that does not: it goes to the middle of the landmarks."""
    return steer(world, world.state["landmarks"].mean(1))


def expected(config: SpeakerListenerConfig, team: Literal["silent", "told"]) -> float:
    """Mean reward per step in closed form, of a listener that is at rest where it wants to be."""
    return -(1 - 1 / config.landmarks) * 2 / 3 if team == "silent" else 0.0


def parallel_env(**arguments: Any) -> ParallelView:
    """One Speaker-Listener world for PettingZoo; arguments: those of its config, and ``render_mode``."""
    return view("speaker_listener", **arguments)
