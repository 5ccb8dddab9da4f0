"""The flags of remote and virtual repositories, and the messages that they make (gar.md §2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from bonded.cli.artifacts.locating import RepositoryPlace
from bonded.cli.documents import read_document
from bonded.cli.durations import parse_duration
from bonded.client.api import Message
from bonded.client.errors import Misconfigured

REMOTE = "remoteRepositoryConfig"
VIRTUAL = "virtualRepositoryConfig"
OWN = "bonded"
MODES = ("none", "standard-repository", "virtual-repository", "remote-repository")

Given = Mapping[str, Any]
_Command = TypeVar("_Command", bound=Callable[..., Any])

_FILE = click.Path(path_type=Path, dir_okay=False)
_POLICIES = """Write a list, in YAML or JSON, such as:

- id: own
  repository: python
  priority: 100
- id: public
  repository: pypi
  priority: 50

The upstream of the greater priority is asked first."""
_UPSTREAM = click.option(
    "--remote-python-repo",
    metavar="PYPI|URI|REPOSITORY",
    help="What a remote repository caches: PYPI, the address of an index, or "
    "projects/…/repositories/… of this server.",
)
_SETTINGS = (
    click.option("--remote-repo-config-desc", metavar="TEXT", help="What the upstream is."),
    click.option("--remote-username", metavar="USER", help="The user shown to the upstream."),
    click.option(
        "--remote-password-secret-version",
        metavar="REFERENCE",
        help="Where the server finds the password, or without a user the token: file:NAME (the "
        "file PROJECT/NAME in its directory of secrets; Google's projects/P/secrets/NAME/versions/"
        "latest is the same), command:NAME (what the program of that name there prints) or "
        "env:NAME (its variable BONDED_SECRET_PROJECT_NAME). Such as --remote-username=reader "
        "--remote-password-secret-version=file:nexus.",
    ),
    click.option(
        "--disable-remote-validation/--no-disable-remote-validation",
        default=None,
        help="Do not ask the upstream whether it answers.",
    ),
    click.option("--remote-ca-file", type=_FILE, help="Certificates to trust (PEM)."),
    click.option("--remote-proxy", metavar="URI", help="The proxy on the way to the upstream."),
    click.option(
        "--remote-allow-private-addresses/--no-remote-allow-private-addresses",
        default=None,
        help="Whether it may be where the server's operator lets upstreams be in private networks.",
    ),
    click.option(
        "--remote-page-freshness",
        metavar="DURATION",
        help="How long pages are not renewed: 60s, 1h.",
    ),
    click.option(
        "--remote-stale-limit",
        metavar="DURATION",
        help="How long they serve after that in an outage: 12h, 30d.",
    ),
    click.option("--remote-cache-size", metavar="BYTES", help="Size limit of the cache."),
    click.option(
        "--upstream-policy-file",
        type=_FILE,
        help="Upstreams of a virtual repository, JSON or YAML: a list of id, repository and "
        "priority, of which the greater wins.",
    ),
    click.option(
        "--merged-packages",
        metavar="PATTERN,...",
        help="Packages whose versions come from every upstream: name or start-*. Replaces those "
        "that did; empty, none does.",
    ),
    click.option(
        "--reserved-packages",
        metavar="PATTERN=UPSTREAM,...",
        help="Packages that one upstream alone may answer for: acme-*=private. Replaces those that "
        "were reserved; empty (--reserved-packages=), none is.",
    ),
)


def creation_options(command: _Command) -> _Command:
    """Add the flags that say what a new repository's upstreams are."""
    return change_options(_UPSTREAM(command))


def change_options(command: _Command) -> _Command:
    """Add the flags that change a repository's upstreams."""
    for option in reversed(_SETTINGS):
        command = option(command)
    return command


def new_config(mode: str, place: RepositoryPlace, given: Given) -> Message:
    """Return the configuration of a repository that is to be created.

    Raises:
        Misconfigured: a file cannot be used.
        click.UsageError: a flag is missing, or is for another mode.
    """
    config = changed_config(mode.upper().replace("-", "_"), place, {}, given)
    if mode == "remote-repository":
        upstream = given["remote_python_repo"]
        if not upstream:
            raise click.UsageError("--remote-python-repo is required with --mode=remote-repository")
        config.setdefault(REMOTE, {}).update(_upstream(upstream))
    elif given["remote_python_repo"]:
        raise click.UsageError("--remote-python-repo is for --mode=remote-repository")
    return config


def changed_config(mode: str, place: RepositoryPlace, now: Message, given: Given) -> Message:
    """Return the field of a repository in *mode* that the flags change; empty if they do not.

    *now* is the configuration that the repository has.

    Raises:
        Misconfigured: a file cannot be used.
        click.UsageError: a flag is for another mode.
    """
    remote = _remote(now, given)
    virtual = _virtual(place, given)
    for changes, field, of in (
        (remote, REMOTE, "REMOTE_REPOSITORY"),
        (virtual, VIRTUAL, "VIRTUAL_REPOSITORY"),
    ):
        if changes and mode != of:
            flags = "--remote-…" if field == REMOTE else "--upstream-policy-file and --…-packages"
            raise click.UsageError(f"{flags} are for a {of.lower().replace('_', ' ')}.")
        if changes:
            return {field: dict(now) | changes}
    return {}


def _upstream(text: str) -> Message:
    if text.upper() == "PYPI":
        return {"pythonRepository": {"publicRepository": "PYPI"}}
    if text.startswith(("projects/", "http://", "https://")):
        return {"commonRepository": {"uri": text}}
    raise click.UsageError(
        "Custom remote repository URI must start with 'http://' or 'https://'. "
        "Or give PYPI, or projects/…/locations/…/repositories/…."
    )


def _remote(now: Message, given: Given) -> Message:
    changes: Message = {}
    if given["remote_repo_config_desc"] is not None:
        changes["description"] = given["remote_repo_config_desc"]
    if given["disable_remote_validation"] is not None:
        changes["disableUpstreamValidation"] = given["disable_remote_validation"]
    user, secret = given["remote_username"], given["remote_password_secret_version"]
    if user is not None or secret is not None:
        credentials = now.get("upstreamCredentials", {}).get("usernamePasswordCredentials", {})
        credentials = dict(credentials)
        credentials |= {} if user is None else {"username": user}
        credentials |= {} if secret is None else {"passwordSecretVersion": secret}
        changes["upstreamCredentials"] = {"usernamePasswordCredentials": credentials}
    own = {
        "caCertificates": _certificates(given["remote_ca_file"]),
        "proxy": given["remote_proxy"],
        "allowPrivateAddresses": given["remote_allow_private_addresses"],
        "pageFreshness": _duration(given["remote_page_freshness"]),
        "staleLimit": _duration(given["remote_stale_limit"]),
        "cacheSizeLimitBytes": given["remote_cache_size"],
    }
    return changes | _own(own)


def _virtual(place: RepositoryPlace, given: Given) -> Message:
    changes: Message = {}
    if given["upstream_policy_file"] is not None:
        changes["upstreamPolicies"] = _policies(given["upstream_policy_file"], place)
    own: dict[str, Any] = {}
    if given["merged_packages"] is not None:
        own["mergedPackages"] = _items(given["merged_packages"])
    if given["reserved_packages"] is not None:
        own["reservedPackages"] = [_reservation(one) for one in _items(given["reserved_packages"])]
    return changes | ({OWN: own} if own else {})


def _own(fields: Mapping[str, Any]) -> Message:
    given = {key: value for key, value in fields.items() if value is not None}
    return {OWN: given} if given else {}


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _duration(text: str | None) -> str | None:
    return None if text is None else f"{parse_duration(text)}s"


def _reservation(text: str) -> Message:
    pattern, equals, upstream = text.partition("=")
    if not equals or not pattern or not upstream:
        raise click.UsageError(f"Bad syntax for dict arg: [{text}]. Write PATTERN=UPSTREAM.")
    return {"pattern": pattern, "upstream": upstream}


def _certificates(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"The certificates at {path} cannot be read: {error}.") from error


def _policies(path: Path, place: RepositoryPlace) -> list[Message]:
    found = read_document(path, "upstream policy file", _POLICIES)
    # gcloud prints a repository with its policies; what it prints may be given back.
    if isinstance(found, dict):
        found = found.get("upstreamPolicies")
    if not isinstance(found, list):
        raise Misconfigured(f"{path} holds no upstream policies.", hint=_POLICIES)
    for one in found:
        if not isinstance(one, dict) or not isinstance(one.get("repository"), str):
            raise Misconfigured(
                f"{path} holds an upstream policy without a repository: {one}", hint=_POLICIES
            )
    return [one | {"repository": _full_name(one["repository"], place)} for one in found]


def _full_name(repository: str, place: RepositoryPlace) -> str:
    if "/" in repository:
        return repository
    return f"projects/{place.project}/locations/{place.location}/repositories/{repository}"
