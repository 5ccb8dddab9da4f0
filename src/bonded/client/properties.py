"""The properties that people set once instead of typing them, and where each may come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bonded.client.environment import Environment
from bonded.client.errors import Misconfigured
from bonded.client.private_files import read_private, write_private
from bonded.client.servers import parse_server
from bonded.client.services import Names, parse_hosts, parse_origins

SENTINEL = "config_sentinel"


@dataclass(frozen=True, slots=True)
class Property:
    """One property: `section/key`, and the variables that override the file."""

    section: str
    key: str
    variables: tuple[str, ...]
    meaning: str

    @property
    def name(self) -> str:
        """The name as commands and messages spell it."""
        return f"{self.section}/{self.key}"


PROJECT = Property(
    "core",
    "project",
    ("BONDED_CORE_PROJECT", "CLOUDSDK_CORE_PROJECT"),
    "project that commands act on",
)
# CLOUDSDK_CORE_ACCOUNT is not heard: it names somebody at Google, who has no credentials here.
ACCOUNT = Property("core", "account", ("BONDED_CORE_ACCOUNT",), "account that commands act as")
SERVER = Property("core", "server", ("BONDED_SERVER",), "URL of the registry")
HOSTS = Property(
    "core", "hosts", ("BONDED_HOSTS",), "other hosts of the registry at core/server, between commas"
)
# The machine's own identity is shown to nobody until somebody says to whom.
ATTACHED_IDENTITY = Property(
    "auth",
    "attached_identity_hosts",
    ("BONDED_ATTACHED_IDENTITY_HOSTS",),
    "hosts that may be shown the identity of this machine, between commas, over https; over http "
    "where `http://` is written out",
)
IMPERSONATED = Property(
    "auth",
    "impersonate_service_account",
    ("BONDED_AUTH_IMPERSONATE_SERVICE_ACCOUNT", "CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT"),
    "service account that commands act as, through the account",
)
LOCATION = Property(
    "artifacts",
    "location",
    ("BONDED_ARTIFACTS_LOCATION", "CLOUDSDK_ARTIFACTS_LOCATION"),
    "location of repositories",
)
REPOSITORY = Property(
    "artifacts",
    "repository",
    ("BONDED_ARTIFACTS_REPOSITORY", "CLOUDSDK_ARTIFACTS_REPOSITORY"),
    "repository that commands act on",
)
PROPERTIES = (
    PROJECT,
    ACCOUNT,
    SERVER,
    HOSTS,
    ATTACHED_IDENTITY,
    IMPERSONATED,
    LOCATION,
    REPOSITORY,
)


def parse_property(text: str) -> Property:
    """Return the property called *text*; a bare key is one of section `core`.

    Raises:
        Misconfigured: there is no such property.
    """
    section, _, key = text.rpartition("/")
    section = section or "core"
    for known in PROPERTIES:
        if (known.section, known.key) == (section, key):
            return known
    names = ", ".join(known.name for known in PROPERTIES)
    raise Misconfigured(
        f"Section [{section}] has no property [{key}].", hint=f"The properties are: {names}."
    )


class Configuration:
    """The properties of one named configuration, in an INI file that people may also edit."""

    def __init__(self, directory: Path, environment: Environment, name: str = "default") -> None:
        self.name = name
        self._environment = environment
        self._directory = directory
        self._path = directory / "configurations" / f"{name}.ini"

    def find(self, wanted: Property) -> str | None:
        """Return the value in force: the environment's, else the file's, else None."""
        return self._environment.find(*wanted.variables) or self.stored().get(wanted.name)

    def in_force(self) -> Mapping[str, str]:
        """Return every property that has a value, by name, wherever the value comes from."""
        return {known.name: value for known in PROPERTIES if (value := self.find(known))}

    @property
    def server(self) -> str | None:
        """The server that is configured."""
        chosen = self.find(SERVER)
        return parse_server(chosen) if chosen else None

    @property
    def hosts(self) -> tuple[str, ...]:
        """The other hosts of the configured server."""
        return parse_hosts(self.find(HOSTS) or "")

    @property
    def attached_identity_origins(self) -> tuple[str, ...]:
        """Who may be shown the identity of this machine."""
        return parse_origins(self.find(ATTACHED_IDENTITY) or "")

    @property
    def names(self) -> Names | None:
        """All names of the configured server.

        Without a server, the other hosts are nobody's: whichever server's tokens they were shown,
        they might be another's.
        """
        server = self.server
        return Names(server, self.hosts) if server else None

    def stored(self) -> Mapping[str, str]:
        """Return what the file says, by name.

        Raises:
            Misconfigured: the file cannot be read or is not an INI file.
        """
        text = read_private(self._path)
        if text is None:
            return {}
        from configparser import ConfigParser, Error  # noqa: PLC0415 - without a file, not needed

        parser = ConfigParser(interpolation=None)
        try:
            parser.read_string(text)
        except Error as error:
            raise Misconfigured(
                f"{self._path} is not a configuration file: {error.message}",
                hint="Correct it, or remove it and run `bonded config set` again.",
            ) from error
        return {
            f"{section}/{key}": value
            for section in parser.sections()
            for key, value in parser.items(section)
            if value
        }

    def set(self, changed: Property, value: str) -> None:
        """Store *value*.

        Raises:
            Misconfigured: the value cannot be one of this property.
        """
        if not value.strip() or not value.isprintable():
            raise Misconfigured(f"[{value}] cannot be the value of [{changed.name}].")
        value = value.strip()
        if changed is SERVER:
            value = parse_server(value)
        elif changed is HOSTS:
            value = ",".join(parse_hosts(value))
        elif changed is ATTACHED_IDENTITY:
            value = ",".join(parse_origins(value))
        self._write({**self.stored(), changed.name: value})

    def unset(self, changed: Property) -> None:
        """Forget the stored value, if there is one."""
        self._write({name: v for name, v in self.stored().items() if name != changed.name})

    def _write(self, values: Mapping[str, str]) -> None:
        """Replace the file by *values*."""
        write_private(self._path, render(values))
        # Tools that ask config-helper ask again when this file is newer than their answer.
        write_private(self._directory / SENTINEL, "")


def render(values: Mapping[str, str]) -> str:
    """Return *values*, by `section/key`, as an INI file that opens with section `core`."""
    sections: dict[str, list[str]] = {"core": []}
    for name, value in sorted(values.items()):
        section, _, key = name.partition("/")
        sections.setdefault(section, []).append(f"{key} = {value}\n")
    return "\n".join(
        f"[{section}]\n{''.join(lines)}" for section, lines in sections.items() if lines
    )


def nest(values: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return *values*, by `section/key`, as sections of keys."""
    nested: dict[str, dict[str, str]] = {}
    for name, value in values.items():
        section, _, key = name.partition("/")
        nested.setdefault(section, {})[key] = value
    return nested
