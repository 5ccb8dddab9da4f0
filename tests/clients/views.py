"""A repository as it looks from one desk, which may know the server by another name."""

from __future__ import annotations

from dataclasses import dataclass

from clients.shelves import PROJECT, USER, Shelf
from support.tools import Desk


@dataclass(frozen=True, slots=True)
class View:
    """A desk, and the repository that its tools are pointed at."""

    origin: str
    """The registry, as this desk knows it."""
    desk: Desk
    shelf: Shelf

    @property
    def upload_url(self) -> str:
        """Where publishing tools send files."""
        return f"{self.origin}/{PROJECT}/{self.shelf.name}/"

    @property
    def index_url(self) -> str:
        """What installers point at."""
        return f"{self.upload_url}simple/"

    @property
    def index_url_of_user(self) -> str:
        """The same with a user name, without which pip and uv do not run the keyring command."""
        return self.index_url.replace("://", f"://{USER}@")
