"""Reading untrusted wheels and sdists: are they what their filenames say, and safe to unpack?"""

from bonded.server.archives.core_metadata import Inspection
from bonded.server.archives.inspection import inspect
from bonded.server.archives.limits import Limits

__all__ = ["Inspection", "Limits", "inspect"]
