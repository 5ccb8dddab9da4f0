"""Reading untrusted wheels and sdists: are they what their filenames say, and safe to unpack?"""

from bonded.server.archives.core_metadata import Inspection
from bonded.server.archives.inspection import inspect
from bonded.server.archives.limits import Limits
from bonded.server.archives.ranges import TAIL_BYTES, Missing, Ranges, read_wheel_metadata

__all__ = [
    "TAIL_BYTES",
    "Inspection",
    "Limits",
    "Missing",
    "Ranges",
    "inspect",
    "read_wheel_metadata",
]
