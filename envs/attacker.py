"""An environment to train attackers in: they attack the messages between the members of a trained, frozen team.

The team decides greedily. The environment's agents are per-message attacker agents, one per message slot (receiver and
slot of its inbox); each chooses in every step what to do to its message. They observe the message as far as the
attack's threat model allows (:meth:`attacks.ml.steered.Steered.sight`), the step and the budget left, and the guard
holds them to that threat model in training, too. The attacks ``learned`` and ``mask`` apply the trained policies.

All attacker agents get the same reward, the negated mean reward of the team's members; each also pays ``price`` for its
message, times the size of the change as a share of the longest allowed one, or in full if the message is masked (the
penalty of R-MACRL and DMAC; arXiv 2108.03803, 2504.21278). The team may be defended (``defenses``): an attacker that is
trained again against the frozen defended team shows what a defense is worth against one that has adapted to it.

With a policy without messages (``ippo``, ``mappo``) they act independently; with a communicating policy they coordinate
over a channel that the team cannot see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.base.errors import CheckpointError, ConfigError
from agentcomm.base.inputs import InputPath, find_input
from agentcomm.base.seeds import derive
from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.threat_model import Budget, Position, ThreatModel
from agentcomm.contracts.traffic import Traffic
from agentcomm.contracts.views import MessageView
from agentcomm.contracts.world import DrawnMessage, Observation, Transition, World, WorldConfig
from agentcomm.evaluation.calibration import Clean, calibrate
from agentcomm.evaluation.play import play
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import deployment, make_world
from agentcomm.runs.choices import PLAIN_TRANSPORT, Choice
from agentcomm.runs.fitting import check_defenses, construct
from agentcomm.step.comms import Comms
from agentcomm.step.loop import TeamLoop
from agentcomm.step.preview import preview_messages
from attacks.external.place import place
from attacks.ml.steered import Handle, Steered

EAVESDROPPED = 64  # episodes whose messages are read before training


class AttackerConfig(WorldConfig):
    """Arguments of ``attacker``."""

    max_steps: int = Field(
        1000, ge=1, description="steps after which an episode is truncated, if the team's episode does not end earlier"
    )
    victim: Annotated[str | None, InputPath()] = Field(
        None, description="folder of the attacked team's policy, such as runs/mine/teams/team-0/policy"
    )
    power: Handle = Field("modify", description="rewrite messages (attack learned) or mask them (attack mask)")
    budget: Budget = Field(
        Budget(norm=0.5, per_episode=12), description="limits on the attack; norm bounds the change of a payload entry"
    )
    node: int | None = Field(None, ge=0, description="the compromised agent; none for an attacker on the path of links")
    links: tuple[tuple[int, int], ...] | None = Field(
        None, description="attacked links as [sender, receiver]; all when not given"
    )
    phrases: int = Field(8, ge=0, le=256, description="messages of honest agents that it can substitute for others")
    price: float = Field(0.0, ge=0, description="cost of attacking a message, in units of reward, to train stealth")
    defenses: tuple[Choice, ...] = Field((), description="defenses of the frozen team that it trains against")


class SteeredByActions(Steered):
    """Carries out the choices of the per-message attacker agents, and records what each of them pays."""

    def memory(self) -> dict[str, Tensor]:
        """``chosen``: [B, N * k] int64, this step's actions; ``paid``: [B, N * k], sizes of the changes they caused."""
        memory = super().memory()
        chosen = torch.zeros_like(memory["choice"])
        return memory | {"chosen": chosen, "paid": chosen.float()}

    def choose(self, sight: Tensor, able: Tensor, view: MessageView) -> Tensor:
        """The attacker agents' actions of this step."""
        view.memory["paid"].zero_()
        return view.memory["chosen"]

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Carry out the choices, and record sizes of changes as shares of the longest allowed one."""
        edits = super().on_messages(view)
        if edits.drop is not None:
            size = edits.drop.float()
        else:
            assert edits.modify is not None
            assert edits.change is not None
            longest = self.team_shape.width**0.5 * (self.budget.norm or 1.0)
            size = edits.modify * edits.change.norm(dim=-1) / longest
        view.memory["paid"].add_(size[..., : self.team_shape.degree].flatten(1))
        return edits


class Attacker(World[AttackerConfig]):
    """B worlds of a frozen team, with one attacker agent per message slot."""

    keeps = ("loop",)

    def __init__(self, config: AttackerConfig, num_worlds: int = 1, device: str | torch.device = "cpu") -> None:
        super().__init__(config, num_worlds, device)
        if config.observation != "dense":
            raise ConfigError("environment attacker offers observation 'dense' only")
        saved = _victim(config.victim, str(self.device))
        self.victim = saved.policy.eval().requires_grad_(False)
        self.team = make_world(saved.environment, num_worlds, self.device)
        try:
            self._attack(saved)
        except BaseException:
            self.close()
            raise

    def _attack(self, saved: policy_file.SavedPolicy) -> None:
        """Build the attack on the team, and with it the description of this world."""
        config, num_worlds = self.config, self.num_worlds
        self.team.generator = self.generator  # one source of randomness
        self.max_steps = min(config.max_steps, self.team.max_steps)
        team_shape = _team_shape(self.team, self.victim)
        if not team_shape.degree:
            raise ConfigError(f"the team in {config.victim} has no links, so there are no messages to attack")
        position = place(config.node, config.links)
        try:
            phrases = _eavesdrop(saved, position, config.phrases if config.power == "modify" else 0)
            self.steered = SteeredByActions(AttackConfig(), team_shape, position, config.power, config.budget, phrases)
            self.loop = TeamLoop(self.team, self.victim, self._comms(0))
        except ValueError as error:
            raise ConfigError(f"the attacker does not fit the team in {config.victim}: {error}") from error
        self.agents = tuple(f"to_{to}_{slot}" for to in self.team.agents for slot in range(team_shape.degree))
        self.action_names = self.steered.actions
        self.layout = Observation("dense", self.steered.sight_width)
        self.state = {
            "sight": torch.zeros(num_worlds, self.num_agents, self.layout.width, device=self.device),
            "able": torch.zeros(num_worlds, self.num_agents, dtype=torch.bool, device=self.device),
        }

    @property
    def comms(self) -> Comms:
        """The team's network and its adversary."""
        return self.loop.comms

    def _comms(self, seed: int) -> Comms:
        team_shape, chosen = self.steered.team_shape, self.config.defenses
        defenses = [construct("defense", choice, team_shape) for choice in chosen]
        check_defenses(chosen, defenses, deployment(self.team, self.victim, defenses=defenses))
        calibrate(defenses, Clean(self.team, self.victim, PLAIN_TRANSPORT))
        return Comms.between(team_shape, [self.steered], defenses, derive(seed, "attacker"))

    def reset(self, seed: int | None = None, scene: Mapping[str, Any] | None = None) -> Tensor:
        """Start new episodes in all worlds; a seed also seeds attack and defenses."""
        if seed is not None:
            self.loop.comms = self._comms(seed)
        return super().reset(seed, scene)

    def begin(self, worlds: Tensor, generator: torch.Generator, scene: Mapping[str, Any] | None = None) -> None:
        """Start the team's episodes."""
        self.team.generator = generator
        self.team._begin(worlds, scene)
        self.team.length[worlds] = 0
        self.loop.begin(worlds)
        self._preview()

    def _preview(self) -> None:
        """Compute the attacker agents' observations from the messages that the team is about to send."""
        loop, team_shape = self.loop, self.steered.team_shape
        step = self.team.length.clone()
        said, links = preview_messages(self.victim, loop.observation, loop.graph, step, loop.alive, loop.memory)
        traffic = Traffic.on_links(said, links, step, 0, team_shape.rounds, self.comms.network.spare)
        self.state["sight"], self.state["able"] = self.steered.sight(
            self.comms.adversary.message_guards[0].show(traffic, step, 0)
        )

    def advance(self, actions: Tensor, generator: torch.Generator) -> Transition:
        """Let the team take one step under attack."""
        able, memory = self.state["able"], self.comms.adversary.guards[0].memory.tensors
        memory["chosen"].copy_(actions)
        record = self.loop.step()  # new episodes are started by begin
        step = record.step
        reward = -record.mean_reward.unsqueeze(1) - self.config.price * memory["paid"]
        self._preview()
        return Transition(reward, step.terminated, able, step.truncated)

    def observe(self, worlds: Tensor | None = None) -> Tensor:
        """[B, N * k, O] float32, each attacker agent's observation of its message."""
        sight = self.state["sight"]
        return sight.clone() if worlds is None else sight[worlds]

    def success(self) -> Tensor:
        """[B] bool, the team's goal is not reached."""
        return ~self.team.success()

    def render(self, world: int, mode: Literal["ansi", "rgb_array"], links: list[DrawnMessage] | None = None) -> Any:
        """The team's world; messages between attacker agents are not drawn."""
        return self.team.render(world, mode)

    def scene(self, world: int) -> dict[str, Any]:
        """The team's scene."""
        return self.team.scene(world)

    def close(self) -> None:
        """Close the team's world."""
        self.team.close()


def _victim(folder: str | None, device: str) -> policy_file.SavedPolicy:
    if folder is None:
        raise ConfigError("environment attacker needs a team to attack: victim=<folder of its policy>")
    try:
        saved = policy_file.load(find_input(folder), device)
    except CheckpointError as error:
        raise ConfigError(f"environment attacker, victim: {error}") from None
    if not saved.policy.rounds:
        raise ConfigError(f"the team in {folder} sends no messages, so there is nothing to attack")
    if saved.policy.autoregressive:
        raise ConfigError(
            f"the team in {folder} acts in turns (autoregressive); train attackers on teams that act all at once"
        )
    return saved


def _team_shape(world: World, policy: Any) -> TeamShape:
    sizes = (world.num_worlds, world.num_agents, policy.topology.degree, policy.width, policy.exchanges)
    return TeamShape(*sizes, world.device)


class _Recording(Attack):
    """Records payloads in the attacker's reach, before training."""

    def __init__(self, team_shape: TeamShape, position: Position, note: Callable[[int, Tensor], None]) -> None:
        super().__init__(AttackConfig(), team_shape)
        self._position, self._note = position, note

    def threat_model(self) -> ThreatModel:
        """Reads at the attacker's position."""
        return ThreatModel(self._position, frozenset({"read"}))

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Record the payloads in reach."""
        self._note(view.round, view.payload[view.reach])
        return MessageEdits()


def _eavesdrop(saved: policy_file.SavedPolicy, position: Position, count: int) -> Tensor:
    """[R, count, D], messages that honest agents sent, drawn from the same ones in every exchange of a step."""
    device = next(iter(saved.policy.parameters())).device
    if not count:
        return torch.zeros(saved.policy.exchanges, 0, saved.policy.width, device=device)
    seed = derive(0, "eavesdropped")
    with closing(make_world(saved.environment, EAVESDROPPED, device)) as world:
        team_shape = _team_shape(world, saved.policy)
        payloads: list[list[Tensor]] = [[] for _ in range(team_shape.rounds)]
        recording = _Recording(team_shape, position, lambda round_, payload: payloads[round_].append(payload))
        play(world, saved.policy, Comms.between(team_shape, [recording]), seed)
    sent = torch.stack([torch.cat(parts) for parts in payloads])
    if not sent.shape[1]:
        raise ConfigError("no messages are sent in the attacker's reach")
    pick = torch.randint(sent.shape[1], (count,), generator=torch.Generator().manual_seed(seed))
    return sent[:, pick.to(device)]
