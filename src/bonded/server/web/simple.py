"""The simple repository API: the list of packages, and one package's page (PEP 503, 691)."""

from __future__ import annotations

from bonded.server.core.errors import NotFound
from bonded.server.core.names import PackageName
from bonded.server.core.upstreams import Mode
from bonded.server.pages.negotiation import Media, choose_coding, choose_media
from bonded.server.pages.store import Pages
from bonded.server.repositories.catalog import Catalog
from bonded.server.web.messages import (
    AN_INDEX,
    Answer,
    Call,
    Reply,
    moved,
    package_named,
    text_reply,
)

_FORMATS = {media.value: media for media in Media}


class SimpleApi:
    """Answers with rendered pages."""

    def __init__(self, catalog: Catalog, pages: Pages) -> None:
        self._catalog = catalog
        self._pages = pages

    async def show_repository(self, call: Call) -> Answer:
        """Tell somebody who opened a repository's root where to point which tool."""
        try:
            mode = (await self._catalog.find_record(call.target)).mode
        except NotFound as error:
            # Such as /simple/NAME/, from whoever left out where the index is.
            raise NotFound(error.message, hint=AN_INDEX) from error
        upload = "upload to this address as it is."
        if mode is not Mode.STANDARD:
            upload = f"it is a {mode.noun} repository, which takes no uploads."
        return text_reply(
            f"{call.target}\n\nInstall from this address with simple/ at its end; {upload}"
        )

    async def list_packages(self, call: Call) -> Answer:
        """Answer with every package of the repository."""
        return await self._page(call, None)

    async def show_package(self, call: Call) -> Answer:
        """Answer with one package; a name spelled otherwise is sent to its one page."""
        spelled = call.params["package"]
        name = package_named(spelled)
        if spelled != name.normalized:
            return moved(f"../{name.normalized}/", call)
        return await self._page(call, name)

    async def add_slash(self, call: Call) -> Answer:
        """Send a list asked for without its slash to where it is (PEP 503)."""
        return moved("simple/", call)

    async def _page(self, call: Call, name: PackageName | None) -> Answer:
        repository = await self._catalog.open(call.target)
        headers = call.headers
        media = _asked_format(call) or choose_media(headers.get(b"accept", b"*/*"))
        coding = choose_coding(headers.get(b"accept-encoding", b""))
        page = await self._pages.get(repository, call.target, name, media, coding)
        if call.has_already(page.etag):
            return Reply(304, b"", page.validators)
        return Reply(200, page.body, page.headers)


def _asked_format(call: Call) -> Media | None:
    # `?format=` wins over Accept (PEP 691, version and format selection).
    if b"format=" not in call.scope["query_string"]:
        return None
    return _FORMATS.get(call.query().get("format", [""])[0].replace(" ", "+"))
