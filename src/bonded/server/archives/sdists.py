"""Source distributions: one directory in a .tar.gz, with PKG-INFO (PEP 517, PEP 625, PEP 721).

The archive is decompressed once, from front to back; only names and PKG-INFO are kept.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import BinaryIO

from bonded.server.archives.gunzip import Gunzip
from bonded.server.archives.limits import Limits
from bonded.server.archives.members import is_safe, path_of, plain, shown, spells
from bonded.server.archives.tars import DIRECTORY, FILE, HARDLINK, SYMLINK, Tar, TarMember
from bonded.server.archives.zips import is_zip
from bonded.server.core.errors import Rejected, TooLarge
from bonded.server.core.files import Filename


def read_pkg_info(
    file: BinaryIO, packed_bytes: int, filename: Filename, limits: Limits
) -> tuple[str, bytes]:
    """Check a whole sdist, and return the name and the contents of its core metadata file.

    Raises:
        Rejected: not a well-formed .tar.gz, or not one that is safe to unpack, or not an sdist.
    """
    tar = Tar(Gunzip(file, packed_bytes, filename.text, limits), filename.text, limits)
    tree = _Tree(filename, limits)
    pkg_info = None
    for member in tar:
        path = tree.add(member)
        if path == f"{tree.top}/PKG-INFO":
            pkg_info = _read(tar, member, path, filename, limits)
    tree.check_links()
    if is_zip(file.fileno()):
        # Older pips ask for that first, and would install what nobody looked at.
        raise Rejected(
            f"{filename.text} is both a tar and a zip archive",
            hint="It ends with a zip archive that is not compressed. Pack it with compression.",
        )
    if not tree.top:
        raise Rejected(f"{filename.text} is empty")
    if pkg_info is None:
        raise Rejected(
            f"{filename.text} has no {tree.top}/PKG-INFO",
            hint="Build it with `python -m build` or another PEP 517 front end.",
        )
    return f"{tree.top}/PKG-INFO in {filename.text}", pkg_info


def _read(tar: Tar, member: TarMember, path: str, filename: Filename, limits: Limits) -> bytes:
    if member.kind != FILE:
        raise Rejected(f"{path} in {filename.text} is not a regular file")
    if member.size > limits.core_metadata_bytes_max:
        raise TooLarge(
            f"{path} in {filename.text} is larger than {limits.core_metadata_bytes_max} bytes"
        )
    return tar.read(member)


class _Tree:
    """The directory tree that an sdist unpacks to, checked as it grows."""

    def __init__(self, filename: Filename, limits: Limits) -> None:
        self.top = ""
        """The one directory that everything is in, or empty before the first member."""
        self._filename = filename
        self._limits = limits
        self._kinds: dict[str, bytes] = {}
        self._names_bytes = 0

    def add(self, member: TarMember) -> str:
        """Take in a member and return its path.

        Raises:
            Rejected: outside the top directory, a duplicate, or a link that points out.
        """
        archive = self._filename.text
        name = plain(member.name)
        if not name and member.kind == DIRECTORY:
            return name  # `./`, the directory to unpack into
        path = path_of(archive, name)
        self._check_top(path, member.kind)
        known = self._kinds.get(path)
        # Directories are listed twice by some builders; the second changes nothing.
        if known is not None and not known == member.kind == DIRECTORY:
            raise Rejected(f"{archive} has two members named {shown(path)}")
        self._names_bytes += len(path)
        if self._names_bytes > self._limits.directory_bytes_max:
            raise TooLarge(
                f"{archive} has member names of more than"
                f" {self._limits.directory_bytes_max} bytes together"
            )
        if member.kind == SYMLINK:
            self._check_symlink(path, member.link)
        elif member.kind == HARDLINK:
            self._check_hardlink(path, member.link)
        self._kinds[path] = member.kind
        return path

    def _check_top(self, path: str, kind: bytes) -> None:
        top, slash, _ = path.partition("/")
        if not slash and kind != DIRECTORY:
            raise Rejected(f"{self._filename.text} has {shown(path)} outside a top-level directory")
        if not self.top:
            if not spells(top, self._filename):
                raise Rejected(
                    f"{self._filename.text} has the directory {shown(top)},"
                    " which is not its name and version"
                )
            self.top = top
        elif top != self.top:
            raise Rejected(
                f"{self._filename.text} has several top-level directories:"
                f" {shown(self.top)} and {shown(top)}"
            )

    def _check_symlink(self, path: str, link: str) -> None:
        """Refuse a target outside the directory unpacked into (PEP 706's data filter).

        A target climbs first and descends then. With `a/..` in the middle it could climb from
        wherever a link `a` leads to; and `check_links` sees to it that the directories climbed
        are directories. So no chain of links leads further out than each of them.
        """
        parts = [part for part in link.split("/") if part not in ("", ".")]
        climb = parts.count("..")
        descent = "/".join(parts[climb:])  # has a `..` left, and is unsafe, unless all came first
        stays = (
            bool(link)
            and not link.startswith("/")
            and climb <= path.count("/")
            and (not descent or is_safe(descent))
        )
        if not stays:
            raise self._points_out(path, link)

    def _check_hardlink(self, path: str, link: str) -> None:
        """Refuse a target other than an earlier file: one to a symlink would move that symlink."""
        target = plain(link)
        if not is_safe(target):
            raise self._points_out(path, link)
        if self._kinds.get(target) not in (FILE, HARDLINK):
            raise Rejected(
                f"{shown(path)} in {self._filename.text} is a hard link to {shown(link)},"
                " which is no file before it"
            )

    def _points_out(self, path: str, link: str) -> Rejected:
        return Rejected(
            f"{shown(path)} in {self._filename.text} is a link that points out of the archive,"
            f" to {shown(link)}"
        )

    def check_links(self) -> None:
        """Refuse members below a symlink: they would be written where it points.

        Raises:
            Rejected: there is one.
        """
        links = [path for path, kind in self._kinds.items() if kind == SYMLINK]
        paths = sorted(self._kinds) if links else []
        for link in links:
            next_ = bisect_left(paths, f"{link}/")
            if next_ < len(paths) and paths[next_].startswith(f"{link}/"):
                raise Rejected(
                    f"{self._filename.text} has {shown(paths[next_])} below the link {shown(link)}"
                )
