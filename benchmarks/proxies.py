"""The index behind, and Bonded and the other registries as caches of it."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from corpus import Wheel
from load import request
from peers import Devpi, Peryx, render_page
from servers import HOST, Bonded, Server
from upstream import COUNT_PATH


class Distant(Server):
    """The index that all caches ask: static pages and files, each after a stated delay."""

    name = "upstream"
    index_path = "/simple/"
    ready_path = COUNT_PATH

    def __init__(self, directory: Path, delay_ms: float) -> None:
        """Keep the tree in *directory*."""
        super().__init__(directory)
        self._delay_ms = delay_ms

    def command(self) -> list[str]:
        """Return the command that runs the server in the foreground."""
        program = str(Path(__file__).with_name("upstream.py"))
        return [sys.executable, program, str(self.port), str(self._delay_ms), "tree"]

    def load(self, wheels: Iterable[Wheel]) -> None:
        """Write every page, file and core metadata file where its URL says."""
        packages: dict[str, list[Wheel]] = {}
        for wheel in wheels:
            packages.setdefault(wheel.name, []).append(wheel)
        projects = [{"name": name} for name in packages]
        everything = {"meta": {"api-version": "1.4"}, "projects": projects}
        self._write("simple/index.json", json.dumps(everything).encode())
        for name, members in packages.items():
            self._write(f"simple/{name}/index.json", render_page(name, members))
            for wheel in members:
                self._write(f"{name}/{wheel.filename}", wheel.content)
                self._write(f"{name}/{wheel.filename}.metadata", wheel.core_metadata)

    def asked(self) -> int:
        """Return how many requests came since the start."""
        return int(request(self.origin + COUNT_PATH, {}).body)

    def _write(self, path: str, content: bytes) -> None:
        target = self.directory / "tree" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


class Proxy(Server):
    """A registry in front of the index at *upstream_url*."""

    def __init__(self, directory: Path, upstream_url: str) -> None:
        """Give the cache a *directory*, and an index to ask."""
        super().__init__(directory)
        self.upstream_url = upstream_url


class BondedProxy(Proxy, Bonded):
    """Bonded as its first start leaves it: `all` shows `python`, which is empty, and `pypi`."""

    index_path = "/my-project/all/simple/"

    def environment(self) -> dict[str, str]:
        """Return the bare environment, which says what stands in for the public index."""
        return super().environment() | {"BONDED_PUBLIC_INDEX_URL": self.upstream_url}


class DevpiProxy(Proxy, Devpi):
    """devpi with an empty index on top of a mirror, as its documentation sets it up."""

    index_path = "/root/all/+simple/"

    def command(self) -> list[str]:
        """Return the command, without the option that keeps it from asking anybody."""
        return [part for part in super().command() if part != "--offline-mode"]

    def load(self, wheels: Iterable[Wheel]) -> None:
        """Make both indexes and log in; nothing is published."""
        del wheels
        self.ask("PUT", "/root/mirror", {"type": "mirror", "mirror_url": self.upstream_url})
        self.ask("PUT", "/root/all", {"type": "stage", "bases": ["root/mirror"]})
        self.log_in()


class Proxpi(Proxy):
    """proxpi behind gunicorn, with its two threads; it knows neither users nor uploads."""

    name = "proxpi"
    requirements = ("proxpi==1.3.1", "gunicorn==27.0.1")
    index_path = "/index/"
    ready_path = "/"

    def command(self) -> list[str]:
        """Return the command that runs the server in the foreground."""
        bind = ["--bind", f"{HOST}:{self.port}", "--threads", "2"]
        return [self.tool("gunicorn"), *bind, "proxpi.server:app"]

    def environment(self) -> dict[str, str]:
        """Return the bare environment and its settings."""
        settings = {
            "PROXPI_INDEX_URL": self.upstream_url,
            "PROXPI_CACHE_DIR": str(self.directory / "cache"),
            "PROXPI_LOGGING_LEVEL": "WARNING",
        }
        return super().environment() | settings

    def load(self, wheels: Iterable[Wheel]) -> None:
        """Publish nothing."""


class PeryxProxy(Proxy, Peryx):
    """peryx with an empty hosted index over a cached one; nobody reads without a token."""

    index_path = "/all/simple/"

    def prepare(self) -> None:
        """Write the configuration of three indexes over that of one."""
        super().prepare()
        cached = f'[[index.upstream]]\nname = "upstream"\nurl = "{self.upstream_url}"\n'
        indexes = {
            "mirror": cached,
            "hosted": "hosted = true\n",
            "all": 'layers = ["hosted", "mirror"]\n',
        }
        text = "".join(self._index(name, kind) for name, kind in indexes.items())
        (self.directory / "peryx.toml").write_text(text)

    def _index(self, name: str, kind: str) -> str:
        token = f'[[index.access_token]]\nname = "benchmark"\nsecret = "{self.password}"\n'
        return (
            f'[[index]]\necosystem = "pypi"\nname = "{name}"\nanonymous_read = false\n'
            f'{kind}{token}actions = ["read"]\n'
        )

    def load(self, wheels: Iterable[Wheel]) -> None:
        """Publish nothing."""


PROXIES: Mapping[str, type[Proxy]] = {
    kind.name: kind for kind in (BondedProxy, DevpiProxy, Proxpi, PeryxProxy)
}


def newest(packages: Mapping[str, Sequence[Wheel]]) -> list[Wheel]:
    """Return the wheels that an installer takes."""
    return [wheels[-1] for wheels in packages.values()]
