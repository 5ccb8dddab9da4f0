"""The other registries, each set up as its own documentation recommends for speed."""

import base64
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from corpus import Share, Wheel
from load import SERVER_CORE, LoadError, pinned, request
from servers import HOST, Server

DEBIAN_PACKAGES = {"nginx": "nginx-light", "wrk": "wrk"}


def find_program(name: str) -> str:
    """Return the path of a program that the system provides.

    Raises:
        LoadError: It is not installed.
    """
    path = shutil.which(name, path=os.defpath + ":/usr/sbin:/sbin:/usr/local/bin")
    if path is None:
        package = DEBIAN_PACKAGES[name]
        raise LoadError(f"{name} is not installed; on Debian: apt-get install {package}")
    return path


class Nginx(Server):
    """The limit: the same bytes as static files, compressed beforehand, with a hash file.

    The hash is SHA-1, the cheapest that nginx accepts, so that the limit is not made easier.
    """

    name = "nginx"
    index_path = "/my-project/python/simple/"
    ready_path = "/ready"
    source: Server | None = None  # whose pages it repeats; without one it renders its own

    def command(self) -> list[str]:
        """Return the command that runs the server in the foreground."""
        here = str(self.directory)
        return [find_program("nginx"), "-p", here, "-c", "nginx.conf", "-e", "error.log"]

    def prepare(self) -> None:
        """Write the configuration, the hash file and an empty tree."""
        super().prepare()
        digest = base64.b64encode(hashlib.sha1(self.password.encode()).digest()).decode()
        (self.directory / "users").write_text(f"{self.user}:{{SHA}}{digest}\n")
        (self.directory / "html").mkdir()
        (self.directory / "html" / "ready").write_text("ready\n")
        owner = "user root;" if os.geteuid() == 0 else ""
        settings = NGINX_SETTINGS.replace("@OWNER@", owner).replace("@PORT@", str(self.port))
        (self.directory / "nginx.conf").write_text(settings)

    def load(self, wheels: Iterable[Wheel]) -> None:
        """Write every page, file and core metadata file where its URL says."""
        packages = defaultdict(list)
        for wheel in wheels:
            packages[wheel.name].append(wheel)
        for name, members in packages.items():
            page, compressed = self._page_bytes(name, members)
            self._write(f"{self.index_path}{name}/index.json", page)
            self._write(f"{self.index_path}{name}/index.json.gz", compressed)
            by_filename = {wheel.filename: wheel for wheel in members}
            for file in json.loads(page)["files"]:
                path = urlsplit(urljoin(self.page_url(name), file["url"])).path
                wheel = by_filename[file["filename"]]
                self._write(path, wheel.content)
                self._write(f"{path}.metadata", wheel.core_metadata)

    def _page_bytes(self, name: str, wheels: list[Wheel]) -> tuple[bytes, bytes]:
        """Return a page, plain and compressed: the source's own bytes where there is one."""
        if self.source is None:
            page = render_page(name, wheels)
            return page, gzip.compress(page, 6, mtime=0)
        compressed = self.source.page(name).body
        page = gzip.decompress(compressed)
        theirs, ours = self.source.origin.encode(), self.origin.encode()
        if theirs not in page:
            return page, compressed
        page = page.replace(theirs, ours)
        return page, gzip.compress(page, 6, mtime=0)

    def _write(self, path: str, content: bytes) -> None:
        target = self.directory / "html" / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


class Granian(Nginx):
    """The same bytes from the web server that Bonded runs on: what is not Bonded's own doing."""

    name = "granian"

    def command(self) -> list[str]:
        """Return the command that runs the server in the foreground."""
        tree = str(self.directory / "html")
        return [sys.executable, str(Path(__file__).with_name("bare.py")), tree, str(self.port)]


NGINX_SETTINGS = """\
@OWNER@
daemon off;
worker_processes 1;
pid nginx.pid;
events { worker_connections 256; }
http {
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000000;
    open_file_cache max=50000 inactive=600s;
    open_file_cache_valid 60s;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {
        listen 127.0.0.1:@PORT@;
        root html;
        auth_basic "registry";
        auth_basic_user_file users;
        types { }
        default_type application/octet-stream;
        location ~ /simple/ {
            index index.json;
            gzip_static on;
            gzip_vary on;
            default_type application/vnd.pypi.simple.v1+json;
            add_header Cache-Control "private, no-cache";
        }
    }
}
"""


def render_page(name: str, wheels: list[Wheel]) -> bytes:
    """Render a package's page in JSON (PEP 691, 700, 714)."""
    files = [
        {
            "filename": wheel.filename,
            "url": f"../../{name}/{wheel.filename}",
            "hashes": {"sha256": wheel.sha256},
            "requires-python": ">=3.9",
            "size": len(wheel.content),
            "upload-time": "2026-01-01T00:00:00.000000Z",
            "core-metadata": {"sha256": hashlib.sha256(wheel.core_metadata).hexdigest()},
        }
        for wheel in wheels
    ]
    versions = [wheel.version for wheel in wheels]
    page = {"meta": {"api-version": "1.4"}, "name": name, "versions": versions, "files": files}
    return json.dumps(page, separators=(",", ":")).encode()


class Pypiserver(Server):
    """pypiserver behind gunicorn, with its directory cache; HTML pages are all it has."""

    name = "pypiserver"
    requirements = ("pypiserver[cache,passlib]==2.4.2", "gunicorn==27.0.1")
    index_path = "/simple/"
    upload_path = "/"
    ready_path = "/health"

    def command(self) -> list[str]:
        """Return the command that runs the server in the foreground."""
        return [
            *(self.tool("pypi-server"), "run", "--server", "gunicorn", "--disable-fallback"),
            *("--interface", HOST, "--port", str(self.port), "--backend", "cached-dir"),
            *("--authenticate", "update,download,list", "--passwords", "users", "packages"),
        ]

    def environment(self) -> dict[str, str]:
        """Return the bare environment, with two threads: of what was tried, the fastest."""
        return super().environment() | {"GUNICORN_CMD_ARGS": "--worker-class gthread --threads 2"}

    def prepare(self) -> None:
        """Write the hash file; SHA-1 again, since the hash is computed on every request."""
        super().prepare()
        digest = base64.b64encode(hashlib.sha1(self.password.encode()).digest()).decode()
        (self.directory / "users").write_text(f"{self.user}:{{SHA}}{digest}\n")
        (self.directory / "packages").mkdir()

    def load(self, wheels: Iterable[Wheel]) -> None:
        """Put the files where it looks for them, as its documentation says."""
        for wheel in wheels:
            (self.directory / "packages" / wheel.filename).write_bytes(wheel.content)


class Devpi(Server):
    """devpi-server alone: without devpi-web, whose indexing slows it down."""

    name = "devpi"
    # Pyramid imports pkg_resources, which setuptools 81 no longer has.
    requirements = ("devpi-server==6.20.3", "setuptools<81")
    share = Share.ESSENTIALS
    index_path = "/root/dev/+simple/"
    upload_path = "/root/dev/"
    ready_path = "/+api"
    user = "root"

    def command(self) -> list[str]:
        """Return the command that runs the server in the foreground."""
        return [
            *(self.tool("devpi-server"), "--serverdir", "data", "--offline-mode"),
            *("--host", HOST, "--port", str(self.port), "--enable-core-metadata"),
        ]

    def prepare(self) -> None:
        """Make the data directory, which the server does not do itself."""
        super().prepare()
        init = [self.tool("devpi-init"), "--serverdir", "data", "--no-root-pypi"]
        with pinned(SERVER_CORE):
            subprocess.run(
                [*init, "--root-passwd", self.password],
                cwd=self.directory,
                env=self.environment(),
                capture_output=True,
                check=True,
            )

    def load(self, wheels: Iterable[Wheel]) -> None:
        """Make the index, log in and publish *wheels*.

        devpi checks a password with argon2 on every request, which takes a quarter of a second.
        The token of a login is cheap to check and goes in the password's place: with it, the rows
        measure devpi itself.
        """
        self.ask("PUT", "/root/dev", {"type": "stage", "bases": [], "volatile": False})
        self.log_in()
        super().load(wheels)

    def log_in(self) -> None:
        """Trade the password for a token, and remember both."""
        login = self.ask("POST", "/+login", {"user": self.user, "password": self.password})
        self.with_password = self.credentials
        self.password = str(login["result"]["password"])

    def ask(self, method: str, path: str, values: dict[str, Any]) -> Any:
        """Send a request of its own API and return the answer.

        Raises:
            LoadError: It was refused.
        """
        headers = self.credentials | {"Content-Type": "application/json"}
        body = json.dumps(values).encode()
        answer = request(self.origin + path, headers, method=method, body=body)
        if answer.status != 200:
            raise LoadError(f"devpi: {method} {path}: {answer.body!r}")
        return json.loads(answer.body)


class Peryx(Server):
    """peryx with one hosted index that nobody reads without its token."""

    name = "peryx"
    requirements = ("peryx==2026.1010.0",)
    index_path = "/hosted/simple/"
    upload_path = "/hosted/"
    ready_path = "/hosted/simple/"
    share = Share.NAMED
    user = "__token__"

    def command(self) -> list[str]:
        """Return the command that runs the server in the foreground."""
        options = ["--config", "peryx.toml", "--data-dir", "data", "--log-level", "warn"]
        return [self.tool("peryx"), "serve", "--host", HOST, "--port", str(self.port), *options]

    def prepare(self) -> None:
        """Write the configuration."""
        super().prepare()
        (self.directory / "peryx.toml").write_text(
            "[[index]]\n"
            'ecosystem = "pypi"\n'
            'name = "hosted"\n'
            "hosted = true\n"
            "anonymous_read = false\n"
            "[[index.access_token]]\n"
            'name = "benchmark"\n'
            f'secret = "{self.password}"\n'
            'actions = ["read", "write"]\n'
        )
