"""The load: wrk for reads, a few threads with ready-made bodies for uploads, uv for installs."""

import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from corpus import BOUNDARY

SERVER_CORE, LOAD_CORE = 0, 1
CONNECTIONS = 16
REQUEST_TIMEOUT_S = 60
INSTALL_TIMEOUT_S = 300

Pins = AbstractSet[str]  # requirements such as "name==1.0"


class LoadError(Exception):
    """The target did not answer as a registry should, so its figure would mean nothing."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response to one request."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Run the block, and every process started in it, on *core* alone.

    A child inherits the set, so no code has to run between its fork and its exec.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def request(
    url: str, headers: Mapping[str, str], *, method: str = "GET", body: bytes | None = None
) -> Answer:
    """Send one request on its own connection and read the whole answer."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=REQUEST_TIMEOUT_S)
    try:
        connection.request(method, parts.path, body, dict(headers))
        response = connection.getresponse()
        names = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, names, response.read())
    finally:
        connection.close()


def wrk(url: str, headers: Mapping[str, str], seconds: int, *, paths: Path | None = None) -> float:
    """Return how many answers a second 16 connections get from *url*.

    With *paths*, a script from `in_turns`, they ask for those instead of the URL's own.

    Raises:
        LoadError: An answer was an error, or none came.
    """
    argv = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "30s"]
    for name, value in headers.items():
        argv += ["-H", f"{name}: {value}"]
    argv += ["-s", str(paths)] if paths else []
    done = subprocess.run(
        [*argv, url], capture_output=True, text=True, check=True, timeout=seconds + 60
    )
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    if rate is None or float(rate[1]) == 0:
        raise LoadError(f"not one answer to {CONNECTIONS} connections in {seconds} s")
    if "Non-2xx" in done.stdout:
        raise LoadError(f"answered with errors under load: {url}")
    return float(rate[1])


def in_turns(urls: Iterable[str], script: Path) -> Path:
    """Write the script with which wrk asks for *urls*, all of one server, one after the other."""
    # A JSON string of plain ASCII is a Lua string too.
    paths = ",".join(json.dumps(urlsplit(url).path) for url in urls)
    script.write_text(
        f"local paths, turn = {{{paths}}}, 0\n"
        "request = function()\n"
        "  turn = turn % #paths + 1\n"
        '  return wrk.format("GET", paths[turn])\n'
        "end\n"
    )
    return script


def upload(
    url: str, headers: Mapping[str, str], forms: Sequence[bytes], *, clients: int, seconds: float
) -> float:
    """Return the uploads a second that *clients* get acknowledged, each waiting for its reply.

    It ends with the last form or after *seconds*, whichever comes first; uploads under way then
    are waited for and counted, and so is their time.

    Raises:
        LoadError: An upload was refused.
    """
    waiting = iter(forms)  # next() on it is atomic, so the threads share it without a lock
    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as threads:
        parts = [
            threads.submit(_upload_until, url, headers, waiting, start + seconds)
            for _ in range(clients)
        ]
        done = sum(part.result() for part in parts)
    return done / (time.perf_counter() - start)


def _upload_until(
    url: str, headers: Mapping[str, str], forms: Iterator[bytes], deadline: float
) -> int:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=REQUEST_TIMEOUT_S)
    content_type = f"multipart/form-data; boundary={BOUNDARY.decode()}"
    sent = {**headers, "Content-Type": content_type}
    done = 0
    try:
        for form in forms:
            connection.request("POST", parts.path, form, sent)
            response = connection.getresponse()
            reason = response.read()
            if response.status not in {200, 201}:
                raise LoadError(f"upload to {url}: {response.status} {reason[:300]!r}")
            done += 1
            if time.perf_counter() > deadline:
                break
    finally:
        connection.close()
    return done


def install(index_url: str, package: str, directory: Path, *, pins: Pins | None = None) -> float:
    """Return the seconds `uv pip install` takes with nothing cached.

    Raises:
        LoadError: uv could not install, or installed something other than *pins*.
    """
    target = directory / "uv-target"
    argv = ["install", "--index-url", index_url, "--target", str(target)]
    argv += ["--python", sys.executable, "--no-build", "--link-mode", "copy", package]
    try:
        elapsed, _ = _uv_pip(argv, "", directory)
        installed = (path.stem.replace("_", "-") for path in target.glob("*.dist-info"))
        _compare(pins, {"==".join(name.rsplit("-", 1)) for name in installed}, index_url)
    finally:
        shutil.rmtree(target, ignore_errors=True)
    return elapsed


def lock(index_url: str, package: str, directory: Path, *, pins: Pins) -> float:
    """Return the seconds `uv pip compile` takes with nothing cached.

    Raises:
        LoadError: uv could not resolve, or resolved to something other than *pins*.
    """
    argv = ["compile", "--index-url", index_url, "--python", sys.executable, "--no-build"]
    argv += ["--no-header", "--no-annotate", "--no-emit-index-url", "-"]
    elapsed, output = _uv_pip(argv, package, directory)
    _compare(pins, set(output.split()), index_url)
    return elapsed


def _uv_pip(argv: Sequence[str], text: str, directory: Path) -> tuple[float, str]:
    """Run `uv pip` with an empty cache; return its seconds and what it printed."""
    cache = directory / "uv-cache"
    uv = [sys.executable, "-m", "uv", "--no-config", "--cache-dir", str(cache), "--quiet", "pip"]
    # A bare environment: the developer's own uv settings must not take part.
    bare = {"PATH": os.defpath, "HOME": str(directory)}
    start = time.perf_counter()
    done = subprocess.run(
        [*uv, *argv],
        input=text,
        env=bare,
        capture_output=True,
        text=True,
        timeout=INSTALL_TIMEOUT_S,
        check=False,
    )
    elapsed = time.perf_counter() - start
    shutil.rmtree(cache, ignore_errors=True)
    if done.returncode:
        server = next(urlsplit(each).netloc for each in argv if "://" in each).rpartition("@")[2]
        raise LoadError(f"uv pip {argv[0]} from {server}: {done.stderr.strip()}")
    return elapsed, done.stdout


def _compare(pins: Pins | None, found: AbstractSet[str], index_url: str) -> None:
    if pins is not None and pins != found:
        server = urlsplit(index_url).netloc.rpartition("@")[2]
        raise LoadError(f"from {server} came {len(found - pins)} others, {len(pins - found)} less")


def fsync_cost_us(directory: Path) -> float:
    """Return the median microseconds of writing 4 kB durably: what no upload can undercut."""
    costs = []
    for _ in range(50):
        start = time.perf_counter()
        with (directory / "fsync-probe").open("wb", buffering=0) as file:
            file.write(bytes(4096))
            os.fsync(file.fileno())
        costs.append(time.perf_counter() - start)
    return sorted(costs)[len(costs) // 2] * 1e6
