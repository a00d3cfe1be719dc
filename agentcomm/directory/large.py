"""Answers of large hubs, which do not rank all cards for each of as many look-ups.

In a step only the look-ups that are served are ranked, as many as the hub has capacity for. When an episode begins, all
are served and no member is excluded, so look-ups of one skill are answered alike.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from agentcomm.contracts.cards import Cards
from agentcomm.contracts.directory_defense import Answer
from agentcomm.directory.config import DirectoryConfig
from agentcomm.directory.shelf import Shelf

MOST_AT_ONCE = 256  # look-ups and members up to which cards are ranked for each look-up


def is_large(lookups: int, members: int) -> bool:
    """Whether a hub of so many look-ups per step and members is a large one."""
    return max(lookups, members) > MOST_AT_ONCE


def answer_served(
    cards: Cards,
    reputation: Tensor,
    requirement: Tensor,
    asked: Tensor,
    excluded: Tensor,
    generator: torch.Generator,
    config: DirectoryConfig,
) -> Answer:
    """The answers to the look-ups of a step.

    Args:
        cards: The cards [B, S].
        reputation: [B, P].
        requirement: [B, Q, K].
        asked: [B, Q] bool, look-ups that are served.
        excluded: [B, Q, P] bool, principals not to name.
        generator: Draws what breaks ties.
        config: The hub's.
    """
    at = asked.long().argsort(dim=1, descending=True, stable=True)[:, : int(asked.sum(1).max())]

    def rows(values: Tensor) -> Tensor:
        return values.gather(1, at.unsqueeze(2).expand(-1, -1, values.shape[2]))

    shelf = Shelf.of(cards, reputation, at.shape[1])
    ranked = rows(requirement), asked.gather(1, at), rows(excluded), shelf.ties(generator)
    offered = ranked[0] @ cards.claim.mT
    found = shelf.answer(*ranked, config.listed, config.reputation_weight, offered)

    def placed(values: Tensor, empty: float) -> Tensor:
        """[B, Q, ...], the values [B, C, ...] of the served look-ups."""
        everywhere = values.new_full((len(values), asked.shape[1], *values.shape[2:]), empty)
        return everywhere.scatter(1, _like(at, values), values)

    return Answer(
        slot=placed(found.slot, -1),
        principal=placed(found.principal, -1),
        claim=placed(found.claim, 0.0),
        reputation=placed(found.reputation, 0.0),
        served=asked,
    )


def first_answer(
    cards: Cards,
    reputation: Tensor,
    requirement: Tensor,
    excluded: Tensor,
    generator: torch.Generator,
    config: DirectoryConfig,
    members: int,
) -> Answer:
    """The answers to the look-ups with which episodes begin, all of which are served, in hubs of any size.

    Args:
        cards: The cards [B, S].
        reputation: [B, P].
        requirement: [B, Q, K].
        excluded: [B, Q, P] bool, principals not to name.
        generator: Draws what breaks ties.
        config: The hub's.
        members: Members of the team.
    """
    if is_large(requirement.shape[1], members) and not bool(excluded.any()):
        answer = _by_skill(cards, reputation, requirement, generator, config)
        if answer is not None:
            return answer
    shelf = Shelf.of(cards, reputation, requirement.shape[1])
    served = torch.ones_like(requirement[..., 0], dtype=torch.bool)
    ties = shelf.ties(generator)
    return shelf.answer(requirement, served, excluded, ties, config.listed, config.reputation_weight)


def _by_skill(
    cards: Cards, reputation: Tensor, requirement: Tensor, generator: torch.Generator, config: DirectoryConfig
) -> Answer | None:
    """The answers to look-ups that exclude no member; None unless each needs a single skill."""
    worlds, _, skills = requirement.shape
    need = requirement.argmax(2)
    if not torch.equal(one_hot(need, skills).to(requirement.dtype), requirement):
        return None
    shelf = Shelf.of(cards, reputation, skills)
    each = torch.eye(skills, dtype=requirement.dtype, device=requirement.device).expand(worlds, -1, -1)
    all_ = torch.ones(worlds, skills, dtype=torch.bool, device=requirement.device)
    none_excluded = torch.zeros(worlds, skills, reputation.shape[1], dtype=torch.bool, device=requirement.device)
    found = shelf.answer(each, all_, none_excluded, shelf.ties(generator), config.listed, config.reputation_weight)
    parts = (found.slot, found.principal, found.claim, found.reputation)
    slot, principal, claim, stands = (part.gather(1, _like(need, part)) for part in parts)
    return Answer(slot, principal, claim, stands, torch.ones_like(need, dtype=torch.bool))


def _like(at: Tensor, values: Tensor) -> Tensor:
    """Indices [B, Q] of rows of the values [B, ., ...], for each of their entries."""
    return at.view(*at.shape, *(1,) * (values.dim() - 2)).expand(*at.shape, *values.shape[2:])
