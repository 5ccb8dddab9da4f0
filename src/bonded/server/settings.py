"""Every setting of the server, as one frozen tree.

Later ones win: defaults, a TOML file, `BONDED_…` variables, options of
`bonded serve`. docs/reference/settings.md is generated from this module.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

MIB = 1024 * 1024
GIB = 1024 * MIB
SIGN_IN_LIFE_S = 30 * 86_400
PROVIDER_SIGN_IN_LIFE_S = 12 * 3600
SIGNING_KEY_PERIOD_MIN_S = 3600
"""Each replica looks for new keys once a minute, and must know one well before it signs."""


_OF_OTHERS = re.compile(
    # Upstream credentials; and what Kubernetes sets for a service that is called `bonded`.
    r"BONDED_(?:SECRET_.+|SERVICE_(?:HOST|PORT.*)|PORT(?:_\d+_(?:TCP|UDP).*)?)"
)


class SettingsError(Exception):
    """A setting that cannot be used; the message says which and why."""


def _setting(default: Any, doc: str, *, is_secret: bool = False) -> Any:
    return field(default=default, repr=not is_secret, metadata={"doc": doc})


_DATA_DIR = Path("bonded-data")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an operator may change. Sizes and times carry their unit last."""

    data_dir: Path = _setting(_DATA_DIR, "where everything is kept")  # noqa: RUF009
    listen: str = _setting("127.0.0.1:8080", "address and port to listen on")
    public_url: str = _setting(
        "",
        "how clients reach the server; written into key files. Empty: http://LISTEN, or on all "
        "addresses http://127.0.0.1:PORT, good on this machine alone",
    )
    database_url: str = _setting(
        "",
        "postgresql://USER:PASSWORD@HOST:PORT/DATABASE. Empty: SQLite in the data directory",
        is_secret=True,
    )
    blobs_url: str = _setting(
        "", "s3://BUCKET/PREFIX, gs://… or az://…. Empty: a directory in the data directory"
    )
    default_location: str = _setting(
        "local", "the location of requests whose host names none (LOCATION-python.…)"
    )
    first_project: str = _setting("my-project", "the project that the first start creates")
    first_repository: str = _setting("python", "the repository that the first start creates")
    public_index_url: str = _setting(
        "", "the simple index behind remote repositories of the preset PYPI. Empty: the public PyPI"
    )
    public_index_probe: bool = _setting(
        default=True,
        doc="whether the first start looks if the public index can be reached, index and files, "
        "and logs what to do if not",
    )
    private_issuers: bool = _setting(
        default=False,
        doc="whether the issuers of workloads' identities may be at private addresses",
    )
    secrets_dir: str = _setting(
        "",
        "where upstream credentials are, as PROJECT/NAME. Empty: secrets/ in the data directory",
    )
    upstream_private_hosts: str = _setting(
        "",
        "hosts, addresses and networks, separated by commas, where an upstream may be at a private "
        "address if its repository allows it, and its proxy; hosts and addresses: also where "
        "upstreams may keep files",
    )
    upstream_connect_timeout_s: int = _setting(
        5, "how long an upstream may take to accept a connection, in seconds"
    )
    upstream_page_timeout_s: int = _setting(
        20, "how long an upstream may take for a whole page, in seconds"
    )
    upstream_silence_timeout_s: int = _setting(
        20, "how long an upstream may be silent within a file, in seconds"
    )
    upstream_page_size_max_bytes: int = _setting(
        48 * MIB,
        "largest page that an upstream may send, in bytes; the largest that we know has some 37 MB",
    )
    upstream_large_pages_max: int = _setting(
        4,
        "pages above 2 MiB that are read and parsed at once, of all upstreams; each takes up to "
        "ten times its size in memory",
    )
    upstream_connections_max: int = _setting(
        32, "connections to an upstream for pages, as many for files, and for parts of files"
    )
    trusted_publishing_audience: str = _setting(
        "", "what identity tokens must be meant for to publish. Empty: the host of public_url"
    )
    token_life_s: int = _setting(3600, "life of an access token, in seconds")
    token_life_max_s: int = _setting(
        12 * 3600, "longest life that an access token may be asked for, in seconds"
    )
    key_life_max_s: int = _setting(
        0, "longest life of a new service-account key, in seconds. 0: keys need not expire"
    )
    session_life_s: int = _setting(
        0,
        "how long a person's sign-in on the command line lasts, in seconds; groups of a provider "
        "are renewed with the next one. 0: 30 days, or 12 hours with an oidc_issuer",
    )
    password_memory_kib: int = _setting(
        64 * 1024, "memory that judging one password takes (argon2id, 3 passes), in KiB"
    )
    invitation_life_s: int = _setting(3 * 86_400, "how long an invitation link is good, in seconds")
    oidc_issuer: str = _setting(
        "", "OpenID Connect provider that people sign in at, as it names itself. Empty: none"
    )
    oidc_name: str = _setting("", "what people call the provider. Empty: its host")
    oidc_client_id: str = _setting("", "this server's client id at the provider")
    oidc_client_secret: str = _setting("", "its client secret", is_secret=True)
    oidc_client_secret_file: str = _setting("", "file with the client secret, in its place")
    oidc_scopes: str = _setting("openid email profile", "scopes to ask the provider for")
    oidc_address_claim: str = _setting(
        "email",
        "claim that holds a person's address, or a path to it; of `email`, the provider must say "
        "that it is verified (email_verified)",
    )
    oidc_groups_claim: str = _setting(
        "groups",
        "claim that lists a person's groups, or a path to it such as realm_access.roles. "
        "Empty: none",
    )
    oidc_groups_domain: str = _setting(
        "",
        "what follows the @ of the provider's groups (group:NAME@…); what it names with another "
        "domain does not count. Empty: issuer's host",
    )
    oidc_condition: str = _setting(
        "",
        "condition in CEL over `assertion`, the provider's claims, such as "
        "assertion.hd == 'example.com': who may sign in. Empty: everybody",
    )
    oidc_allowed_domains: str = _setting(
        "", "domains whose addresses may sign in, with commas between. Empty: all"
    )
    signing_key_period_s: int = _setting(
        30 * 86_400, "how long one key signs tokens before the next one does, in seconds"
    )
    sealing_key_file: str = _setting(
        "",
        "file with the key that seals the server's secrets in the database; every replica needs "
        "the same. Empty: sealing-key in the data directory, made if it is not there",
    )
    file_size_max_bytes: int = _setting(10 * GIB, "largest file that may be published, in bytes")
    unpacked_size_max_bytes: int = _setting(
        20 * GIB, "largest size that a published archive may unpack to, in bytes"
    )
    body_wait_s: int = _setting(30, "time within which more of a request must come, in seconds")
    body_grace_s: int = _setting(
        60, "time after which a request must have come at the least rate, in seconds"
    )
    body_rate_min_bytes_s: int = _setting(
        1024, "least rate at which a request must come, in bytes a second"
    )
    page_cache_bytes: int = _setting(64 * MIB, "memory for rendered pages, in bytes")
    blob_cache_bytes: int = _setting(32 * MIB, "memory for small files, in bytes")
    core_metadata_cache_bytes: int = _setting(16 * MIB, "memory for core metadata files, in bytes")
    orphan_grace_s: int = _setting(
        86_400, "age at which a blob that no file names may be removed, in seconds"
    )
    collect_every_s: int = _setting(3600, "time between two collections of orphans, in seconds")
    undelete_days: int = _setting(30, "how long deleted files can be restored, in days")
    log_level: str = _setting("info", "debug, info, warning or error")
    access_log: bool = _setting(
        default=False, doc="log a line for every request: for operators, and kept by nobody"
    )
    audit_downloads: bool = _setting(
        default=False, doc="keep every download of a file in the audit log"
    )
    audit_stream: str = _setting(
        "", "where the audit log goes as JSON lines too: stdout, or a file. Empty: nowhere"
    )
    audit_keep_days: int = _setting(400, "how long the audit log keeps an entry, in days")
    trusted_proxies: str = _setting(
        "", "addresses or networks, by commas, whose X-Forwarded-For is believed"
    )

    @property
    def host(self) -> str:
        """The address to listen on."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port to listen on."""
        return int(self.listen.rpartition(":")[2])

    @property
    def url(self) -> str:
        """How clients reach the server, without a slash at the end."""
        own = _LOOPBACK.get(self.host, self.listen.rpartition(":")[0])
        return self.public_url.rstrip("/") or f"http://{own}:{self.port}"

    @property
    def is_address_unknown(self) -> bool:
        """Whether it listens on all addresses, and nobody has said which of them clients use."""
        return not self.public_url and self.host in _LOOPBACK

    @property
    def sign_in_life_s(self) -> int:
        """How long a person's sign-in on the command line lasts, in seconds.

        Only the next sign-in asks a provider whether it still knows the person, and so soon.
        """
        by_default = PROVIDER_SIGN_IN_LIFE_S if self.oidc_issuer else SIGN_IN_LIFE_S
        return self.session_life_s or by_default

    @property
    def sealing_key_path(self) -> Path:
        """Where the sealing key is."""
        if self.sealing_key_file:
            return Path(self.sealing_key_file).expanduser()
        return self.data_dir / "sealing-key"


def load(
    options: Mapping[str, str],
    config: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Return the settings.

    Args:
        options: what the command line says, by the name of the setting.
        config: a TOML file with settings at its top level; None for no file.
        environment: in place of the process's own.

    Raises:
        SettingsError: a setting is unknown or malformed.
    """
    if environment is None:
        environment = os.environ  # noqa: TID251 - this is the module that reads it
    known = {one.name: one for one in fields(Settings)}
    given: dict[str, object] = dict(_read(config)) if config else {}
    for name in known:
        variable = f"BONDED_{name.upper()}"
        if environment.get(variable):
            given[name] = environment[variable]
    given |= options
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise SettingsError(f"Unknown setting {unknown[0]!r}; known are {', '.join(known)}.")
    values: dict[str, Any] = {
        name: _parse(name, value, known[name].default) for name, value in given.items()
    }
    settings = Settings(**values)
    _check(settings)
    return settings


def unknown_variables(
    besides: Collection[str] = (), environment: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the `BONDED_…` variables that nobody reads, and the setting that each may mean.

    *besides* are the names that others read. "" stands for no idea.
    """
    if environment is None:
        environment = os.environ  # noqa: TID251 - this is the module that reads it
    known = [f"BONDED_{one.name.upper()}" for one in fields(Settings)]
    unknown = [
        name
        for name in sorted(environment)
        if name.startswith("BONDED_") and name not in {*known, *besides}
    ]
    return {
        name: next(iter(get_close_matches(name, known, n=1, cutoff=0.75)), "")
        for name in unknown
        if not _OF_OTHERS.fullmatch(name)
    }


def secret_variables(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables that hold upstream credentials, `BONDED_SECRET_…`."""
    if environment is None:
        environment = os.environ  # noqa: TID251 - this is the module that reads it
    return {name: value for name, value in environment.items() if name.startswith("BONDED_SECRET_")}


def _read(config: Path) -> dict[str, object]:
    try:
        with config.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"{config} cannot be read: {error.strerror}.") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{config} is not valid TOML: {error}.") from error


def _parse(name: str, value: object, default: object) -> object:
    if isinstance(default, Path):
        return Path(str(value)).expanduser()
    if isinstance(default, bool):
        word = str(value).lower()
        if word not in _WORDS:
            raise SettingsError(f"{name} must be on or off, not {value!r}.")
        return _WORDS[word]
    if isinstance(default, int):
        try:
            number = int(str(value))
        except ValueError:
            number = -1
        # 0 is for settings where it is the default, and says what it means.
        if number < 0 or (number == 0 and default):
            raise SettingsError(f"{name} must be a whole number above 0, not {value!r}.")
        return number
    if not isinstance(value, str):
        raise SettingsError(f"{name} must be a text, not {value!r}.")
    return value


_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - compared, not listened on
"""Of the addresses that mean all, which no client can connect to, those that it can here."""
_WORDS = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}


def _check(settings: Settings) -> None:
    host, _, port = settings.listen.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise SettingsError(f"listen must be HOST:PORT, not {settings.listen!r}.")
    if ":" in host and not _is_bracketed(host):
        raise SettingsError(
            f"listen must be HOST:PORT, not {settings.listen!r}: an IPv6 address is written in "
            "brackets, such as [::1]:8080."
        )
    url = urlsplit(settings.url)
    if url.scheme not in ("http", "https") or not url.netloc or url.path:
        raise SettingsError(
            f"public_url must be http(s)://HOST[:PORT] without a path, not {settings.url!r}."
        )
    if settings.public_index_url:
        _check_index(settings.public_index_url)
    if settings.database_url and not settings.database_url.startswith("postgresql://"):
        raise SettingsError("database_url must start with postgresql://.")
    if settings.token_life_max_s < settings.token_life_s:
        raise SettingsError("token_life_max_s must not be less than token_life_s.")
    if settings.signing_key_period_s < SIGNING_KEY_PERIOD_MIN_S:
        raise SettingsError(f"signing_key_period_s must be at least {SIGNING_KEY_PERIOD_MIN_S}.")
    if settings.oidc_issuer:
        _check_provider(settings)
    if settings.log_level not in ("debug", "info", "warning", "error"):
        raise SettingsError("log_level must be debug, info, warning or error.")


def _check_index(address: str) -> None:
    try:
        url = urlsplit(address)
        is_reachable = bool(url.hostname) and url.port != 0
    except ValueError as error:
        raise SettingsError(f"public_index_url is malformed: {error}.") from error
    is_plain = address.isascii() and not re.search(r"[\s\"<>]", address)
    if url.scheme not in ("http", "https") or not is_reachable or not is_plain:
        raise SettingsError("public_index_url must be the http(s):// address of a simple index.")
    # Whoever may read the repository is told the address (gar.md §2.2).
    if url.username is not None or url.query or url.fragment:
        raise SettingsError(
            "public_index_url must not carry a user, a password, a query or a fragment. For an "
            "index that wants credentials, create a remote repository with upstream credentials."
        )


def _is_bracketed(host: str) -> bool:
    """Say whether *host* is an IPv6 address as URLs have it: no zone (RFC 3986 §3.2.2)."""
    try:
        has_zone = IPv6Address(host[1:-1]).scope_id is not None
    except ValueError:
        return False
    return host[0] + host[-1] == "[]" and not has_zone


def _check_provider(settings: Settings) -> None:
    issuer = urlsplit(settings.oidc_issuer)
    is_near = issuer.hostname in ("127.0.0.1", "::1", "localhost")
    if not issuer.netloc or issuer.scheme not in ("https", *(("http",) if is_near else ())):
        raise SettingsError(
            f"oidc_issuer must be an https:// address, not {settings.oidc_issuer!r}."
        )
    if not settings.oidc_client_id:
        raise SettingsError("oidc_issuer needs oidc_client_id: register this server there.")
    if not settings.oidc_client_secret and not settings.oidc_client_secret_file:
        raise SettingsError("oidc_issuer needs oidc_client_secret or oidc_client_secret_file.")
    if "openid" not in settings.oidc_scopes.split():
        raise SettingsError("oidc_scopes must hold openid.")
