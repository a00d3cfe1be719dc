"""The directory: cards that agents register with a hub, and are chosen by."""

from agentcomm.contracts.cards import Cards
from agentcomm.directory.hub import Answer, Directory, DirectoryConfig
from agentcomm.directory.world import DirectoryWorld

__all__ = ["Answer", "Cards", "Directory", "DirectoryConfig", "DirectoryWorld"]
