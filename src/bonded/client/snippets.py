"""Settings for pip, uv, Poetry, PDM and twine, ready to paste, with no secret in any URL."""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from bonded.client.accounts import ServiceAccountKey


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A key that the settings are to use, and how the reader names its file."""

    path: str
    key: ServiceAccountKey

    @property
    def password(self) -> str:
        """The password that goes with user `_json_key_base64`."""
        return base64.b64encode(self.key.text.encode()).decode()


@dataclass(frozen=True, slots=True)
class Target:
    """The repository that settings are written for."""

    server: str
    project: str
    location: str
    repository: str
    key_file: KeyFile | None = None
    is_explicit: bool = False
    """Whether the settings are for the packages that name the repository, and for no others."""
    published_to: str = ""
    """The repository that takes the uploads, if it is another one."""
    refusal: str = ""
    """Why there are no uploads, if neither it nor another one takes any: sentences."""

    @property
    def upload_repository(self) -> str:
        """The repository that uploads go to."""
        return self.published_to or self.repository

    @property
    def upload_url(self) -> str:
        """Where uploads go."""
        return f"{self.server}/{self.project}/{self.upload_repository}/"

    @property
    def index_url(self) -> str:
        """Where installers read."""
        return f"{self.server}/{self.project}/{self.repository}/simple/"

    @property
    def host(self) -> str:
        """The host without its port, as netrc knows it."""
        return urlsplit(self.server).hostname or ""

    @property
    def user(self) -> str:
        """The user name that goes with the password."""
        return "_json_key_base64" if self.key_file else "oauth2accesstoken"

    @property
    def password_command(self) -> str:
        """What prints the password in a shell, so that no file and no argument holds it."""
        if self.key_file:
            # `base64 -w0` is GNU's alone.
            return f"$(base64 < {shlex.quote(self.key_file.path)} | tr -d '\\n')"
        return "$(bonded auth print-access-token)"

    def exports(self, prefix: str) -> str:
        """Return the command that gives a tool its user name and password by the environment."""
        return f'export {prefix}_USERNAME={self.user} {prefix}_PASSWORD="{self.password_command}"'

    @property
    def variable(self) -> str:
        """The repository as the names of environment variables spell it."""
        return re.sub(r"[^A-Z0-9]", "_", self.repository.upper())

    @property
    def is_insecure(self) -> bool:
        """Say whether pip and PDM would ignore the server: http, and not to this machine."""
        if urlsplit(self.server).scheme == "https" or self.host == "localhost":
            return False
        try:
            return not ip_address(self.host).is_loopback
        except ValueError:
            return not self.host.endswith(".localhost")


def pip(target: Target) -> str:
    """Return a pip.conf. With `extra-index-url` public packages could shadow ours: `index-url`."""
    command = (
        f"bonded auth configure-netrc --project={target.project} --location={target.location} "
        f"--repository={target.repository}"
    )
    if target.key_file:
        command += f" --json-key={shlex.quote(target.key_file.path)}"
    trusted = f"trusted-host = {urlsplit(target.server).netloc}\n" if target.is_insecure else ""
    return (
        "# Insert the following snippet into your pip.conf\n"
        f"# Credentials: {command}\n"
        "\n"
        "[global]\n"
        f"index-url = {target.index_url}\n"
        f"{trusted}"
    )


def twine(target: Target) -> str:
    """Return a .pypirc, the one format that holds the key itself, as gcloud prints it."""
    if target.key_file:
        credentials = "# Credentials: this file holds a private key, so keep it at mode 0600.\n"
        password = f"username: {target.user}\npassword: {target.key_file.password}\n"
    else:
        credentials = f"# Credentials: {target.exports('TWINE')}\n"
        password = ""
    return (
        "# Insert the following snippet into your .pypirc\n"
        f"{credentials}"
        "\n"
        "[distutils]\n"
        "index-servers =\n"
        f"    {target.upload_repository}\n"
        "\n"
        f"[{target.upload_repository}]\n"
        f"repository: {target.upload_url}\n"
        f"{password}"
    )


def pypirc_and_pip(target: Target) -> str:
    """Return what gcloud's print-settings returns, in its layout."""
    if target.refusal:
        return f"# No .pypirc: {target.refusal}\n\n{pip(target)}\n"
    return f"{twine(target)}\n{pip(target)}\n"


def uv(target: Target) -> str:
    """Return an index for pyproject.toml, from which uv installs and to which it publishes.

    The user name stays out of the URL: uv would first try it with an empty password, on every
    file. `authenticate` makes uv say what is missing instead of trying without (standards.md §3.1).
    """
    scope = "explicit" if target.is_explicit else "default"
    publish = target.refusal or f"uv publish --index {target.repository}"
    publish_url = "" if target.refusal else f'publish-url = "{target.upload_url}"\n'
    return (
        "# Insert the following snippet into your pyproject.toml\n"
        f"# Credentials: {target.exports(f'UV_INDEX_{target.variable}')}\n"
        f"# Publish: {publish}\n"
        "\n"
        "[[tool.uv.index]]\n"
        f'name = "{target.repository}"\n'
        f'url = "{target.index_url}"\n'
        f"{publish_url}"
        f"{scope} = true\n"
        'authenticate = "always"\n'
    )


def poetry(target: Target) -> str:
    """Return a source for pyproject.toml. By the environment: `poetry config` shows in `ps`."""
    url = f"POETRY_REPOSITORIES_{target.variable}_URL={target.upload_url}"
    publish = target.refusal or f"{url} poetry publish -r {target.repository}"
    priority = "explicit" if target.is_explicit else "primary"
    return (
        "# Insert the following snippet into your pyproject.toml\n"
        f"# Credentials: {target.exports(f'POETRY_HTTP_BASIC_{target.variable}')}\n"
        f"# Publish: {publish}\n"
        "\n"
        "[[tool.poetry.source]]\n"
        f'name = "{target.repository}"\n'
        f'url = "{target.index_url}"\n'
        f'priority = "{priority}"\n'
    )


def pdm(target: Target) -> str:
    """Return a source for pyproject.toml; named `pypi`, it replaces PDM's default source."""
    insecure = "verify_ssl = false\n" if target.is_insecure else ""
    command = f"{target.exports('PDM_PUBLISH')}; pdm publish -r {target.upload_url}"
    return (
        "# Insert the following snippet into your pyproject.toml\n"
        f"# Credentials: {target.exports('PDM_PYPI')}\n"
        f"# Publish: {target.refusal or command}\n"
        "\n"
        "[[tool.pdm.source]]\n"
        'name = "pypi"\n'
        f'url = "{target.index_url}"\n'
        f"{insecure}"
    )


TOOLS: Mapping[str, Callable[[Target], str]] = {
    "pip": pip,
    "uv": uv,
    "poetry": poetry,
    "pdm": pdm,
    "twine": twine,
}
# The tools whose sources can be for packages that name them, and for no others.
EXPLICIT_TOOLS = ("uv", "poetry")
