"""What people do to files after they were published: over REST, and as installers see it."""

from __future__ import annotations

import json
from html import escape
from typing import Any

import pytest

from bonded.server.core.files import YANK_REASON_LENGTH_MAX
from bonded.server.metadata.store import Search
from support.site import HTML, Site
from support.wheels import make_sdist, make_wheel

PARENT = "/v1/projects/my-project/locations/local/repositories"
WHEEL = make_wheel("Demo", "1.0")
SDIST = make_sdist("Demo", "1.0")
NEXT = make_wheel("Demo", "2.0")
ALL = {one.filename for one in (WHEEL, SDIST, NEXT)}
VERSION = "packages/demo/versions/1.0"
FILE = f"files/demo%2F{WHEEL.filename}"


@pytest.fixture(name="site")
async def _site(site: Site) -> Site:
    for one in (WHEEL, SDIST, NEXT):
        assert (await site.upload(one)).status_code == 200
    return site


async def act(
    site: Site, method: str, what: str, body: object = None, *, status: int = 200, **more: str
) -> Any:
    """Call what is below the repository, or below `at`."""
    answer = await site.call(method, f"{more.get('at', site.rest)}/{what}", body, more.get("token"))
    assert answer.status_code == status, answer.text
    return answer.json()


async def marks(site: Site) -> dict[str, object]:
    """Return what the page says of each file: False, True or why it is yanked."""
    return {file["filename"]: file["yanked"] for file in (await site.page("demo"))["files"]}


async def logged(site: Site, method: str) -> list[dict[str, Any]]:
    """Return what the audit log says of each time that somebody did this."""
    await site.registry.trail.flush()
    async with site.registry.metadata.read() as tx:
        found = await tx.audit.list(Search(equal={"method": method.lower()}), 10)
    return [json.loads(one.text)["protoPayload"]["metadata"] for one in found]


@pytest.mark.parametrize(
    ("what", "chosen"),
    [(VERSION, {WHEEL.filename, SDIST.filename}), (FILE, {WHEEL.filename})],
    ids=["a version", "a file"],
)
async def test_what_is_yanked_shows_at_once_and_so_does_what_is_no_longer(
    site: Site, what: str, chosen: set[str]
) -> None:
    before = await marks(site)
    said = await act(site, "POST", f"{what}:yank", {"reason": "loses data"})
    yanked = await marks(site)
    await act(site, "POST", f"{what}:unyank", {})

    assert before == dict.fromkeys(ALL, False)
    assert yanked == before | dict.fromkeys(chosen, "loses data")
    assert {one["name"].partition("%2F")[2] for one in said["files"]} == chosen
    assert await marks(site) == before


async def test_a_yank_without_a_reason_is_one_all_the_same(site: Site) -> None:
    await act(site, "POST", f"{FILE}:yank")

    page = await site.get(f"{site.repository}/simple/demo/", accept=HTML)
    assert (await marks(site))[WHEEL.filename] is True
    assert page.text.count('data-yanked=""') == 1


async def test_the_control_plane_says_what_is_yanked_where_gcloud_shows_it(site: Site) -> None:
    await act(site, "POST", f"{FILE}:yank", {"reason": "this file"})
    half = await act(site, "GET", VERSION)
    await act(site, "POST", f"{VERSION}:yank", {"reason": "all of it"})
    whole = await act(site, "GET", VERSION)
    file = await act(site, "GET", FILE)

    assert "annotations" not in half
    assert whole["annotations"] == file["annotations"] == {"yanked": "all of it"}


async def test_a_yanked_file_is_still_downloaded_by_its_exact_name(site: Site) -> None:
    await act(site, "POST", f"{VERSION}:yank", {})

    answer = await site.get(f"{site.repository}/demo/{WHEEL.filename}")

    assert (answer.status_code, answer.content) == (200, WHEEL.data)


async def test_a_reason_cannot_break_out_of_the_page(site: Site) -> None:
    reason = '"><script>alert("1")</script>&amp;'

    await act(site, "POST", f"{FILE}:yank", {"reason": reason})

    page = await site.get(f"{site.repository}/simple/demo/", accept=HTML)
    assert "<script>" not in page.text
    assert f'data-yanked="{escape(reason)}"' in page.text


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        ("x" * (YANK_REASON_LENGTH_MAX + 1), f"at most {YANK_REASON_LENGTH_MAX} characters"),
        ("see\nbelow", "one line of text"),
        ("\x1b[2J", "one line of text"),
        (7, "must be a string"),
    ],
)
async def test_a_reason_that_would_spoil_a_terminal_is_refused(
    site: Site, reason: object, why: str
) -> None:
    said = await act(site, "POST", f"{FILE}:yank", {"reason": reason}, status=400)

    assert why in said["error"]["message"]
    assert not any((await marks(site)).values())


@pytest.mark.parametrize(
    "what",
    [
        "packages/absent/versions/1.0",
        "packages/demo/versions/9.9",
        "files/demo%2Fdemo-9.9.tar.gz",
        "files/demo",
        "files/%2Fdemo",
    ],
)
async def test_what_is_not_there_cannot_be_yanked(site: Site, what: str) -> None:
    said = await act(site, "POST", f"{what}:yank", {}, status=404)

    assert said["error"]["status"] == "NOT_FOUND"


async def test_a_yank_leaves_its_reason_and_its_files_in_the_audit_log(site: Site) -> None:
    await act(site, "POST", f"{VERSION}:yank", {"reason": "loses data"})

    assert await logged(site, "Bonded.YankVersion") == [
        {
            "package": "demo",
            "version": "1.0",
            "reason": "loses data",
            "files": [WHEEL.filename, SDIST.filename],
        }
    ]


async def test_a_view_of_other_repositories_says_where_to_yank_instead(site: Site) -> None:
    said = await act(site, "POST", f"{VERSION}:yank", {}, status=400, at=f"{PARENT}/all")
    absent = "packages/absent/versions/1.0:yank"
    missing = await act(site, "POST", absent, {}, status=404, at=f"{PARENT}/all")

    assert (
        "demo comes from projects/my-project/locations/local/repositories/python"
        in (said["error"]["message"])
    )
    assert "No version 1.0 of absent" in missing["error"]["message"]


async def test_what_a_remote_repository_caches_is_not_its_own_to_yank(site: Site) -> None:
    index = {"customRepository": {"uri": "https://index.test/simple/"}}
    source = {"disableUpstreamValidation": True, "pythonRepository": index}
    body = {"format": 8, "mode": 3, "remoteRepositoryConfig": source}
    made = await site.call("POST", f"{PARENT}?repositoryId=cache", body)
    assert made.status_code == 200, made.text

    said = await act(site, "POST", f"{VERSION}:yank", {}, status=400, at=f"{PARENT}/cache")

    assert "its upstream says" in said["error"]["message"]


async def test_a_curator_yanks_on_a_condition_about_the_package_of_a_file_too(site: Site) -> None:
    key = await site.make_account("curator")
    limited = {
        "title": "only others",
        "expression": "resource.package != 'demo'",
    }
    member = f"serviceAccount:{key['client_email']}"
    await site.grant("roles/bonded.curator", member, condition=limited)
    token = await site.sign_in(key)
    other = make_wheel("other")
    await site.upload(other)

    await act(site, "POST", f"{FILE}:yank", {}, status=403, token=token)
    await act(site, "POST", f"{VERSION}:yank", {}, status=403, token=token)
    await act(site, "POST", f"files/other%2F{other.filename}:yank", {}, token=token)

    assert not any((await marks(site)).values())
