"""The simple API as installers meet it: pages, addresses, order of answers."""

from __future__ import annotations

import json
import re
from hashlib import sha256

import pytest
from inline_snapshot import snapshot
from pypi_simple import IndexPage, ProjectPage

from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.pages.negotiation import Coding, Media
from bonded.server.pages.store import Page, Pages
from support.site import HTML, JSON, URL, Site
from support.wheels import Distribution, make_sdist, make_wheel


def published() -> tuple[Distribution, ...]:
    """Two versions of one package, as wheels and sdist."""
    return (
        make_wheel("Demo.App", "1.0", requires_python=">=3.9,<4"),
        make_wheel("Demo.App", "1.0+local.1"),
        make_sdist("Demo.App", "1.1"),
    )


async def publish_demo(site: Site) -> None:
    """Publish them, a minute apart."""
    for distribution in published():
        await site.upload(distribution)
        site.clock.forward(minutes=1)


def redacted(text: str) -> str:
    """Return a page with every digest by the file it belongs to, and without sizes."""
    for letter, distribution in zip("ABC", published(), strict=True):
        text = text.replace(distribution.sha256, f"FILE-{letter}")
        text = text.replace(sha256(distribution.core_metadata).hexdigest(), f"METADATA-{letter}")
    return re.sub(r'"size":\d+', '"size":0', text)


async def test_a_package_s_page_in_json(site: Site) -> None:
    await publish_demo(site)

    response = await site.get(f"{site.repository}/simple/demo-app/", accept=JSON)

    assert json.loads(redacted(response.text)) == snapshot(
        {
            "meta": {"api-version": "1.4"},
            "name": "demo-app",
            "project-status": {"status": "active"},
            "versions": ["1.0", "1.0+local.1", "1.1"],
            "files": [
                {
                    "filename": "demo_app-1.0-py3-none-any.whl",
                    "url": "../../demo-app/demo_app-1.0-py3-none-any.whl",
                    "hashes": {"sha256": "FILE-A"},
                    "size": 0,
                    "upload-time": "2026-11-22T12:00:00.000000Z",
                    "yanked": False,
                    "requires-python": ">=3.9,<4",
                    "core-metadata": {"sha256": "METADATA-A"},
                },
                {
                    "filename": "demo_app-1.0+local.1-py3-none-any.whl",
                    "url": "../../demo-app/demo_app-1.0%2Blocal.1-py3-none-any.whl",
                    "hashes": {"sha256": "FILE-B"},
                    "size": 0,
                    "upload-time": "2026-11-22T12:01:00.000000Z",
                    "yanked": False,
                    "core-metadata": {"sha256": "METADATA-B"},
                },
                {
                    "filename": "demo_app-1.1.tar.gz",
                    "url": "../../demo-app/demo_app-1.1.tar.gz",
                    "hashes": {"sha256": "FILE-C"},
                    "size": 0,
                    "upload-time": "2026-11-22T12:02:00.000000Z",
                    "yanked": False,
                },
            ],
        }
    )


async def test_a_package_s_page_in_html(site: Site) -> None:
    await publish_demo(site)

    response = await site.get(f"{site.repository}/simple/demo-app/", accept=HTML)

    assert redacted(response.text) == snapshot("""\
<!DOCTYPE html>
<html>
  <head>
    <meta name="pypi:repository-version" content="1.4">
    <title>Links for Demo.App</title>
  </head>
  <body>
<h1>Links for Demo.App</h1>
<a href="../../demo-app/demo_app-1.0-py3-none-any.whl#sha256=FILE-A" data-requires-python="&gt;=3.9,&lt;4" data-core-metadata="sha256=METADATA-A" data-dist-info-metadata="sha256=METADATA-A">demo_app-1.0-py3-none-any.whl</a><br>
<a href="../../demo-app/demo_app-1.0%2Blocal.1-py3-none-any.whl#sha256=FILE-B" data-core-metadata="sha256=METADATA-B" data-dist-info-metadata="sha256=METADATA-B">demo_app-1.0+local.1-py3-none-any.whl</a><br>
<a href="../../demo-app/demo_app-1.1.tar.gz#sha256=FILE-C">demo_app-1.1.tar.gz</a><br>
  </body>
</html>
""")  # noqa: E501


async def test_the_list_of_packages_in_json_and_html(site: Site) -> None:
    await site.upload(make_wheel("Zope.Interface"))
    await site.upload(make_wheel("alpha"))

    as_json = await site.get(f"{site.repository}/simple/", accept=JSON)
    as_html = await site.get(f"{site.repository}/simple/", accept=HTML)

    assert as_json.json() == snapshot(
        {
            "meta": {"api-version": "1.4"},
            "projects": [{"name": "alpha"}, {"name": "zope-interface"}],
        }
    )
    assert as_html.text == snapshot("""\
<!DOCTYPE html>
<html>
  <head>
    <meta name="pypi:repository-version" content="1.4">
    <title>Simple index</title>
  </head>
  <body>
<h1>Simple index</h1>
<a href="alpha/">alpha</a><br>
<a href="zope-interface/">Zope.Interface</a><br>
  </body>
</html>
""")


async def test_html_and_json_say_the_same(site: Site) -> None:
    await publish_demo(site)
    url = f"{site.repository}/simple/demo-app/"

    as_json = await site.get(url, accept=JSON)
    as_html = await site.get(url, accept=HTML)
    from_json = ProjectPage.from_json_data(as_json.json(), base_url=f"{URL}{url}")
    from_html = ProjectPage.from_html("demo-app", as_html.text, base_url=f"{URL}{url}")

    assert from_json.project == from_html.project == "demo-app"
    assert from_json.repository_version == from_html.repository_version == "1.4"
    assert len(from_json.packages) == 3
    for one, other in zip(from_json.packages, from_html.packages, strict=True):
        for field in (
            *("filename", "url", "project", "version", "package_type", "digests"),
            *("requires_python", "is_yanked", "yanked_reason", "metadata_digests"),
        ):
            assert getattr(one, field) == getattr(other, field), field
        assert bool(one.has_metadata) == bool(other.has_metadata)


async def test_the_list_says_the_same_in_html_and_json(site: Site) -> None:
    await site.upload(make_wheel("Zope.Interface"))
    await site.upload(make_wheel("alpha"))

    as_json = await site.get(f"{site.repository}/simple/", accept=JSON)
    as_html = await site.get(f"{site.repository}/simple/", accept=HTML)
    names = [name.lower().replace(".", "-") for name in IndexPage.from_html(as_html.text).projects]

    assert IndexPage.from_json_data(as_json.json()).projects == names == ["alpha", "zope-interface"]


async def test_every_listed_url_downloads_what_its_hash_promises(site: Site) -> None:
    await publish_demo(site)
    page = f"{URL}{site.repository}/simple/demo-app/"

    listed = ProjectPage.from_json_data(await site.page("demo-app"), base_url=page).packages

    for file, distribution in zip(listed, published(), strict=True):
        assert (await site.get(file.url)).content == distribution.data
        # pip writes the plus of a local version as %2B whatever the page says, and others do not.
        assert (await site.get(file.url.replace("%2B", "+"))).content == distribution.data
        if file.metadata_digests:
            metadata = await site.get(f"{file.url}.metadata")
            assert metadata.content == distribution.core_metadata


async def test_file_urls_carry_no_credential_and_no_expiry(site: Site) -> None:
    await publish_demo(site)

    first = await site.page("demo-app")
    site.clock.forward(days=400)
    site.admin = await site.sign_in(site.admin_key)
    later = await site.page("demo-app")

    assert [file["url"] for file in first["files"]] == [file["url"] for file in later["files"]]
    assert all("?" not in file["url"] and "@" not in file["url"] for file in first["files"])


@pytest.mark.parametrize(
    ("asked", "location"),
    [
        ("/simple", "simple/"),
        ("/simple/demo-app", "demo-app/"),
        ("/simple/Demo.App", "demo-app/"),
        ("/simple/Demo.App/", "../demo-app/"),
        ("/simple/demo_app/", "../demo-app/"),
        ("/simple/DEMO--APP/?format=x", "../demo-app/?format=x"),
        ("/simple/demo%2Dapp", "demo-app/"),
        ("/simple?a=b", "simple/?a=b"),
    ],
)
async def test_other_spellings_of_an_address_lead_to_the_one_page(
    shared: Site, asked: str, location: str
) -> None:
    response = await shared.get(f"{shared.repository}{asked}")

    assert (response.status_code, response.headers["location"]) == (301, location)
    assert response.content == b""


async def test_no_redirect_leads_to_another_host(shared: Site) -> None:
    for path in ("/simple/https:evil.example", "/simple//evil.example", "/simple/%2Fevil.example"):
        response = await shared.get(f"{shared.repository}{path}")

        assert response.status_code == 404


async def test_following_redirects_arrives(site: Site) -> None:
    await publish_demo(site)

    response = await site.http.get(
        f"{site.repository}/simple/Demo_App",
        headers={"authorization": f"Bearer {site.admin}", "accept": JSON},
        follow_redirects=True,
    )

    assert response.json()["name"] == "demo-app"
    assert str(response.url) == f"{URL}{site.repository}/simple/demo-app/"


async def test_a_name_may_be_percent_encoded(site: Site) -> None:
    await publish_demo(site)

    response = await site.get(f"{site.repository}/simple/demo%2Dapp/", accept=JSON)

    assert response.json()["name"] == "demo-app"


async def test_an_unlisted_package_is_404_in_a_sentence(shared: Site) -> None:
    response = await shared.get(f"{shared.repository}/simple/absent/")

    assert (response.status_code, response.text) == (
        404,
        "No package absent in projects/my-project/locations/local/repositories/python.\n",
    )
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("name", ["-bad-", "a%20b", "%C3%A9", "..", "a%2Fb", "a%00b", "a" * 300])
async def test_an_impossible_name_is_404_too_so_that_installers_go_on(
    shared: Site, name: str
) -> None:
    response = await shared.get(f"{shared.repository}/simple/{name}/".replace("..", "%2e%2e"))

    assert response.status_code == 404


@pytest.mark.parametrize(
    ("token", "path", "status"),
    [
        ("", "/my-project/python/simple/absent/", 401),
        ("garbage", "/my-project/python/simple/absent/", 401),
        ("stranger", "/my-project/python/simple/absent/", 403),
        ("stranger", "/my-project/absent/simple/demo/", 403),
        ("reader", "/my-project/python/simple/absent/", 404),
        ("reader", "/my-project/absent/simple/demo/", 403),
        ("admin", "/my-project/absent/simple/demo/", 404),
        ("reader", "/my-project/python/simple/demo/", 200),
    ],
)
async def test_first_who_then_whether_then_what(
    site: Site, token: str, path: str, status: int
) -> None:
    await site.upload(make_wheel())
    tokens = {"": "", "garbage": "garbage", "admin": site.admin}
    for who in ("stranger", "reader"):
        key = await site.make_account(f"{who}-1")
        tokens[who] = await site.sign_in(key)
        if who == "reader":
            member = f"serviceAccount:{key['client_email']}"
            await site.grant("roles/artifactregistry.reader", member)

    response = await site.get(path, token=tokens[token])

    assert response.status_code == status
    assert ("www-authenticate" in response.headers) == (status == 401)


async def test_a_package_may_be_called_simple(site: Site) -> None:
    wheel, sdist = make_wheel("simple"), make_sdist("simple")
    await site.upload(wheel)
    await site.upload(sdist)
    page = f"{site.repository}/simple/simple/"

    listed = ProjectPage.from_json_data(await site.page("simple"), base_url=URL + page).packages
    contents = [(await site.get(file.url)).content for file in listed]
    metadata = await site.get(f"{listed[0].url}.metadata")
    slash = await site.get(f"{site.repository}/simple/simple")

    assert contents == [wheel.data, sdist.data]
    assert metadata.content == wheel.core_metadata
    assert (slash.status_code, slash.headers["location"]) == (301, "simple/")


async def test_a_package_may_be_called_legacy(site: Site) -> None:
    wheel = make_wheel("legacy")
    await site.upload(wheel)

    response = await site.get(f"{site.repository}/legacy/{wheel.filename}")

    assert response.content == wheel.data


async def test_a_new_upload_shows_at_once(site: Site) -> None:
    for number in range(3):
        await site.upload(make_wheel("demo", f"{number}.0"))

        assert len((await site.page("demo"))["files"]) == number + 1


async def test_a_deleted_repository_is_gone_from_every_page(site: Site) -> None:
    wheel = make_wheel()
    await site.upload(wheel)
    paths = ("/simple/", "/simple/demo/", f"/demo/{wheel.filename}")
    before = [(await site.get(f"{site.repository}{path}")).status_code for path in paths]

    await site.delete_repository()
    after = [(await site.get(f"{site.repository}{path}")).status_code for path in paths]
    upload = await site.upload(wheel)

    assert (before, after, upload.status_code) == ([200] * 3, [404] * 3, 404)


async def test_a_host_may_name_the_location(site: Site) -> None:
    await site.call(
        "POST",
        "/v1/projects/my-project/locations/us-west1/repositories?repositoryId=python",
        {"format": "PYTHON"},
    )
    await site.upload(make_wheel())

    there = await site.get(f"{site.repository}/simple/", accept=JSON, host="us-west1-python.x.test")
    here = await site.get(f"{site.repository}/simple/", accept=JSON, host="python.x.test")

    assert there.json()["projects"] == []
    assert here.json()["projects"] == [{"name": "demo"}]


async def test_a_page_larger_than_all_the_room_pushes_no_other_out(site: Site) -> None:
    for version in ("1.0", "2.0", "3.0", "4.0"):
        await site.upload(make_wheel("large", version))
    await site.upload(make_wheel("small"))
    name = RepositoryName("my-project", "local", "python")
    repository = await site.registry.catalog.open(name)
    pages = Pages(limit_bytes=1000)

    async def get(package: str) -> Page:
        package_name = PackageName.parse(package)
        return await pages.get(repository, name, package_name, Media.JSON, Coding.IDENTITY)

    small, large = await get("small"), await get("large")

    assert len(small.body) < 1000 < len(large.body)
    assert await get("small") is small
    assert (await get("large")).body == large.body


@pytest.mark.parametrize(
    ("repository", "status", "says"),
    [
        ("python", 200, "upload to this address as it is."),
        ("all", 200, "it is a virtual repository, which takes no uploads."),
        ("pypi", 200, "it is a remote repository, which takes no uploads."),
        (
            "missing",
            404,
            "Repository projects/my-project/locations/local/repositories/missing does",
        ),
    ],
)
async def test_a_repositorys_root_says_what_to_do_there(
    site: Site, repository: str, status: int, says: str
) -> None:
    response = await site.get(f"/my-project/{repository}/")

    assert response.status_code == status
    assert says in response.text
