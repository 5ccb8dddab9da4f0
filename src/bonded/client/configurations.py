"""Named sets of properties, one of which is active, as gcloud has them."""

from __future__ import annotations

import re
from pathlib import Path

from bonded.client.environment import Environment
from bonded.client.errors import Misconfigured
from bonded.client.private_files import read_private, remove_private, write_private
from bonded.client.properties import SENTINEL, Configuration

DEFAULT = "default"
ACTIVE_VARIABLE = "BONDED_ACTIVE_CONFIG_NAME"
_NAME = re.compile(r"[a-z][a-z0-9-]*")


class Configurations:
    """The configurations of one directory."""

    def __init__(self, directory: Path, environment: Environment) -> None:
        self._directory = directory
        self._environment = environment
        self._active_path = directory / "active_config"

    @property
    def active_name(self) -> str:
        """The name of the active one: the environment's, else the last activated.

        Raises:
            Misconfigured: the name cannot be one.
        """
        chosen = self._environment.find(ACTIVE_VARIABLE) or read_private(self._active_path)
        return _checked((chosen or "").strip() or DEFAULT)

    def open(self, name: str | None = None) -> Configuration:
        """Return a configuration, the active one unless *name* says otherwise.

        Raises:
            Misconfigured: there is none of that name.
        """
        name = self.active_name if name is None else _checked(name)
        if name not in self.list_names():
            raise _unknown(name)
        return Configuration(self._directory, self._environment, name)

    def list_names(self) -> tuple[str, ...]:
        """Return all names, sorted; the default one is always there."""
        paths = (self._directory / "configurations").glob("*.ini")
        found = (path.stem for path in paths if _NAME.fullmatch(path.stem))
        return tuple(sorted({DEFAULT, *found}))

    def create(self, name: str) -> None:
        """Make an empty configuration.

        Raises:
            Misconfigured: there is one of that name, or the name cannot be one.
        """
        if _checked(name) in self.list_names():
            raise Misconfigured(
                f"Cannot create configuration [{name}], because it already exists.",
                hint=f"Use it with `bonded config configurations activate {name}`.",
            )
        write_private(self._path(name), "")

    def rename(self, name: str, new_name: str) -> None:
        """Give a configuration another name, under which it stays active if it was.

        Raises:
            Misconfigured: there is none of the one name, or one of the other, which cannot be one,
                or it is the default configuration, which is always there.
        """
        if _checked(name) not in self.list_names():
            raise _unknown(name)
        if name == DEFAULT:
            raise Misconfigured(
                f"The configuration [{DEFAULT}] keeps its name: it is always there.",
                hint="Make another with `bonded config configurations create NAME`.",
            )
        was_active = name == self.active_name
        self.create(new_name)
        write_private(self._path(new_name), read_private(self._path(name)) or "")
        if was_active:
            self.activate(new_name)
        remove_private(self._path(name))

    def activate(self, name: str) -> None:
        """Make a configuration the active one.

        Raises:
            Misconfigured: there is none of that name.
        """
        if _checked(name) not in self.list_names():
            raise _unknown(name)
        write_private(self._active_path, f"{name}\n")
        write_private(self._directory / SENTINEL, "")

    def delete(self, name: str) -> None:
        """Forget a configuration.

        Raises:
            Misconfigured: there is none of that name, or it is the active one.
        """
        if _checked(name) not in self.list_names():
            raise _unknown(name)
        if name == self.active_name:
            raise Misconfigured(
                f"Deleting named configuration failed because configuration [{name}] is set as "
                "active.",
                hint="Use `bonded config configurations activate` to change the active "
                "configuration.",
            )
        remove_private(self._path(name))

    def _path(self, name: str) -> Path:
        return self._directory / "configurations" / f"{name}.ini"


def _checked(name: str) -> str:
    """Return *name* if it can be one: it becomes the name of a file."""
    if not _NAME.fullmatch(name):
        raise Misconfigured(
            f"Invalid name [{name}] for a configuration.",
            hint="Name it with lower-case letters, digits and dashes, a letter first.",
        )
    return name


def _unknown(name: str) -> Misconfigured:
    return Misconfigured(
        f"Cannot find configuration [{name}].",
        hint=f"Make it with `bonded config configurations create {name}`.",
    )
