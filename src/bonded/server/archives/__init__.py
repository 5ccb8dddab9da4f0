"""Reading untrusted wheels and sdists: are they what their filenames say, and safe to unpack?"""

from bonded.server.archives.core_metadata import Inspection, read_core_metadata
from bonded.server.archives.inspection import inspect
from bonded.server.archives.limits import Limits
from bonded.server.archives.ranges import TAIL_BYTES, Missing, Ranges, read_wheel_metadata
from bonded.server.archives.wholeness import check_whole

__all__ = [
    "TAIL_BYTES",
    "Inspection",
    "Limits",
    "Missing",
    "Ranges",
    "check_whole",
    "inspect",
    "read_core_metadata",
    "read_wheel_metadata",
]
