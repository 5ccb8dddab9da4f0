"""The environment, read here and nowhere else on the client's side."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Environment:
    """The variables of this process, and the one directory that they may move."""

    variables: Mapping[str, str]

    def find(self, *names: str) -> str | None:
        """Return the value of the first of *names* that is set and not empty."""
        return next((value for name in names if (value := self.variables.get(name))), None)

    @property
    def config_directory(self) -> Path:
        """Where properties, credentials and tokens live; `BONDED_CONFIG` moves it."""
        if chosen := self.find("BONDED_CONFIG"):
            return Path(chosen).expanduser()
        # Imported late: most of what scripts do names the directory or never needs it.
        from platformdirs import user_config_path  # noqa: PLC0415

        return user_config_path("bonded", appauthor=False, roaming=False)


def read_environment() -> Environment:
    """Return the environment of this process."""
    return Environment(os.environ)  # noqa: TID251 - the client's only reader of the environment
