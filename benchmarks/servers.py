"""What the benchmark asks of a target, how it runs one, and Bonded as the first of them."""

import base64
import gzip
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote, urljoin, urlsplit

from google.auth.transport.requests import Request
from google.oauth2.service_account import Credentials

from corpus import Share, Wheel, upload_form
from load import SERVER_CORE, Answer, LoadError, pinned, request, upload

HOST = "127.0.0.1"
READY_TIMEOUT_S = 120
STOP_TIMEOUT_S = 15
SEED_TIMEOUT_S = 600
LOG_TAIL_CHARACTERS = 3_000
PEERS = Path(__file__).parent / ".peers"

# What pip 26 sends; uv's differs in the weights only.
PAGE_HEADERS = {
    "Accept": "application/vnd.pypi.simple.v1+json, "
    "application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01",
    "Accept-Encoding": "gzip, deflate",
}


class Server(ABC):
    """One target: installed, started on the server's core, filled, measured and stopped.

    Attributes:
        name: What the user calls it and the tables print.
        requirements: What its own environment holds; empty for one that needs none.
        share: How much of the corpus it takes in minutes rather than hours.
    """

    name: ClassVar[str]
    requirements: ClassVar[tuple[str, ...]] = ()
    share: Share = Share.EVERYTHING
    index_path: ClassVar[str]
    upload_path: ClassVar[str | None] = None
    ready_path: ClassVar[str]
    user: ClassVar[str] = "bench"

    def __init__(self, directory: Path) -> None:
        """Give the target a *directory*, which it makes when it begins, and a port of its own."""
        self.directory = directory
        self.port = free_port()
        self.origin = f"http://{HOST}:{self.port}"
        self.password = "benchmark-password"
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command that runs the server in the foreground."""

    def environment(self) -> dict[str, str]:
        """Return the bare environment it runs in, so no developer's setting takes part."""
        return {"PATH": os.defpath, "HOME": str(self.directory), "LANG": "C.UTF-8"}

    def install(self) -> None:
        """Install the target, pinned, into an environment of its own unless it is there."""
        home, wanted = PEERS / self.name, "\n".join(self.requirements)
        stamp = home / "installed.txt"
        if not self.requirements or (stamp.is_file() and stamp.read_text() == wanted):
            return
        print(f"installing {', '.join(self.requirements)}", flush=True)
        uv = [sys.executable, "-m", "uv", "--quiet"]
        subprocess.run([*uv, "venv", "--clear", "--python", sys.executable, str(home)], check=True)
        python = ["--python", str(home / "bin" / "python")]
        subprocess.run([*uv, "pip", "install", *python, *self.requirements], check=True)
        stamp.write_text(wanted)

    def tool(self, name: str) -> str:
        """Return the path of a command from the target's own environment."""
        return str(PEERS / self.name / "bin" / name)

    def prepare(self) -> None:
        """Make the directory and what must be in it before the first start."""
        self.directory.mkdir(parents=True)

    def load(self, wheels: Iterable[Wheel]) -> None:
        """Publish *wheels*; by default through the front door, as eight clients.

        Raises:
            LoadError: It took too long, so some are missing.
        """
        forms = [upload_form(wheel) for wheel in wheels]
        began = time.perf_counter()
        upload(self.upload_url, self.credentials, forms, clients=8, seconds=SEED_TIMEOUT_S)
        if time.perf_counter() - began > SEED_TIMEOUT_S:
            raise LoadError(f"{self.name} did not take {len(forms):,} files in {SEED_TIMEOUT_S} s")

    def begin(self, wheels: Iterable[Wheel]) -> None:
        """Prepare and start the server, and load *wheels*.

        Raises:
            LoadError: It failed; the end of its log says why.
        """
        self.prepare()
        try:
            self.start()
            self.load(wheels)
        except LoadError as error:
            log = (self.directory / "server.log").read_text(errors="replace")
            raise LoadError(f"{error}\n{log[-LOG_TAIL_CHARACTERS:]}") from error

    def start(self, path: str | None = None) -> float:
        """Start the server and return the seconds until *path* answers 200.

        Raises:
            LoadError: It ended, or did not answer in time.
        """
        with (self.directory / "server.log").open("ab") as log, pinned(SERVER_CORE):
            began = time.perf_counter()
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.directory,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # so its workers can be found, counted and stopped
            )
        while time.perf_counter() - began < READY_TIMEOUT_S:
            if self._process.poll() is not None:
                break
            if self._answers(path or self.ready_path):
                return time.perf_counter() - began
            time.sleep(0.002)
        raise LoadError(f"{self.name} did not start")

    def _answers(self, path: str) -> bool:
        try:
            return request(self.origin + path, self.credentials).status == 200
        except OSError:
            return False

    def stop(self) -> None:
        """End the server and the workers of its session, which are ours alone."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for survivor in _session(process.pid):
            os.kill(survivor, signal.SIGKILL)

    def cpu_s(self) -> float:
        """Return the processor seconds that all of the server's processes have used."""
        if self._process is None:
            return 0.0
        ticks = 0
        for pid in _session(self._process.pid):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])  # utime and stime, proc(5)
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory_bytes(self) -> int:
        """Return the resident memory of all of the server's processes together."""
        if self._process is None:
            return 0
        statuses = [Path(f"/proc/{pid}/status").read_text() for pid in _session(self._process.pid)]
        return sum(int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) * 1024 for status in statuses)

    @property
    def credentials(self) -> dict[str, str]:
        """Return the header that every request carries."""
        pair = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}

    @property
    def page_headers(self) -> dict[str, str]:
        """Return what an installer sends for a page."""
        return self.credentials | PAGE_HEADERS

    @property
    def upload_url(self) -> str:
        """Return where uploads go.

        Raises:
            LoadError: The target takes none.
        """
        if self.upload_path is None:
            raise LoadError(f"{self.name} takes no uploads")
        return self.origin + self.upload_path

    @property
    def install_url(self) -> str:
        """Return the index URL with credentials in it, for uv."""
        password = quote(self.password, safe="")
        return f"http://{self.user}:{password}@{HOST}:{self.port}{self.index_path}"

    def page_url(self, package: str) -> str:
        """Return the address of a package's page."""
        return f"{self.origin}{self.index_path}{package}/"

    def page(self, package: str) -> Answer:
        """Fetch a package's page as pip would.

        Raises:
            LoadError: It was not there.
        """
        answer = request(self.page_url(package), self.page_headers)
        if answer.status != 200:
            raise LoadError(f"{self.page_url(package)}: {answer.status} {answer.body[:200]!r}")
        return answer

    def file_url(self, wheel: Wheel) -> str:
        """Return the address that the page gives for *wheel*.

        Raises:
            LoadError: The page does not list it.
        """
        answer = self.page(wheel.name)
        text = _plain(answer).decode()
        if "json" in answer.headers["content-type"]:
            urls = [str(file["url"]) for file in json.loads(text)["files"]]
        else:
            urls = re.findall(r'href="([^"]+)"', text)
        for url in (urljoin(self.page_url(wheel.name), each) for each in urls):
            if urlsplit(url).path.endswith(f"/{wheel.filename}"):
                return url.partition("#")[0]
        raise LoadError(f"{self.name} does not list {wheel.filename}")


class Bonded(Server):
    """The registry of this repository, run from the environment of the benchmark."""

    name = "bonded"
    index_path = "/my-project/python/simple/"
    upload_path = "/my-project/python/"
    ready_path = "/readyz"
    user = "oauth2accesstoken"

    def environment(self) -> dict[str, str]:
        """Return its environment: nothing is asked of anybody while we measure."""
        return super().environment() | {"BONDED_PUBLIC_INDEX_PROBE": "off"}

    def command(self) -> list[str]:
        """Return the command that runs the server in the foreground."""
        data = str(self.directory / "data")
        return [
            *(sys.executable, "-m", "bonded", "serve"),
            *("--data-dir", data, "--listen", f"{HOST}:{self.port}"),
        ]

    def load(self, wheels: Iterable[Wheel]) -> None:
        """Trade the key file for an access token, as gcloud's users do, and publish *wheels*."""
        key = self.directory / "data" / "admin-key.json"
        credentials = Credentials.from_service_account_file(  # type: ignore[no-untyped-call]
            str(key), scopes=["https://www.googleapis.com/auth/cloud-platform"]
        )
        credentials.refresh(Request())
        self.password = str(credentials.token)
        super().load(wheels)


def _plain(answer: Answer) -> bytes:
    if answer.headers.get("content-encoding") == "gzip":
        return gzip.decompress(answer.body)
    return answer.body


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _session(leader: int) -> list[int]:
    """Return the processes of the session that *leader* was started to lead (proc(5))."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # It ended while we looked.
        if int(after_name[3]) == leader and after_name[0] != "Z":
            found.append(int(entry.parent.name))
    return found
