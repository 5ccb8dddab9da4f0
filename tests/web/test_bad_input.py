"""Every bad input: its status, the first line of what it is told, and that nothing stays behind."""

# ruff: noqa: E501

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from hashlib import blake2b, md5
from typing import Any

import httpx2
import pytest

from support.site import Parts, Site, encode, form_of
from support.tars import changed, header, padded
from support.wheels import (
    Distribution,
    make_metadata,
    make_sdist,
    make_wheel,
    pack_tar,
    pack_tar_gz,
    pack_zip,
    tar_member,
)

Action = Callable[[Site], Awaitable[httpx2.Response]]

WHEEL = make_wheel("fresh")
SDIST = make_sdist("fresh")
KEPT = make_wheel("kept")
"""Published before every case, to be in the way."""


def upload(parts: Parts | Distribution, **options: str) -> Action:
    """Upload as the administrator."""
    return lambda site: site.upload(parts, **options)


def post(body: bytes, content_type: str, **headers: str) -> Action:
    """Send any body to where uploads go."""

    async def send(site: Site) -> httpx2.Response:
        authorization = {"authorization": f"Bearer {site.admin}", "content-type": content_type}
        return await site.http.post(
            f"{site.repository}/", content=body, headers=authorization | headers
        )

    return send


def rest(method: str, path: str, body: object = None) -> Action:
    """Call the control plane as the administrator; `~` is the project."""
    return lambda site: site.call(method, path.replace("~", "/v1/projects/my-project"), body)


def grant(role: str, member: str, **extra: object) -> Action:
    """Replace the repository's policy."""
    policy = {"bindings": [{"role": role, "members": [member], **extra}]}
    return rest("POST", "~/locations/local/repositories/python:setIamPolicy", {"policy": policy})


def grant_on(expression: str, version: object = 3) -> Action:
    """Replace the repository's policy by one with a condition, in some version."""
    condition = {"title": "when", "expression": expression}
    reader = "roles/artifactregistry.reader"
    binding = {"role": reader, "members": ["allUsers"], "condition": condition}
    policy = {"bindings": [binding], "version": version}
    return rest("POST", "~/locations/local/repositories/python:setIamPolicy", {"policy": policy})


async def with_expired_token(site: Site) -> httpx2.Response:
    token = site.admin
    site.clock.forward(seconds=3600)
    site.admin = await site.sign_in(site.admin_key)
    return await site.upload(WHEEL, token)


async def without_permission(site: Site) -> httpx2.Response:
    accounts = (await site.call("GET", "/v1/projects/my-project/serviceAccounts")).json()
    if "no-rights" in str(accounts):
        await site.call(
            "DELETE",
            "/v1/projects/my-project/serviceAccounts/no-rights@my-project.iam.gserviceaccount.com",
        )
    key = await site.make_account("no-rights")
    return await site.upload(WHEEL, await site.sign_in(key))


async def in_chunks_without_length(site: Site) -> httpx2.Response:
    body, content_type = encode(form_of(make_wheel("fresh", payload_bytes=200_000)))

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    headers = {"authorization": f"Bearer {site.admin}", "content-type": content_type}
    return await site.http.post(f"{site.repository}/", content=chunks(), headers=headers)


async def with_stale_etag(site: Site) -> httpx2.Response:
    path = f"{site.rest}:setIamPolicy"
    await site.call("POST", path, {"policy": {}})
    stale = (await site.call("POST", f"{site.rest}:getIamPolicy")).json()
    await site.call("POST", path, {"policy": {}})
    return await site.call("POST", path, {"policy": stale})


def fields(**changes: str | None) -> Action:
    """Upload the wheel with some fields changed, or (None) left out."""
    return upload(form_of(WHEEL, **changes))


def named(filename: str) -> Action:
    """Upload the wheel's bytes under another name."""
    return upload(form_of(Distribution(filename, WHEEL.data, b"")))


def wheel(data: bytes) -> Action:
    """Upload other bytes under the wheel's name."""
    return upload(Distribution(WHEEL.filename, data, b""))


def sdist(data: bytes) -> Action:
    """Upload other bytes under the sdist's name."""
    return upload(Distribution(SDIST.filename, data, b""))


BODY, CONTENT_TYPE = encode(form_of(WHEEL))
REPOSITORIES = "~/locations/local/repositories"
PYTHON = f"{REPOSITORIES}/python"

# One row, one line.
# fmt: off
CASES: dict[str, tuple[Action, int, str]] = {
    # Who is asking.
    "no credential": (upload(WHEEL, token=""), 401, "The request has no valid authentication credentials. Send an access token as password of the user oauth2accesstoken."),
    "wrong credential": (upload(WHEEL, token="not-a-token"), 401, "The access token is not valid. Fetch a new one."),
    "expired credential": (with_expired_token, 401, "The access token has expired. Fetch a new one."),
    "no permission": (without_permission, 403, "Permission 'artifactregistry.repositories.uploadArtifacts' denied on resource '//artifactregistry.googleapis.com/projects/my-project/locations/local/repositories/python' (or it may not exist) for serviceAccount:no-rights@my-project.iam.gserviceaccount.com."),
    "unknown repository": (upload(WHEEL, path="/my-project/none/"), 404, "Repository projects/my-project/locations/local/repositories/none does not exist."),
    "unknown project": (upload(WHEEL, path="/other-project/python/"), 404, "Repository projects/other-project/locations/local/repositories/python does not exist."),
    "a project that cannot be": (upload(WHEEL, path="/nope/python/"), 404, "Repository projects/nope/locations/local/repositories/python does not exist. An index is at /PROJECT/REPOSITORY/simple/."),
    "a project that cannot be, in the REST": (rest("GET", "/v1/projects/nope/locations/local/repositories/python"), 404, "Repository projects/nope/locations/local/repositories/python does not exist."),
    "a package of no index": (rest("GET", "/simple/idna/"), 404, "Repository projects/simple/locations/local/repositories/idna does not exist. An index is at /PROJECT/REPOSITORY/simple/."),
    "unknown address": (upload(WHEEL, path="/my-project/python/up/load/"), 404, "There is nothing at this address. An index is at /PROJECT/REPOSITORY/simple/."),
    # The form.
    "not multipart": (post(b"a=b", "application/x-www-form-urlencoded"), 400, "The upload is not multipart/form-data. Upload with twine, uv, Poetry, PDM, Hatch or flit."),
    "no content type": (post(b"a=b", ""), 400, "The upload is not multipart/form-data. Upload with twine, uv, Poetry, PDM, Hatch or flit."),
    "no boundary": (post(BODY, "multipart/form-data"), 400, "The upload is not multipart/form-data. Upload with twine, uv, Poetry, PDM, Hatch or flit."),
    "too long a boundary": (post(BODY, f"multipart/form-data; boundary={'x' * 300}"), 400, "The form's boundary is longer than 70 characters."),
    "another boundary": (post(BODY, "multipart/form-data; boundary=other"), 400, "The upload ends before its form does. Upload it again."),
    "empty body": (post(b"", CONTENT_TYPE), 400, "The upload ends before its form does. Upload it again."),
    "truncated in the file": (post(BODY[:len(BODY) // 2 + 400], CONTENT_TYPE), 400, "The upload ends before its form does. Upload it again."),
    "truncated before the end": (post(BODY[:-4], CONTENT_TYPE), 400, "The upload ends before its form does. Upload it again."),
    "too long a part header": (post(b"--x\r\nA: " + b"a" * 20000, "multipart/form-data; boundary=x"), 413, "A part of the form has too many headers, or one of more than 16384 bytes."),
    "too many fields": (upload([("classifiers", "x")] * 4097), 413, "The form has more than 4096 fields."),
    "too much before the form": (post(b"x" * 16800000 + b"\r\n" + BODY, CONTENT_TYPE), 413, "The form is larger than 16777216 bytes without its file."),
    "too much after the form": (post(BODY + b"x" * 16800000, CONTENT_TYPE), 413, "The form is larger than 16777216 bytes without its file."),
    "too large fields": (upload([("description", "x" * 16800000)]), 413, "The form is larger than 16777216 bytes without its file."),
    "no action": (fields(**{":action": None}), 400, "The field :action is missing or unknown; it must be file_upload."),
    "unknown action": (fields(**{":action": "fly"}), 400, "The field :action is missing or unknown; it must be file_upload."),
    "past action": (fields(**{":action": "submit"}), 410, "The action submit is no more. Upload files with :action=file_upload."),
    "unknown protocol": (fields(protocol_version="2"), 400, "Unknown protocol version; it must be 1."),
    "attestations": (fields(attestations='[{"version": 1}]'), 400, "This repository does not verify attestations. Upload without them: uv publish --no-attestations, or twine without --attestations."),
    "no name": (fields(name=None), 400, "The field name is missing."),
    "empty name": (fields(name=""), 400, "The field name is missing."),
    "no version": (fields(version=None), 400, "The field version is missing."),
    "no filetype": (fields(filetype=None), 400, "The field filetype is missing."),
    "no content": (upload(form_of(WHEEL)[:-1]), 400, "The field content is missing."),
    "content is text": (upload([*form_of(WHEEL)[:-1], ("content", "text")]), 400, "The field content is not a file."),
    "two names": (upload([("name", "fresh"), *form_of(WHEEL)]), 400, "The field name is given 2 times."),
    "two files": (upload([*form_of(WHEEL), form_of(WHEEL)[-1]]), 400, "The field content is given 2 times."),
    "name is a file": (upload([("name", ("name.txt", b"fresh")), *form_of(WHEEL, name=None)]), 400, "The field name is missing."),
    # Form, filename and archive must agree.
    "wrong sha256": (fields(sha256_digest="0" * 64), 400, f"The sha256_digest is not that of the file, which is {WHEEL.sha256}. The file was changed on the way: upload it again."),
    "malformed sha256": (fields(sha256_digest="zz"), 400, "'zz' is not a SHA-256 digest in hexadecimal."),
    "wrong blake2": (fields(blake2_256_digest="0" * 64), 400, f"The blake2_256_digest is not that of the file, which is {blake2b(WHEEL.data, digest_size=32).hexdigest()}."),
    "wrong md5": (fields(md5_digest="0" * 32), 400, f"The md5_digest is not that of the file, which is {md5(WHEEL.data).hexdigest()}."),
    "another name": (fields(name="other"), 400, "fresh-1.0-py3-none-any.whl is not a file of package other."),
    "another version": (fields(version="2.0"), 400, "fresh-1.0-py3-none-any.whl is not a file of version 2.0."),
    "another filetype": (fields(filetype="sdist"), 400, "filetype 'sdist' does not fit fresh-1.0-py3-none-any.whl, which is bdist_wheel."),
    "bad name": (fields(name="-fresh-"), 400, "'-fresh-' is not a valid package name. Use letters, digits, '.', '-' and '_', with a letter or digit at each end."),
    "bad version": (fields(version="one"), 400, "'one' is not a valid version. See PEP 440."),
    "bad version in the filename": (named("fresh-one-py3-none-any.whl"), 400, "'fresh-one-py3-none-any.whl' is not a valid filename: Invalid wheel filename (invalid version): 'fresh-one-py3-none-any'."),
    "bad tag": (named("fresh-1.0-py3-none-a ny.whl"), 400, "'fresh-1.0-py3-none-a ny.whl' is not a valid filename."),
    "empty tag": (named("fresh-1.0-py3-none-.whl"), 400, "'fresh-1.0-py3-none-.whl' is not a valid filename: Invalid wheel filename (invalid tag component): 'fresh-1.0-py3-none-'."),
    "bad build number": (named("fresh-1.0-x-py3-none-any.whl"), 400, "'fresh-1.0-x-py3-none-any.whl' is not a valid filename: Invalid build number: x in 'fresh-1.0-x-py3-none-any'."),
    "bad name in the filename": (named("fr__esh-1.0-py3-none-any.whl"), 400, "'fr__esh-1.0-py3-none-any.whl' is not a valid filename: Invalid project name: 'fr__esh-1.0-py3-none-any'."),
    "wheel variant": (named("fresh-1.0-1-py3-none-any-x86_64_v3.whl"), 400, "'fresh-1.0-1-py3-none-any-x86_64_v3.whl' is not a valid filename: Invalid wheel filename (wrong number of parts): 'fresh-1.0-1-py3-none-any-x86_64_v3'."),
    "filename that climbs": (named("../fresh-1.0-py3-none-any.whl"), 400, "'../fresh-1.0-py3-none-any.whl' is not a filename: it contains a path."),
    "filename with markup": (named("fresh-1.0-py3-none-%22><b>.whl"), 400, '\'fresh-1.0-py3-none-"><b>.whl\' is not a valid filename.'),
    "too long a filename": (named(f"fresh-1.0-py3-none-{'x' * 250}.whl"), 400, "'fresh-1.0-py3-none-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' is not a valid filename."),
    "too long a version": (named(f"fresh-1.{'1' * 130}-py3-none-any.whl"), 400, "The version of 'fresh-1.1111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111-py3-none-any.whl' is longer than 128 characters."),
    "an egg": (named("fresh-1.0-py3.11.egg"), 400, "'fresh-1.0-py3.11.egg' is neither a wheel (.whl) nor a source distribution (.tar.gz)."),
    "a zipped sdist": (named("fresh-1.0.zip"), 400, "'fresh-1.0.zip' is neither a wheel (.whl) nor a source distribution (.tar.gz)."),
    "same name, other bytes": (upload(make_wheel("kept", summary="Changed.")), 409, "File already exists: kept-1.0-py3-none-any.whl is published with other contents. Published files never change. Raise the version and upload again."),
    # The archive.
    "empty file": (wheel(b""), 400, "fresh-1.0-py3-none-any.whl is not a zip archive."),
    "not a zip": (wheel(b"not a zip archive at all" * 10), 400, "fresh-1.0-py3-none-any.whl is not a zip archive."),
    "not a tar": (sdist(b"not a tar archive at all" * 10), 400, "fresh-1.0.tar.gz is not a gzip-compressed tar archive."),
    "half a zip": (wheel(WHEEL.data[:len(WHEEL.data) // 2]), 400, "fresh-1.0-py3-none-any.whl is truncated. The directory at the zip archive's end is missing. Build or upload it again."),
    "half a tar": (sdist(SDIST.data[:len(SDIST.data) // 2]), 400, "fresh-1.0.tar.gz is truncated. Its gzip stream ends early. Upload it again."),
    "zip behind something": (wheel(b"#!/bin/sh\n" + WHEEL.data), 400, "fresh-1.0-py3-none-any.whl has data that belongs to no member, or to several. The zip archive is damaged, or another file was put before or into it."),
    "tar that is a zip too": (wheel(pack_tar([tar_member("fresh/a", b"a")]) + WHEEL.data), 400, "fresh-1.0-py3-none-any.whl has data that belongs to no member, or to several. The zip archive is damaged, or another file was put before or into it."),
    "zip bomb": (upload(make_wheel("fresh", files={"fresh/zeros": bytes(2000000)})), 413, "fresh-1.0-py3-none-any.whl unpacks to more than 1000000 bytes."),
    "tar bomb": (upload(make_sdist("fresh", files={"zeros": bytes(2000000)})), 413, "fresh-1.0.tar.gz unpacks to more than 1000000 bytes."),
    "sdist that is a zip too": (sdist(gzip.compress(pack_tar([tar_member("fresh-1.0/PKG-INFO", SDIST.core_metadata), tar_member("fresh-1.0/data", pack_zip([("fresh-1.0/setup.py", b"evil")]))]), compresslevel=0)), 400, "fresh-1.0.tar.gz is both a tar and a zip archive. It ends with a zip archive that is not compressed. Pack it with compression."),
    "members in a member": (sdist(gzip.compress(changed(header("fresh-1.0/data"), size=b"\0%010o " % 1024) + header("../../evil.py", size=4) + padded(b"evil"))), 400, "fresh-1.0.tar.gz has a tar header without a valid size."),
    "climbing script": (upload(make_wheel("fresh", files={"fresh-1.0.dist-info/entry_points.txt": b"[console_scripts]\n../../evil = fresh:main"})), 400, "fresh-1.0.dist-info/entry_points.txt in fresh-1.0-py3-none-any.whl has a script with an unsafe name: '../../evil'."),
    "climbing zip member": (upload(make_wheel("fresh", files={"../evil.py": b""})), 400, "fresh-1.0-py3-none-any.whl has a member with an unsafe name: '../evil.py'."),
    "absolute zip member": (upload(make_wheel("fresh", files={"/etc/evil": b""})), 400, "fresh-1.0-py3-none-any.whl has a member with an unsafe name: '/etc/evil'."),
    "climbing tar member": (sdist(pack_tar_gz([tar_member("fresh-1.0/../../evil", b"")])), 400, "fresh-1.0.tar.gz has a member with an unsafe name: 'fresh-1.0/../../evil'."),
    "no METADATA": (upload(make_wheel("fresh", omit=["METADATA"])), 400, "fresh-1.0-py3-none-any.whl has no fresh-1.0.dist-info/METADATA."),
    "no RECORD": (upload(make_wheel("fresh", omit=["RECORD"])), 400, "fresh-1.0-py3-none-any.whl has no fresh-1.0.dist-info/RECORD."),
    "no PKG-INFO": (upload(make_sdist("fresh", omit=["PKG-INFO"])), 400, "fresh-1.0.tar.gz has no fresh-1.0/PKG-INFO. Build it with `python -m build` or another PEP 517 front end."),
    "zip without a wheel": (wheel(pack_zip([("a.txt", b"a")])), 400, "fresh-1.0-py3-none-any.whl has no .dist-info directory."),
    "another name inside": (upload(make_wheel("fresh", metadata=make_metadata("other"))), 400, "Name in fresh-1.0.dist-info/METADATA in fresh-1.0-py3-none-any.whl is 'other', but the file is named fresh-1.0-py3-none-any.whl."),
    "another version inside": (upload(make_wheel("fresh", metadata=make_metadata("fresh", "2.0"))), 400, "Version in fresh-1.0.dist-info/METADATA in fresh-1.0-py3-none-any.whl is '2.0', but the file is named fresh-1.0-py3-none-any.whl."),
    "bad version inside": (upload(make_sdist("fresh", metadata=make_metadata("fresh", "one"))), 400, "Version in fresh-1.0/PKG-INFO in fresh-1.0.tar.gz is not a PEP 440 version: 'one'."),
    # Size.
    "too large by its length": (post(BODY, CONTENT_TYPE, **{"content-length": "20000000000"}), 413, "The file is larger than the limit of 100000 bytes."),
    "too large": (upload(make_wheel("fresh", payload_bytes=200000)), 413, "The file is larger than the limit of 100000 bytes."),
    "too large without a length": (in_chunks_without_length, 413, "The file is larger than the limit of 100000 bytes."),
    # The control plane.
    "malformed JSON": (lambda site: site.http.patch(site.rest, content=b'{"description":', headers={"authorization": f"Bearer {site.admin}"}), 400, "The request is not valid JSON: unexpected end of data: line 1 column 16 (char 15)."),
    "JSON that is no object": (rest("PATCH", PYTHON, ["description"]), 400, "The request must be a JSON object."),
    "too large a body": (rest("PATCH", PYTHON, {"description": "x" * 1100000}), 413, "The request is larger than 1048576 bytes."),
    "wrong type": (rest("POST", "/v1/projects", {"projectId": 7}), 400, "projectId must be a string of at most 1024 characters."),
    "no repository ID": (rest("POST", REPOSITORIES, {"format": "PYTHON"}), 400, "'' is not a valid repository ID. Use up to 63 lower-case letters, digits and hyphens, starting with a letter."),
    "bad repository ID": (rest("POST", f"{REPOSITORIES}?repositoryId=Bad_ID", {"format": "PYTHON"}), 400, "'Bad_ID' is not a valid repository ID. Use up to 63 lower-case letters, digits and hyphens, starting with a letter."),
    "bad location": (rest("POST", "~/locations/-/repositories?repositoryId=more", {"format": "PYTHON"}), 400, "'-' is not a valid location."),
    "bad project ID": (rest("POST", "/v1/projects", {"projectId": "No"}), 400, "'No' is not a valid project ID. Use 6 to 30 lower-case letters, digits and hyphens, starting with a letter."),
    "bad account ID": (rest("POST", "~/serviceAccounts", {"accountId": "No"}), 400, "'No' is not a valid service account ID. Use 6 to 30 lower-case letters, digits and hyphens, starting with a letter."),
    "no format": (rest("POST", f"{REPOSITORIES}?repositoryId=more", {}), 400, "format has the unknown value 'None'; use FORMAT_UNSPECIFIED, DOCKER, MAVEN, NPM, APT, YUM, PYTHON, KFP, GO, GENERIC, RUBY."),
    "unknown format": (rest("POST", f"{REPOSITORIES}?repositoryId=more", {"format": "COBOL"}), 400, "format has the unknown value 'COBOL'; use FORMAT_UNSPECIFIED, DOCKER, MAVEN, NPM, APT, YUM, PYTHON, KFP, GO, GENERIC, RUBY."),
    "unknown format number": (rest("POST", f"{REPOSITORIES}?repositoryId=more", {"format": 99}), 400, "format has the unknown value '99'; use FORMAT_UNSPECIFIED, DOCKER, MAVEN, NPM, APT, YUM, PYTHON, KFP, GO, GENERIC, RUBY."),
    "another format": (rest("POST", f"{REPOSITORIES}?repositoryId=more", {"format": "DOCKER"}), 400, "format must be PYTHON: Bonded keeps Python packages only."),
    "unknown mode": (rest("POST", f"{REPOSITORIES}?repositoryId=more", {"format": "PYTHON", "mode": "CACHE"}), 400, "mode has the unknown value 'CACHE'; use MODE_UNSPECIFIED, STANDARD_REPOSITORY, VIRTUAL_REPOSITORY, REMOTE_REPOSITORY, NONE."),
    "taken repository": (rest("POST", f"{REPOSITORIES}?repositoryId=python", {"format": "PYTHON"}), 409, "Repository projects/my-project/locations/local/repositories/python already exists."),
    "taken project": (rest("POST", "/v1/projects", {"projectId": "my-project"}), 409, "Project my-project already exists."),
    "repository of no project": (rest("POST", "/v1/projects/other-project/locations/local/repositories?repositoryId=more", {"format": "PYTHON"}), 404, "Project other-project does not exist."),
    "full project": (rest("DELETE", "~"), 400, "Project my-project is not empty. Delete its repositories first."),
    "too long a description": (rest("PATCH", PYTHON, {"description": "x" * 1025}), 400, "description must be a text of at most 1024 characters."),
    "bad label": (rest("PATCH", PYTHON, {"labels": {"Team": "core"}}), 400, "'Team' is not a valid label key. Use up to 63 lower-case letters, digits, '_' and '-', a letter first."),
    "bad label value": (rest("PATCH", PYTHON, {"labels": {"team": "Core"}}), 400, "'Core' is not a valid label value. Use up to 63 lower-case letters, digits, '_' and '-'."),
    "labels that are no object": (rest("PATCH", PYTHON, {"labels": ["team"]}), 400, "labels must be an object of at most 64 entries."),
    "unknown field in the mask": (rest("PATCH", f"{PYTHON}?updateMask=colour", {}), 400, "updateMask names the unknown field 'colour'."),
    "fixed field in the mask": (rest("PATCH", f"{PYTHON}?updateMask=format", {}), 400, "The field format cannot be changed."),
    "part of labels in the mask": (rest("PATCH", f"{PYTHON}?updateMask=labels.team", {"labels": {"team": "core"}}), 400, "updateMask names a part of labels, which only changes as a whole. Name labels, and send all that it is to be."),
    "part of a text in the mask": (rest("PATCH", f"{PYTHON}?updateMask=description.foo", {}), 400, "updateMask names a part of description, which only changes as a whole. Name description, and send all that it is to be."),
    "key of a KMS": (rest("POST", f"{REPOSITORIES}?repositoryId=more", {"format": 8, "kmsKeyName": "k"}), 400, "kmsKeyName is not supported: Bonded encrypts nothing with keys of yours, but can keep files on what does. Leave kmsKeyName out."),
    "cleanup policies": (rest("POST", f"{REPOSITORIES}?repositoryId=more", {"format": 8, "cleanupPolicies": {"old": {}}}), 400, "cleanupPolicies is not supported: Bonded deletes nothing by itself. Leave cleanupPolicies out."),
    "dry run of creating": (rest("POST", f"{REPOSITORIES}?repositoryId=more&validateOnly=true", {"format": 8}), 400, "validateOnly is not supported, and nothing was changed. Leave it out to make the change."),
    "dry run of deleting": (rest("DELETE", f"{PYTHON}?validate_only=True"), 400, "validateOnly is not supported, and nothing was changed. Leave it out to make the change."),
    "policy version of thousands of digits": (rest("GET", f"{PYTHON}:getIamPolicy?options.requestedPolicyVersion={'1' * 5000}"), 400, "options.requestedPolicyVersion must be 0, 1 or 3."),
    "project of thousands of digits": (rest("GET", f"/v1/projects/{'1' * 5000}:getIamPolicy"), 404, f"Project {'1' * 5000} does not exist."),
    "project of no digits": (rest("GET", "/v1/projects/%C2%B2:getIamPolicy"), 404, "Project ² does not exist."),
    "two masks": (rest("PATCH", f"{PYTHON}?updateMask=labels&updateMask=name", {}), 400, "The parameter updateMask is given 2 times."),
    "bad page size": (rest("GET", f"{REPOSITORIES}?pageSize=-1"), 400, "pageSize must be a number that is not negative."),
    "bad page token": (rest("GET", f"{REPOSITORIES}?pageToken=%21%21"), 400, "pageToken is not one that this list has given. Start without one."),
    "page token that is not ASCII": (rest("GET", f"{REPOSITORIES}?pageToken=%C3%A9"), 400, "pageToken is not one that this list has given. Start without one."),
    "page token of another server": (rest("GET", f"{REPOSITORIES}?pageToken=YWJj"), 400, "pageToken is not one that this list has given. Start without one."),
    "a filter": (rest("GET", f"{REPOSITORIES}?filter=a%3Db"), 400, "filter is not supported. Filter the list on your side."),
    "too many parameters": (rest("GET", f"{REPOSITORIES}?{'a=b&' * 101}"), 400, "The query has more than 100 parameters."),
    "unknown role": (grant("roles/king", "allUsers"), 400, "Role 'roles/king' does not exist. Use a predefined role, such as roles/artifactregistry.reader."),
    "bad member": (grant("roles/artifactregistry.reader", "ada"), 400, "'ada' is not a valid member. Use user:ADDRESS, serviceAccount:ADDRESS, group:ADDRESS, domain:DOMAIN, principal://…, principalSet://…, allUsers or allAuthenticatedUsers; on a repository also projectOwner:PROJECT, projectEditor:PROJECT or projectViewer:PROJECT."),
    "a condition": (grant("roles/artifactregistry.reader", "allUsers", condition={"expression": "true"}), 400, "A condition needs a title and an expression."),
    "a malformed condition": (grant_on("resource.nmae == ''"), 400, "The expression `resource.nmae == ''` is wrong at line 1, column 9: undeclared reference to 'resource.nmae'. It is CEL, and may use request.time, request.ip, resource.name, resource.type, resource.service, resource.package."),
    "a condition in an old version": (grant_on("true", version=1), 400, "Bindings with conditions need a policy of version 3. Read and write it with version 3 (options.requestedPolicyVersion=3, policy.version=3)."),
    "an unknown version": (grant_on("true", version=2), 400, "policy.version must be 0, 1 or 3."),
    "a version that is no number": (grant_on("true", version="3"), 400, "policy.version must be 0, 1 or 3."),
    "an unknown permission": (rest("POST", "~/roles", {"roleId": "picker", "role": {"includedPermissions": ["a.b.c"]}}), 400, "Permission 'a.b.c' does not exist. docs/reference/roles.md lists the permissions there are."),
    "members that are no list": (rest("POST", f"{PYTHON}:setIamPolicy", {"policy": {"bindings": [{"role": "roles/owner", "members": "allUsers"}]}}), 400, "A binding's members must be a list of strings."),
    "too many members": (rest("POST", f"{PYTHON}:setIamPolicy", {"policy": {"bindings": [{"role": "roles/owner", "members": [f"user:u{n}@a.b" for n in range(1501)]}]}}), 400, "A policy may hold 1500 bindings and 1500 members; this one has 1 and 1501."),
    "no policy": (rest("POST", f"{PYTHON}:setIamPolicy", {}), 400, "policy is missing."),
    "changed meanwhile": (with_stale_etag, 409, "There were concurrent policy changes. Read the policy again, repeat the change, and write it with the new etag."),
    "unknown key type": (rest("POST", "~/serviceAccounts/bonded-admin@my-project.iam.gserviceaccount.com/keys", {"privateKeyType": "TYPE_PKCS12_FILE"}), 400, "privateKeyType must be TYPE_GOOGLE_CREDENTIALS_FILE."),
    "method not allowed": (rest("PUT", PYTHON, {}), 405, "This address answers GET, DELETE, PATCH, HEAD."),
}
# fmt: on


def first_line(response: httpx2.Response) -> str:
    """Return what a person is told, wherever the body has it."""
    if response.headers["content-type"] != "application/json":
        return response.text.splitlines()[0]
    error: dict[str, Any] = response.json()["error"]
    assert error["code"] == response.status_code
    message: str = error["message"]
    return message


async def everything(site: Site) -> object:
    """Return all that a refused request could have left behind."""
    files = [path for path in site.data_dir.rglob("*") if path.is_file()]
    kept = sorted(path.name for path in files if path.parent.parent.name == "blobs")
    staged = [path.name for path in (site.data_dir / "staging").iterdir()]
    shown = [f"{site.repository}/simple/", f"{site.repository}/simple/kept/", "/v1/projects"]
    shown += ["/v1/projects/my-project/locations/-/repositories"]
    return kept, staged, [(await site.get(path)).text for path in shown]


@pytest.mark.parametrize("title", CASES)
async def test_bad_input_is_told_why_and_leaves_nothing_behind(shared: Site, title: str) -> None:
    action, status, says = CASES[title]
    await shared.upload(KEPT)
    before = await everything(shared)

    response = await asyncio.wait_for(action(shared), timeout=30)

    assert (response.status_code, first_line(response)) == (status, says)
    assert await everything(shared) == before
