"""How much of an untrusted archive is looked at before it is refused."""

from __future__ import annotations

from dataclasses import dataclass

from bonded.server.core.errors import TooLarge

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


@dataclass(frozen=True, slots=True)
class Limits:
    """One number for everything that an archive's author chooses the size of."""

    members_max: int = 100_000
    """Files, directories and links in one archive."""
    directory_bytes_max: int = 32 * MIB
    """A zip's central directory, all its extra fields, or the names of all members of a tar."""
    unpacked_bytes_max: int = 20 * GIB
    """All members together."""
    ratio_max: int = 50
    """Unpacked to packed bytes of a whole archive, as the public index judges it."""
    ratio_floor_bytes: int = 64 * MIB
    """An archive that unpacks to less than this may be packed as tightly as it likes."""
    extended_header_bytes_max: int = 1 * MIB
    """One pax or GNU header of a tar, which carries a long name."""
    extended_headers_bytes_max: int = 16 * MIB
    """All pax and GNU headers of a tar together."""
    extended_records_max: int = 200_000
    """All pax and GNU headers of a tar and the records in them: two for each of `members_max`."""
    core_metadata_bytes_max: int = 8 * MIB
    """METADATA or PKG-INFO."""
    entry_points_bytes_max: int = 1 * MIB
    """entry_points.txt."""

    def unpacked_bytes_allowed(self, packed_bytes: int) -> int:
        """Return how much an archive of *packed_bytes* may unpack to before it is a bomb."""
        by_ratio = max(self.ratio_floor_bytes, self.ratio_max * packed_bytes)
        return min(self.unpacked_bytes_max, by_ratio)

    def check_unpacked(self, archive: str, unpacked_bytes: int, packed_bytes: int) -> None:
        """Refuse a bomb.

        Raises:
            TooLarge: too many bytes, or too many for so small an archive.
        """
        if unpacked_bytes <= self.unpacked_bytes_allowed(packed_bytes):
            return
        if unpacked_bytes > self.unpacked_bytes_max:
            raise TooLarge(f"{archive} unpacks to more than {self.unpacked_bytes_max} bytes")
        raise TooLarge(
            f"{archive} unpacks to more than {self.ratio_max} times its size",
            hint=f"That is allowed only below {self.ratio_floor_bytes} bytes.",
        )

    def check_members(self, archive: str, count: int) -> None:
        """Refuse an archive of too many members.

        Raises:
            TooLarge: there are more than `members_max`.
        """
        if count > self.members_max:
            raise TooLarge(f"{archive} has more than {self.members_max} members")
