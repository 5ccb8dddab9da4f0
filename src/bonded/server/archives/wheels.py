"""Wheels: a strict zip archive with one .dist-info directory that is the filename's (PEP 427)."""

from __future__ import annotations

import os

from bonded.server.archives.entry_points import check_entry_points
from bonded.server.archives.limits import Limits
from bonded.server.archives.members import shown, spells
from bonded.server.archives.tars import BLOCK_BYTES, is_tar_header
from bonded.server.archives.zips import Zip
from bonded.server.core.errors import Rejected
from bonded.server.core.files import Filename

_SUFFIX = ".dist-info"
_NEEDED = ("METADATA", "WHEEL", "RECORD")


def read_metadata(fd: int, filename: Filename, limits: Limits) -> tuple[str, bytes]:
    """Check a whole wheel, and return the name and the contents of its core metadata file.

    Raises:
        Rejected: not a well-formed zip, or not one that is safe to unpack, or not a wheel.
    """
    archive = Zip(fd, filename.text, limits)
    if is_tar_header(os.pread(fd, BLOCK_BYTES, 0)):
        raise Rejected(f"{filename.text} is both a zip and a tar archive")
    dist_info = _find_dist_info(archive, filename)
    for name in _NEEDED:
        member = archive.members.get(f"{dist_info}/{name}")
        if member is None or member.name.endswith("/"):
            raise Rejected(f"{filename.text} has no {dist_info}/{name}")
    scripts = archive.members.get(f"{dist_info}/entry_points.txt")
    if scripts is not None:
        check_entry_points(
            f"{scripts.name} in {filename.text}",
            archive.read(scripts, limits.entry_points_bytes_max),
        )
    member = archive.members[f"{dist_info}/METADATA"]
    return (
        f"{member.name} in {filename.text}",
        archive.read(member, limits.core_metadata_bytes_max),
    )


def _find_dist_info(archive: Zip, filename: Filename) -> str:
    tops = {path.partition("/")[0] for path in archive.members}
    found = sorted(top for top in tops if top.endswith(_SUFFIX))
    if not found:
        raise Rejected(f"{filename.text} has no .dist-info directory")
    if len(found) > 1:
        raise Rejected(
            f"{filename.text} has several .dist-info directories:"
            f" {shown(found[0])} and {shown(found[1])}"
        )
    if not spells(found[0].removesuffix(_SUFFIX), filename):
        raise Rejected(
            f"{filename.text} has the directory {shown(found[0])},"
            " which is not its name and version"
        )
    return found[0]
