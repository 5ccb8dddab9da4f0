"""Renders the simple repository API, version 1.4, as JSON and as HTML.

PEP 503 and 691 (the two forms), 592 (yank), 629 (version), 658 and 714 (core
metadata), 700 (versions, size, upload-time), 792 (status). HTML is frozen at
1.4 by PEP 833: what comes later goes into JSON alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from html import escape
from typing import Any
from urllib.parse import quote

import orjson

from bonded.server.core.files import (
    File,
    Package,
    Status,
    TimeSource,
    UpstreamFile,
)
from bonded.server.core.names import PackageName

API_VERSION = "1.4"


def list_json(names: Iterable[PackageName]) -> bytes:
    """Return the list of packages as JSON (PEP 691)."""
    return orjson.dumps(
        {
            "meta": {"api-version": API_VERSION},
            "projects": [{"name": name.normalized} for name in names],
        }
    )


def list_html(names: Iterable[PackageName]) -> bytes:
    """Return the list of packages as HTML (PEP 503)."""
    anchors = [f'<a href="{name.normalized}/">{escape(name.spelled)}</a><br>' for name in names]
    return _document("Simple index", "", "\n".join(anchors))


def detail_json(package: Package) -> bytes:
    """Return one package as JSON (PEP 691, 700, 792)."""
    status = {"status": package.status.value}
    if package.status_reason:
        status["reason"] = package.status_reason
    return orjson.dumps(
        {
            "meta": {"api-version": API_VERSION},
            "name": package.name.normalized,
            "project-status": status,
            "versions": package.versions,
            "files": [_file_json(package.name, file) for file in package.files],
        }
    )


def _file_json(name: PackageName, file: File | UpstreamFile) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "filename": file.filename,
        "url": file_url(name, file.filename),
        "hashes": dict(file.hashes),
        "upload-time": upload_time(file.upload_time),
        "yanked": file.yanked or file.is_yanked,
    }
    # An unknown value is left out: uv refuses the whole page over a null (standards.md D-21).
    if file.size_bytes is not None:
        entry["size"] = file.size_bytes
    if file.requires_python is not None:
        entry["requires-python"] = file.requires_python
    # Only under PEP 714's name: installers that know nothing but the older one misread it.
    if file.core_metadata_sha256 is not None:
        entry["core-metadata"] = {"sha256": file.core_metadata_sha256}
    if isinstance(file, UpstreamFile):
        entry |= _upstream_json(file)
    return entry


def _upstream_json(file: UpstreamFile) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    if file.core_metadata_sha256 is None and file.has_core_metadata:
        entry["core-metadata"] = True
    if file.provenance is not None:
        entry["provenance"] = file.provenance
    if file.time_source is not TimeSource.UPSTREAM:
        # A key of our own, by its underscore (PEP 691): a cooldown may want to know.
        entry["_upload-time-source"] = file.time_source.value
    return entry


def detail_html(package: Package) -> bytes:
    """Return one package as HTML (PEP 503), without what HTML cannot say."""
    head = ""
    if package.status is not Status.ACTIVE:
        head = _meta("pypi:project-status", package.status.value)
        if package.status_reason:
            head += _meta("pypi:project-status-reason", package.status_reason)
    anchors = [_file_html(package.name, file) for file in package.files]
    return _document(f"Links for {escape(package.name.spelled)}", head, "\n".join(anchors))


def _file_html(name: PackageName, file: File | UpstreamFile) -> str:
    # Double quotes, no nested tag, the filename as sole text: hatch and uv's own
    # tests read anchors by regular expression (standards.md D-30).
    href = file_url(name, file.filename)
    if file.hashes:
        # One fits; sha256 if there is one.
        algorithm, digest = max(file.hashes, key=lambda one: one[0] == "sha256")
        href += f"#{algorithm}={digest}"
    attributes = f'href="{href}"'
    if file.requires_python is not None:
        attributes += f' data-requires-python="{escape(file.requires_python)}"'
    if file.core_metadata_sha256 is not None:
        attributes += _core_metadata_html(f"sha256={file.core_metadata_sha256}")
    elif isinstance(file, UpstreamFile) and file.has_core_metadata:
        attributes += _core_metadata_html("true")
    if isinstance(file, UpstreamFile) and file.provenance is not None:
        attributes += f' data-provenance="{escape(file.provenance)}"'
    if file.yanked is not None:
        attributes += f' data-yanked="{escape(file.yanked)}"'
    return f"<a {attributes}>{escape(file.filename)}</a><br>"


def _core_metadata_html(value: str) -> str:
    return f' data-core-metadata="{value}" data-dist-info-metadata="{value}"'


def file_url(name: PackageName, filename: str) -> str:
    """Return a file's URL relative to its package's page.

    Permanent and without credential, because lock files keep it (standards.md D-9).
    """
    return f"../../{name.normalized}/{quote(filename)}"


def upload_time(moment: datetime) -> str:
    """Return a moment as PEP 700 writes it: UTC, `Z`, at most six digits."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _meta(name: str, content: str) -> str:
    return f'    <meta name="{name}" content="{escape(content)}">\n'


def _document(title: str, head: str, body: str) -> bytes:
    return (
        "<!DOCTYPE html>\n<html>\n  <head>\n"
        f"{_meta('pypi:repository-version', API_VERSION)}{head}"
        f"    <title>{title}</title>\n  </head>\n  <body>\n"
        f"<h1>{title}</h1>\n{body}\n  </body>\n</html>\n"
    ).encode()
