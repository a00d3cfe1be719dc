"""A world with a directory, on which attacks can act."""

from __future__ import annotations

from typing_extensions import TypeVar

from agentcomm.contracts.world import World, WorldConfig
from agentcomm.directory.hub import Directory

W_co = TypeVar("W_co", bound=WorldConfig, default=WorldConfig, covariant=True)


class DirectoryWorld(World[W_co]):
    """A world whose agents find each other through a directory.

    It keeps the directory's state among its own, so that both are saved and restored together.

    Attributes:
        directory: The hub, whose ``state`` is the world's.
    """

    directory: Directory

    def found(self, directory: Directory) -> None:
        """Take the directory in; call once, after the world's own state is made."""
        self.state |= directory.state
        directory.state = self.state
        self.directory = directory
