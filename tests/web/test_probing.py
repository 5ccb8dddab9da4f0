"""What a remote repository's upstream must be, found out when it is created."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from support.site import Site, open_site
from support.upstream import HTML, Index, Response, open_index, reset, say
from support.wheels import make_wheel

PARENT = "/v1/projects/my-project/locations/local/repositories"
WELCOME = (
    b"<html><body>Welcome! Have a look at <a href='/simple/'>the packages</a> or "
    b"<a href='/simple/'>simple</a>.</body></html>"
)


@pytest.fixture(name="site", scope="module")
async def _site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with open_site(tmp_path_factory.mktemp("site") / "data") as site:
        yield site


@pytest.fixture(name="index")
async def _index() -> AsyncIterator[Index]:
    async with open_index() as index:
        index.publish(make_wheel("demo", "1.0"))
        yield index


async def refusal(site: Site, url: str, *, is_private_allowed: bool = True) -> str:
    """Create a remote repository; return why that is refused, or nothing."""
    body = {
        "format": "PYTHON",
        "mode": "REMOTE_REPOSITORY",
        "remoteRepositoryConfig": {
            "commonRepository": {"uri": url},
            "bonded": {"allowPrivateAddresses": is_private_allowed},
        },
    }
    answer = await site.call("POST", f"{PARENT}?repositoryId=far", body)
    if answer.status_code == 200:
        await site.call("DELETE", f"{PARENT}/far")
        return ""
    assert answer.status_code == 502
    message: str = answer.json()["error"]["message"]
    return message


@pytest.mark.parametrize("form", ["application/vnd.pypi.simple.v1+json", HTML])
@pytest.mark.parametrize("end", ["/simple/", "/simple"])
async def test_an_index_is_taken(site: Site, index: Index, form: str, end: str) -> None:
    index.form = form

    assert await refusal(site, index.url.removesuffix("/simple/") + end) == ""


async def test_an_empty_index_is_taken(site: Site) -> None:
    async with open_index(form=HTML) as index:
        assert await refusal(site, index.url) == ""


async def test_an_index_of_another_name_is_taken(site: Site, index: Index) -> None:
    links = b"<html><body><a href='/whl/torch/'>torch</a> <a href='tv/'>TV</a></body></html>"
    index.faults["/whl/"] = say(Response(200, links, {"Content-Type": "text/html"}))

    assert await refusal(site, index.url.replace("simple", "whl")) == ""


ROOTS = {
    "nothing": Response(404),
    "a welcome page": Response(200, WELCOME, {"Content-Type": "text/html"}),
    "another kind": Response(200, b"{}", {"Content-Type": "application/json"}),
}


@pytest.mark.parametrize("root", ROOTS.values(), ids=ROOTS.keys())
@pytest.mark.parametrize("form", ["application/vnd.pypi.simple.v1+json", HTML])
async def test_for_an_address_above_an_index_the_right_one_is_named(
    site: Site, index: Index, root: Response, form: str
) -> None:
    index.form = form
    index.faults["/"] = say(root)
    index.faults["/simple/"] = say(index.listing())
    root_url = index.url.removesuffix("simple/")

    assert await refusal(site, root_url) == (
        f"{root_url} is not the address of an index, but {index.url} is. "
        f"Give {index.url} as the upstream."
    )


PAGES = {
    "nothing": Response(404),
    "a form": Response(200, b"<html><form>Sign in</form></html>", {"Content-Type": "text/html"}),
    "files": Response(
        200, b"<a href='demo-1.0.tar.gz'>demo-1.0.tar.gz</a>", {"Content-Type": "text/html"}
    ),
}


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES.keys())
async def test_what_is_no_index_is_refused(site: Site, index: Index, page: Response) -> None:
    index.faults["/"] = say(page)

    assert "/other/ has no list of packages. Check" in await refusal(
        site, index.url.replace("simple", "other")
    )


async def test_the_page_of_one_package_is_no_index(site: Site, index: Index) -> None:
    assert "/simple/demo/ has no list of packages. Check" in await refusal(site, f"{index.url}demo")


async def test_an_index_that_does_not_answer_is_refused_as_such(site: Site, index: Index) -> None:
    index.faults["/"] = reset

    assert "broke off" in await refusal(site, index.url)


async def test_an_index_at_a_private_address_is_refused_with_the_way_to_allow_it(
    site: Site, index: Index
) -> None:
    said = await refusal(site, index.url, is_private_allowed=False)

    assert said == (
        f"The upstream {index.url} leads to http://127.0.0.1:{index.port}, which is not contacted: "
        "127.0.0.1 is not a public address (loopback). If that is where it is meant to be, the "
        "server's operator names the host or its network in the setting upstream_private_hosts "
        "(BONDED_UPSTREAM_PRIVATE_HOSTS). Then allow it: `bonded artifacts repositories create` "
        "and `update` have the flag --remote-allow-private-addresses (in REST, "
        "remoteRepositoryConfig.bonded.allowPrivateAddresses)."
    )
    assert index.asked == []


async def test_in_an_outage_how_long_is_changed_and_how_it_is_asked_is_not(
    site: Site, index: Index
) -> None:
    usual: dict[str, object] = {"allowPrivateAddresses": True}
    config: dict[str, object] = {"commonRepository": {"uri": index.url}, "bonded": usual}
    body = {"format": "PYTHON", "mode": "REMOTE_REPOSITORY", "remoteRepositoryConfig": config}
    assert (await site.call("POST", f"{PARENT}?repositoryId=ill", body)).status_code == 200
    index.faults["/"] = say(Response(500))

    async def change(**own: object) -> int:
        changed = config | {"bonded": usual | own}
        path = f"{PARENT}/ill?updateMask=remoteRepositoryConfig.bonded"
        return (await site.call("PATCH", path, {"remoteRepositoryConfig": changed})).status_code

    assert await change(staleLimit="86400s", pageFreshness="5s", cacheSizeLimitBytes="9") == 200
    assert await change(proxy="http://127.0.0.1:9") == 502
    await site.call("DELETE", f"{PARENT}/ill")
