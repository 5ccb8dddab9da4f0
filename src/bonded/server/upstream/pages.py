"""An upstream's page of one package: what its entries become, and how the whole is kept.

Whatever the form it came in, it becomes a `Package` of `UpstreamFile`s. An entry that makes
no sense is left out, as installers do; a page that makes none is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import urljoin, urlsplit

import orjson
import zstandard
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from bonded.server.core.digests import Sha256, sha256_of
from bonded.server.core.files import FILENAME_LENGTH_MAX, Package, Status, TimeSource, UpstreamFile
from bonded.server.core.names import PackageName
from bonded.server.core.urls import percent_encoded

FILES_MAX = 100_000
"""Of one package; the largest that we know of the public index, ddtrace, has 47,000."""
URL_LENGTH_MAX = 8192
TEXT_LENGTH_MAX = 4096
"""Of a yank reason, a specifier, a status reason."""

SUFFIXES = (".whl", ".tar.gz", ".zip", ".tar.bz2", ".tar.xz", ".tgz", ".egg")
"""What installers have ever taken: old packages have nothing else."""

_FILENAME = re.compile(r"[A-Za-z0-9._+!-]+")
_HEX = re.compile(r"(?:[0-9a-f]{2}){16,64}")
_ALGORITHM = re.compile(r"[a-z0-9_]{2,16}")
# What nearly all URLs of files are: a host and a path, or a path from here; each without a
# query. What comes before the second group is the same for many files of a page. Possessive,
# or it would be quadratic on a URL that is none.
_PLAIN_URL = re.compile(
    r"(https?://[a-z0-9.:-]+/|(?!//)(?:[A-Za-z0-9._-]*+/)++)([A-Za-z0-9._+!%~/-]+)(?:#[!-~]*)?"
)


class EntryReader:
    """Makes files of what a page says of them; *seen_at* is when it was read."""

    def __init__(self, name: PackageName, base_url: str, seen_at: datetime) -> None:
        self._name = name
        self._base_url = base_url
        self._seen_at = seen_at
        self.files: dict[str, UpstreamFile] = {}
        self._starts: dict[str, str | None] = {}

    def add(
        self,
        *,
        filename: str,
        url: object,
        hashes: Mapping[str, object],
        size: object = None,
        upload_time: object = None,
        requires_python: object = None,
        core_metadata: object = None,
        yanked: object = None,
        provenance: object = None,
    ) -> None:
        """Take in one entry, unless it is not one that an installer could use."""
        version = version_of(filename, self._name)
        absolute = self._resolve(url)
        if version is None or absolute is None:
            return
        digest = _core_metadata_digest(core_metadata)
        moment = parse_time(upload_time)
        file = UpstreamFile(
            filename=filename,
            url=absolute,
            version=version,
            upload_time=moment or self._seen_at,
            time_source=TimeSource.UPSTREAM if moment else TimeSource.FIRST_SEEN,
            size_bytes=size if type(size) is int and size >= 0 else None,
            hashes=_digests(hashes),
            requires_python=_text(requires_python) or None,
            core_metadata_sha256=digest,
            has_core_metadata=bool(core_metadata),
            yanked=_yanked(yanked),
            provenance=self._resolve(provenance) if provenance else None,
        )
        # The first of two entries of one name wins, as with installers.
        self.files.setdefault(filename, file)

    def _resolve(self, url: object) -> str | None:
        if not isinstance(url, str) or not url or len(url) > URL_LENGTH_MAX:
            return None
        match = _PLAIN_URL.fullmatch(url)
        if match is None or match[2] in (".", ".."):
            return self._resolve_any(url)
        # Taking a URL apart costs more than all the rest of an entry, so it is done once for many.
        start = match[1]
        if start not in self._starts:
            self._starts[start] = self._resolve_any(start)
        resolved = self._starts[start]
        return None if resolved is None else resolved + match[2]

    def _resolve_any(self, url: str) -> str | None:
        try:
            parts = urlsplit(urljoin(self._base_url, url.strip()).partition("#")[0])
            is_usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            return None
        # A user in it would be a credential that goes to every client; and no host has a name
        # that must be encoded so.
        if not is_usable or "@" in parts.netloc or percent_encoded(parts.netloc) != parts.netloc:
            return None
        return percent_encoded(parts.geturl())

    def package(
        self, versions: Iterable[object] = (), status: object = None, reason: object = None
    ) -> Package:
        """Return the page's package."""
        files = () if status == Status.QUARANTINED else tuple(self.files.values())
        told = [one for one in versions if isinstance(one, str) and len(one) <= 255]
        known = dict.fromkeys([*told, *(file.version for file in files if file.version)])
        is_known = isinstance(status, str) and status in set(Status)
        return Package(
            self._name,
            files,
            tuple(known),
            Status(str(status)) if is_known else Status.ACTIVE,
            _text(reason) or "",
        )


def version_of(filename: str, name: PackageName) -> str | None:
    """Return the version that *filename* tells, "" if it is unclear.

    None if it is not a file of the package *name* that an installer could use.
    """
    suffix = next((one for one in SUFFIXES if filename.endswith(one)), None)
    if suffix is None or len(filename) > FILENAME_LENGTH_MAX or not _FILENAME.fullmatch(filename):
        return None
    stem = filename.removesuffix(suffix)
    if suffix in (".whl", ".egg"):
        called, _, rest = stem.partition("-")
        text = rest.partition("-")[0]
    else:
        called, text = _split_sdist(stem, name)
    if _canonical(called) != name.normalized:
        return None
    return _normalized(text)


def _split_sdist(stem: str, name: PackageName) -> tuple[str, str]:
    # Names may have hyphens, and old versions too: the name is known, so it decides.
    for hyphen in re.finditer("-", stem):
        if canonicalize_name(stem[: hyphen.start()]) == name.normalized:
            return stem[: hyphen.start()], stem[hyphen.end() :]
    return "", ""


_canonical = lru_cache(maxsize=1024)(canonicalize_name)  # a package has many files


@lru_cache(maxsize=16_384)  # a version has many wheels
def _normalized(text: str) -> str:
    try:
        return str(Version(text))
    except InvalidVersion:
        return ""


def parse_time(text: object) -> datetime | None:
    """Return a moment in UTC as PEP 700 writes it, and more leniently; None if it is none."""
    if not isinstance(text, str) or len(text) > 40:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _digests(said: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    found = []
    for key, value in said.items():
        if isinstance(value, str) and _is_digest(key.lower(), value.lower()):
            found.append((key.lower(), value.lower()))
    return tuple(sorted(found))


def _is_digest(algorithm: str, digest: str) -> bool:
    if not _ALGORITHM.fullmatch(algorithm) or not _HEX.fullmatch(digest):
        return False
    return algorithm != "sha256" or len(digest) == 64


def _core_metadata_digest(said: object) -> Sha256 | None:
    if not isinstance(said, Mapping):
        return None
    return next((Sha256(digest) for key, digest in _digests(said) if key == "sha256"), None)


def _yanked(said: object) -> str | None:
    if isinstance(said, str):
        return said[:TEXT_LENGTH_MAX]
    return "" if said else None


def _text(said: object) -> str | None:
    return said if isinstance(said, str) and len(said) <= TEXT_LENGTH_MAX else None


def with_known_times(package: Package, before: Package | None) -> Package:
    """Return *package* with the upload times that were found out for files seen *before*."""
    if before is None:
        return package
    known = {
        file.filename: file
        for file in before.files
        if isinstance(file, UpstreamFile) and file.time_source is not TimeSource.UPSTREAM
    }
    return replace(package, files=tuple(_timed(file, known) for file in _of(package)))


def _timed(file: UpstreamFile, known: Mapping[str, UpstreamFile]) -> UpstreamFile:
    earlier = known.get(file.filename)
    if earlier is None or file.time_source is TimeSource.UPSTREAM:
        return file
    return replace(
        file,
        upload_time=earlier.upload_time,
        time_source=earlier.time_source,
        size_bytes=earlier.size_bytes if file.size_bytes is None else file.size_bytes,
    )


def _of(package: Package) -> tuple[UpstreamFile, ...]:
    return tuple(file for file in package.files if isinstance(file, UpstreamFile))


def dump(package: Package) -> bytes:
    """Return *package* as the metadata store keeps it."""
    return zstandard.ZstdCompressor(level=3).compress(_packed(package, with_urls=True))


def load(data: bytes) -> Package:
    """Return what `dump` was given."""
    kept = orjson.loads(zstandard.ZstdDecompressor().decompress(data))
    files = tuple(_file(one) for one in kept["files"])
    return Package(
        PackageName.parse(kept["name"]),
        files,
        tuple(kept["versions"]),
        Status(kept["status"]),
        kept["reason"],
    )


def digest_of(package: Package) -> Sha256:
    """Return a digest of what clients see of *package*.

    Without URLs: an upstream that signs them gives new ones each time, and nothing has changed.
    """
    return sha256_of(_packed(package, with_urls=False))


def _packed(package: Package, *, with_urls: bool) -> bytes:
    return orjson.dumps(
        {
            "name": package.name.spelled,
            "versions": package.versions,
            "status": package.status,
            "reason": package.status_reason,
            "files": [_entry(file, with_urls=with_urls) for file in _of(package)],
        }
    )


def _entry(file: UpstreamFile, *, with_urls: bool) -> list[object]:
    return [
        file.filename,
        file.url if with_urls else "",
        file.version,
        file.upload_time.timestamp(),
        file.time_source,
        file.size_bytes,
        file.hashes,
        file.requires_python,
        file.core_metadata_sha256,
        file.has_core_metadata,
        file.yanked,
        file.provenance,
    ]


def _file(entry: list[object]) -> UpstreamFile:
    filename, url, version, moment, source, size, hashes, python, core, has_core, yank, prov = entry
    return UpstreamFile(
        filename=str(filename),
        # Pages that an earlier version has kept may have it as it came.
        url=percent_encoded(str(url)),
        version=str(version),
        upload_time=datetime.fromtimestamp(float(str(moment)), UTC),
        time_source=TimeSource(str(source)),
        size_bytes=size if isinstance(size, int) else None,
        hashes=tuple((pair[0], pair[1]) for pair in hashes) if isinstance(hashes, list) else (),
        requires_python=_text(python),
        core_metadata_sha256=Sha256(core) if isinstance(core, str) else None,
        has_core_metadata=bool(has_core),
        yanked=yank if isinstance(yank, str) else None,
        provenance=percent_encoded(prov) if isinstance(prov, str) else None,
    )
