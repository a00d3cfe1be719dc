"""The directory: cards that agents register with a hub, and are chosen by."""

from agentcomm.directory.attack import (
    DirectoryAttack,
    DirectoryAttackConfig,
    DirectoryEdits,
    DirectoryView,
    Ratings,
    Registrations,
)
from agentcomm.directory.cards import Cards
from agentcomm.directory.guard import DirectoryGuard
from agentcomm.directory.hub import Answer, Directory, DirectoryConfig
from agentcomm.directory.world import DirectoryWorld, directory_guards

__all__ = [
    "Answer",
    "Cards",
    "Directory",
    "DirectoryAttack",
    "DirectoryAttackConfig",
    "DirectoryConfig",
    "DirectoryEdits",
    "DirectoryGuard",
    "DirectoryView",
    "DirectoryWorld",
    "Ratings",
    "Registrations",
    "directory_guards",
]
