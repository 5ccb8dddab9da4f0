"""What a requirements file or a lock file wants of an index, and which files fit."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.pylock import Pylock, PylockValidationError
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.tags import Tag, sys_tags
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import Version

from bonded.client.errors import Misconfigured

LINES_MAX = 100_000
NESTED_MAX = 10
"""Requirements files that name each other."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One package, and what is wanted of it."""

    name: str
    """Normalized."""
    specifier: SpecifierSet
    filenames: frozenset[str] = frozenset()
    """What a lock file names; empty: whatever version and platform fit."""

    def __str__(self) -> str:
        """The requirement, as people write it."""
        return f"{self.name}{self.specifier}"


def read_wanted(path: Path) -> list[Wanted]:
    """Return what *path*, a requirements.txt, uv.lock or pylock.toml, wants.

    Raises:
        Misconfigured: it cannot be read, or is none of these.
    """
    if path.suffix in (".lock", ".toml"):
        try:
            data = tomllib.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise Misconfigured(f"{path} cannot be read: {error}.") from error
        if "lock-version" in data:
            return list(_of_pylock(data, path))
        if isinstance(data.get("package"), list):
            return list(_of_uv_lock(data["package"]))
        raise Misconfigured(
            f"{path} is neither a uv.lock nor a pylock.toml.",
            hint="Give one of these, or a requirements.txt.",
        )
    return list(_of_requirements(path, NESTED_MAX))


def _of_uv_lock(packages: Iterable[Mapping[str, Any]]) -> Iterator[Wanted]:
    for package in packages:
        # Others come from a checkout or another address, and no index is asked for them.
        if "registry" in package.get("source", {}) and "version" in package:
            files = [*package.get("wheels", ()), *filter(None, [package.get("sdist")])]
            names = frozenset(_last(file["url"]) for file in files if "url" in file)
            yield _exactly(package["name"], package["version"], names)


def _of_pylock(data: Mapping[str, Any], path: Path) -> Iterator[Wanted]:
    try:
        lock = Pylock.from_dict(data)
    except PylockValidationError as error:
        raise Misconfigured(f"{path} is not a valid pylock.toml: {error}.") from error
    for package in lock.packages:
        if package.version is None or package.vcs or package.directory or package.archive:
            continue
        names = {wheel.filename for wheel in package.wheels or ()}
        if package.sdist is not None:
            names.add(package.sdist.filename)
        yield _exactly(package.name, str(package.version), frozenset(names))


def _of_requirements(path: Path, nested_max: int) -> Iterator[Wanted]:
    try:
        text = path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise Misconfigured(f"{path} cannot be read: {error}.") from error
    for line in text.replace("\\\n", " ").splitlines()[:LINES_MAX]:
        said = line.split(" #")[0].strip()
        option, _, rest = said.partition(" ")
        if option in ("-r", "--requirement") and nested_max:
            yield from _of_requirements(path.parent / rest.strip(), nested_max - 1)
        elif said and not said.startswith(("#", "-")):
            requirement = _requirement(said.split(" --")[0], path)
            if requirement.url is None and (
                not requirement.marker or requirement.marker.evaluate()
            ):
                yield Wanted(canonicalize_name(requirement.name), requirement.specifier)


def _requirement(text: str, path: Path) -> Requirement:
    try:
        return Requirement(text)
    except InvalidRequirement as error:
        raise Misconfigured(
            f"{path}: {text[:120]!r} is not a requirement.",
            hint="Write NAME, NAME==VERSION and so on, one a line (PEP 508).",
        ) from error


def _exactly(name: str, version: str, filenames: frozenset[str]) -> Wanted:
    return Wanted(canonicalize_name(name), SpecifierSet(f"=={version}"), filenames)


def _last(url: str) -> str:
    return unquote(urlsplit(url).path.rpartition("/")[2])


def choose(wanted: Wanted, listed: Iterable[str], *, every_platform: bool) -> list[str]:
    """Return which of the *listed* filenames are wanted; empty if nothing fits.

    For this interpreter the best wheel, or else the sdist; for every platform all of the version.
    """
    found = [(filename, *told) for filename in listed if (told := _told(filename))]
    if wanted.filenames:
        found = [one for one in found if one[0] in wanted.filenames]
    else:
        versions = wanted.specifier.filter({version for _, version, _ in found})
        best = max(versions, default=None)
        found = [one for one in found if one[1] == best]
    if every_platform:
        return [filename for filename, _, _ in found]
    ranks = {tag: rank for rank, tag in enumerate(sys_tags())}
    rank: Callable[[frozenset[Tag]], float]
    rank = lambda tags: min((ranks.get(tag, float("inf")) for tag in tags), default=float("inf"))  # noqa: E731
    wheels = sorted((rank(tags), filename) for filename, _, tags in found if tags)
    sdists = [filename for filename, _, tags in found if not tags]
    fitting = [filename for at, filename in wheels if at != float("inf")]
    return (fitting or sdists)[:1]


def _told(filename: str) -> tuple[Version, frozenset[Tag]] | None:
    """Return version and tags of a file, no tags for an sdist; None if it is neither."""
    try:
        if filename.endswith(".whl"):
            _, version, _, tags = parse_wheel_filename(filename)
            return version, tags
        return parse_sdist_filename(filename)[1], frozenset()
    except (InvalidWheelFilename, InvalidSdistFilename):
        return None
