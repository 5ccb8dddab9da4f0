"""One package out of several upstreams': each version comes whole from the first that has it."""

from __future__ import annotations

from collections.abc import Sequence

from packaging.utils import canonicalize_version

from bonded.server.core.files import Package, Status


def merge(packages: Sequence[Package]) -> tuple[Package, dict[str, int]]:
    """Return the merged package, and by filename the index of the one that a file comes from.

    Of a version that several have, only the first one's files count: a wheel of another
    would otherwise be preferred to the sdist of the version that was meant. What the first
    package says of itself stands for all; if it is quarantined, all of it is (PEP 792).
    """
    first = packages[0]
    if first.status is Status.QUARANTINED:
        return first, {}
    owners: dict[str, int] = {}
    sources: dict[str, int] = {}
    files = []
    for index, package in enumerate(packages):
        for file in package.files:
            # 1.0 and 1.0.0 are one version (PEP 440). A file that tells none is one of its own.
            version = canonicalize_version(file.version) or file.filename
            if owners.setdefault(version, index) == index and file.filename not in sources:
                sources[file.filename] = index
                files.append(file)
    # Oldest upload first, as in every package; stable, so that ties stay in order of priority.
    files.sort(key=lambda file: file.upload_time)
    versions = tuple(dict.fromkeys(file.version for file in files if file.version))
    merged = Package(first.name, tuple(files), versions, first.status, first.status_reason)
    return merged, sources
