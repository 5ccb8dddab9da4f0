"""Whether a remote repository can be used from where the server runs: told at once, not later."""

from __future__ import annotations

from bonded.server.core.errors import NotFound, Unavailable
from bonded.server.core.names import PackageName
from bonded.server.repositories.protocol import Repository

PROBED = PackageName.parse("pip")
"""A package that every public index has, and of which somebody is going to ask anyway."""


async def try_out(repository: Repository) -> Unavailable | None:
    """Return what keeps the repository from being used, if anything does.

    It is asked for a page and for the core metadata of a wheel, which are on different hosts
    often: each may be out of reach.
    """
    try:
        package = await repository.get_package(PROBED)
        wheels = [file.filename for file in package.files if file.filename.endswith(".whl")]
        if wheels:
            await repository.open_core_metadata(PROBED, wheels[-1])
    except NotFound:
        # An honest answer: an index that does not have it, or a wheel that has none.
        return None
    except Unavailable as error:
        return error
    return None
