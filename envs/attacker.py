"""The wire between the members of a trained team, seen by an attacker: an environment to train attackers in.

The team is frozen and decides greedily. This world's agents are the attacker's hands: one per message slot (receiver
and place in its inbox), which decide in every step what is done to their message. They see what the attack's threat
model shows (:meth:`attacks.steered.Steered.sight`), the step and the budget left, and the guard holds them to that
threat model in training, too. What they learn is applied by the attacks ``learned`` and ``mask``.

All hands get the same reward, minus the team's (mean over its members); and each pays ``price`` for its message, times
the share of the longest allowed change, or once if it is masked (R-MACRL's and DMAC's penalty; arXiv 2108.03803,
2504.21278). A policy without messages (``ippo``, ``mappo``) makes hands that do not confer; one with messages makes
hands that do, unseen by anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from agentcomm import policy_file, registry
from agentcomm.assembly import make_world
from agentcomm.config import Choice, build
from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.shape import Setting
from agentcomm.contracts.threat_model import Budget, Position, ThreatModel
from agentcomm.contracts.views import MessageView
from agentcomm.deciding import decide, first_words
from agentcomm.errors import CheckpointError, ConfigError
from agentcomm.evaluation.episodes import play
from agentcomm.messages.traffic import Traffic
from agentcomm.seeds import derive
from agentcomm.step.comms import Comms
from agentcomm.world import Link, Observation, Transition, World, WorldConfig
from attacks.place import place
from attacks.steered import Handle, Steered

EAVESDROPPED = 64  # episodes listened to before the first attack


class AttackerConfig(WorldConfig):
    """Arguments of ``attacker``."""

    max_steps: int = Field(
        1000, ge=1, description="steps after which an episode is truncated, if the team's do not end"
    )
    victim: str | None = Field(
        None, description="folder of the attacked team's policy, such as runs/mine/teams/team-0/policy"
    )
    power: Handle = Field("modify", description="rewrite messages (attack learned) or mask them (attack mask)")
    budget: Budget = Field(
        Budget(norm=0.5, per_episode=12), description="how much it may do; norm bounds changes of every payload entry"
    )
    node: int | None = Field(None, ge=0, description="the compromised agent; none to be on the path of links")
    links: tuple[tuple[int, int], ...] | None = Field(
        None, description="attacked links as [sender, receiver]; all when not given"
    )
    phrases: int = Field(8, ge=0, le=256, description="messages of honest agents that it can put in place of others")
    price: float = Field(0.0, ge=0, description="of a message, in units of reward: stealth")
    defenses: tuple[Choice, ...] = Field((), description="defenses of the team while the attacker is trained")


class Hand(Steered):
    """Does what the world's agents have chosen, and notes what each of them pays."""

    def memory(self) -> dict[str, Tensor]:
        """Besides, what is chosen in this step, and the size of what was done for it."""
        memory = super().memory()
        chosen = torch.zeros_like(memory["choice"])
        return memory | {"chosen": chosen, "paid": chosen.float()}

    def choose(self, sight: Tensor, able: Tensor, view: MessageView) -> Tensor:
        """The actions of this step."""
        view.memory["paid"].zero_()
        return view.memory["chosen"]

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Note sizes, in shares of the longest change."""
        edits = super().on_messages(view)
        if edits.drop is not None:
            size = edits.drop.float()
        else:
            assert edits.modify is not None
            assert edits.change is not None
            longest = self.setting.width**0.5 * (self.budget.norm or 1.0)
            size = edits.modify * edits.change.norm(dim=-1) / longest
        view.memory["paid"].add_(size[..., : self.setting.degree].flatten(1))
        return edits


class Attacker(World[AttackerConfig]):
    """B worlds of a frozen team, with the attacker's hands as agents."""

    def __init__(self, config: AttackerConfig, num_worlds: int = 1, device: str | torch.device = "cpu") -> None:
        super().__init__(config, num_worlds, device)
        if config.observation != "dense":
            raise ConfigError("environment attacker offers observation 'dense' only")
        saved = _victim(config.victim, str(self.device))
        self.victim = saved.policy.eval().requires_grad_(False)
        self.team = make_world(saved.environment, num_worlds, self.device)
        self.team.generator = self.generator  # one source of randomness
        self.max_steps = min(config.max_steps, self.team.max_steps)
        setting = _setting(self.team, self.victim)
        if not setting.degree:
            raise ConfigError(f"the team in {config.victim} has no links: there is no message to attack")
        position = place(config.node, config.links)
        try:
            heard = _eavesdrop(saved, position, config.phrases if config.power == "modify" else 0)
            self.steered = Hand(AttackConfig(), setting, position, config.power, config.budget, heard)
            self.comms = self._comms(0)
        except ValueError as error:
            raise ConfigError(f"the attacker does not fit the team in {config.victim}: {error}") from error
        self.agents = tuple(f"to_{to}_{slot}" for to in self.team.agents for slot in range(setting.degree))
        self.action_names = self.steered.actions
        self.layout = Observation("dense", self.steered.sight_width)
        self._graph = None if self.victim.topology.dynamic else self.victim.topology.graph(None, num_worlds)
        self.state = {
            "sight": torch.zeros(num_worlds, self.num_agents, self.layout.width, device=self.device),
            "able": torch.zeros(num_worlds, self.num_agents, dtype=torch.bool, device=self.device),
        }

    def _comms(self, seed: int) -> Comms:
        setting = self.steered.setting
        defenses = [registry.find("defense", c.name)(build("defense", c), setting) for c in self.config.defenses]
        return Comms.between(setting, [self.steered], defenses, derive(seed, "attacker"))

    def reset(self, seed: int | None = None, scene: Mapping[str, Any] | None = None) -> Tensor:
        """Start all worlds anew; with a seed, defenses draw anew, too."""
        if seed is not None:
            self.comms = self._comms(seed)
        return super().reset(seed, scene)

    def begin(self, worlds: Tensor, generator: torch.Generator, scene: Mapping[str, Any] | None = None) -> None:
        """Start the team's episodes."""
        self.team.generator = generator
        self.team._begin(worlds, scene)
        self.team.length[worlds] = 0
        self.comms.reset(worlds)
        self._look()

    def _alive(self) -> Tensor | None:
        return self.team.alive.clone() if self.team.config.loses_members else None

    def _look(self) -> None:
        """Show the hands what is about to be said."""
        said, links = first_words(self.victim, self.team.observe(), self._graph, self._alive())
        step, setting = self.team.length.clone(), self.steered.setting
        traffic = Traffic.on_links(said, links, step, 0, setting.rounds, self.comms.network.spare)
        shown = self.comms.adversary.message_guards[0].show(traffic, step, 0)
        self.state["sight"], self.state["able"] = self.steered.sight(shown)

    def advance(self, actions: Tensor, generator: torch.Generator) -> Transition:
        """Let the team decide under attack, and take its step."""
        team, able = self.team, self.state["able"]
        memory, alive = self.comms.adversary.guards[0].memory.tensors, self._alive()
        memory["chosen"].copy_(actions)
        decision = decide(self.victim, team.observe(), self._graph, self.comms, team.length.clone(), None, alive)
        step = team.step(decision.action, auto_reset=False)
        there = torch.ones_like(step.reward) if alive is None else alive.float()
        harm = -(step.reward * there).sum(1) / there.sum(1)
        reward = harm.unsqueeze(1) - self.config.price * memory["paid"]
        self._look()
        return Transition(reward, step.terminated, able, step.truncated)

    def observe(self, worlds: Tensor | None = None) -> Tensor:
        """[B, N * k, O] float32, what each hand sees of its message."""
        sight = self.state["sight"]
        return sight.clone() if worlds is None else sight[worlds]

    def success(self) -> Tensor:
        """[B] bool, whether the team's goal is not reached."""
        return ~self.team.success()

    def render(self, world: int, mode: Literal["ansi", "rgb_array"], links: list[Link] | None = None) -> Any:
        """The team's world; messages between hands are not drawn."""
        return self.team.render(world, mode)

    def scene(self, world: int) -> dict[str, Any]:
        """The team's scene."""
        return self.team.scene(world)

    def get_state(self) -> dict[str, Any]:
        """Also the team's world, and what lies between its members."""
        return super().get_state() | {"team": self.team.get_state(), "comms": self.comms.snapshot()}

    def set_state(self, saved: Mapping[str, Any]) -> None:
        """Go on with the very same episodes."""
        super().set_state(saved)
        self.team.set_state(saved["team"])
        self.team.generator = self.generator
        self.comms.restore(saved["comms"])


def _victim(folder: str | None, device: str) -> policy_file.SavedPolicy:
    if folder is None:
        raise ConfigError("environment attacker needs a team to attack: victim=<folder of its policy>")
    try:
        saved = policy_file.load(Path(folder), device)
    except CheckpointError as error:
        raise ConfigError(f"environment attacker, victim: {error}") from None
    if not saved.policy.rounds:
        raise ConfigError(f"the team in {folder} says nothing: there is no message to attack")
    if saved.policy.tells_actions:
        raise ConfigError(
            f"the team in {folder} tells its actions in turns; attackers are trained on teams that act at once"
        )
    return saved


def _setting(world: World, policy: Any) -> Setting:
    sizes = (world.num_worlds, world.num_agents, policy.topology.degree, policy.width, policy.exchanges)
    return Setting(*sizes, world.device)


class _Listening(Attack):
    """Passes on what is said in the attacker's reach; in no episode that counts."""

    def __init__(self, setting: Setting, position: Position, note: Callable[[int, Tensor], None]) -> None:
        super().__init__(AttackConfig(), setting)
        self._position, self._note = position, note

    def threat_model(self) -> ThreatModel:
        """Reads."""
        return ThreatModel(self._position, frozenset({"read"}))

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Pass on payloads."""
        self._note(view.round, view.payload[view.reach])
        return MessageEdits()


def _eavesdrop(saved: policy_file.SavedPolicy, position: Position, count: int) -> Tensor:
    """[R, count, D] messages that honest agents sent, the same ones in every exchange of a step."""
    device = next(iter(saved.policy.parameters())).device
    world = make_world(saved.environment, EAVESDROPPED, device)
    setting = _setting(world, saved.policy)
    if not count:
        return torch.zeros(setting.rounds, 0, setting.width, device=device)
    noted: list[list[Tensor]] = [[] for _ in range(setting.rounds)]
    ear = _Listening(setting, position, lambda round_, payload: noted[round_].append(payload))
    seed = derive(0, "eavesdropped")
    play(world, saved.policy, Comms.between(setting, [ear]), seed)
    said = torch.stack([torch.cat(parts) for parts in noted])
    if not said.shape[1]:
        raise ConfigError("nothing is said in the attacker's reach")
    pick = torch.randint(said.shape[1], (count,), generator=torch.Generator().manual_seed(seed))
    return said[:, pick.to(device)]
