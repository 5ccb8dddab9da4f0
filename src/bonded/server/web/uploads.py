"""The legacy upload API, the only one that publishing tools speak (standards.md §2)."""

from __future__ import annotations

from bonded.server.core.audit import note
from bonded.server.core.errors import Forbidden, Gone, Rejected, TooLarge
from bonded.server.core.iam import Permission
from bonded.server.core.names import PackageName
from bonded.server.core.upstreams import Mode, RepositoryConfig, VirtualConfig, upstreams_of
from bonded.server.operations.publishing import OTHER_DIGESTS, Offer, Publisher
from bonded.server.repositories.catalog import Catalog
from bonded.server.web.access import Access
from bonded.server.web.forms import FIELDS_SIZE_MAX_BYTES, Form, claimed, read_form
from bonded.server.web.messages import Answer, Call, text_reply

FIELDS = (
    *(":action", "protocol_version", "attestations"),
    *("name", "version", "filetype", "sha256_digest", *OTHER_DIGESTS),
)
"""All that is read of an upload's form; its metadata come from the file."""
_PAST_ACTIONS = ("submit", "submit_pkg_info", "doc_upload", "verify")


class UploadApi:
    """Takes files in."""

    def __init__(self, catalog: Catalog, publisher: Publisher, access: Access) -> None:
        self._catalog = catalog
        self._access = access
        self._publisher = publisher

    async def publish(self, call: Call) -> Answer:
        """Take in one file. 200 once it is durable and listed, or was so before."""
        self._check_length(call)
        # Asked before the body is read: nobody should send 2 GB to a repository that is not there.
        record = await self._catalog.find_record(call.target)
        if record.mode is not Mode.STANDARD:
            raise Rejected(
                f"{call.target} is a {record.mode.noun} repository, which takes no uploads",
                hint=await self._elsewhere(record.config),
            )
        async with self._publisher.stage() as staged:
            form = await read_form(call, staged, FIELDS)
            offer = _offer(form, call)
            # Whoever is refused from here on has tried to publish this.
            note(**claimed(offer.name, offer.filename))
            # Once more: now it is known what is published, and some may publish some packages; and
            # a body may come for hours, in which the right to send it has perhaps been taken away.
            needed = Permission.REPOSITORY_UPLOAD
            await self._access.check_again(call, needed, call.target, offer.name)
            _check_limits(offer, call)
            published = await self._publisher.publish(call.target, offer, staged)
        verb = "Published" if published.is_new else "Already published, unchanged:"
        return text_reply(f"{verb} {published.file.filename}")

    async def _elsewhere(self, config: RepositoryConfig) -> str:
        """Say where to publish instead: the virtual repository shows what is there."""
        shown = [
            name
            for name in upstreams_of(config)
            if (await self._catalog.find_record(name)).mode is Mode.STANDARD
        ]
        if not isinstance(config, VirtualConfig) or not shown:
            return "Publish to a standard repository."
        places = " or ".join(f"/{name.project}/{name.repository}/ ({name})" for name in shown)
        return f"Publish to one that it shows: {places}."

    def _check_length(self, call: Call) -> None:
        length = call.headers.get(b"content-length", b"")
        limit = self._publisher.file_size_max_bytes
        if length.isdigit() and int(length) > limit + FIELDS_SIZE_MAX_BYTES:
            raise TooLarge(f"The file is larger than the limit of {limit} bytes")


def _check_limits(offer: Offer, call: Call) -> None:
    limits = call.principal.limits
    if limits is None:
        return
    name = PackageName.parse(offer.name).normalized
    if not limits.allow_upload(str(call.target), name):
        raise Forbidden(
            f"The token may not upload {name} to {call.target}: it is limited to {limits}",
            hint="Add the package to the trusted publisher, or publish from elsewhere.",
        )


def _offer(form: Form, call: Call) -> Offer:
    # Old tools say the action in the query.
    action = form.optional(":action") or call.query().get(":action", [""])[0]
    if action in _PAST_ACTIONS:
        raise Gone(f"The action {action} is no more", hint="Upload files with :action=file_upload.")
    if action != "file_upload":
        raise Rejected("The field :action is missing or unknown; it must be file_upload")
    if form.optional("protocol_version") not in ("", "1"):
        raise Rejected("Unknown protocol version; it must be 1")
    if form.fields["attestations"] not in ([], [""], ["[]"]):
        # PEP 740: an index that cannot verify an attestation must not accept it.
        raise Rejected(
            "This repository does not verify attestations",
            hint="Upload without them: uv publish --no-attestations, or twine without "
            "--attestations.",
        )
    if form.filename is None:
        raise Rejected("The field content is missing")
    return Offer(
        filename=form.filename,
        name=form.one("name"),
        version=form.one("version"),
        filetype=form.one("filetype"),
        sha256=form.optional("sha256_digest"),
        other_digests={name: form.optional(name) for name in OTHER_DIGESTS if form.optional(name)},
    )
