"""Whom an upstream's credentials are shown, and how it is reached: proxy, private authority."""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from bonded.server.core.upstreams import SecretReference, UpstreamCredentials
from support.proxy import open_proxy
from support.remotes import open_remote
from support.server import free_port
from support.site import Site, open_site
from support.upstream import Fault, Index, Response, core_metadata_of, open_index, say
from support.wheels import Distribution, make_wheel

WHEEL = make_wheel("Demo", "1.0")
LATER = make_wheel("Demo", "2.0")
SECRET = "s3cret-of-the-upstream"
CREDENTIALS = UpstreamCredentials("", SecretReference.parse("file:nexus", "my-project"))
BEARER = f"Bearer {SECRET}"


@pytest.fixture(name="site", scope="module")
async def _site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """A registry that knows a secret, and whose operator lets upstreams lead to this machine."""
    data_dir = tmp_path_factory.mktemp("site") / "data"
    async with open_site(data_dir, upstream_private_hosts="127.0.0.1") as site:
        tell(site, SECRET)
        yield site


def tell(site: Site, secret: str) -> None:
    place = site.data_dir / "secrets" / "my-project"
    place.mkdir(parents=True, exist_ok=True)
    (place / "nexus").write_text(f"{secret}\n")


@pytest.fixture(name="authority", scope="module")
def _authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(name="pem", scope="module")
def _pem(authority: trustme.CA) -> str:
    return authority.cert_pem.bytes().decode()


@pytest.fixture(name="tls", scope="module")
def _tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def sending_to(url: str) -> Fault:
    return say(Response(302, b"", {"Location": url}))


def shown(index: Index) -> set[str]:
    """Return the credentials that an index was shown."""
    return {one.headers.get("authorization", "") for one in index.asked}


@pytest.mark.parametrize(("way", "wheel"), [("redirects", WHEEL), ("links", LATER)])
async def test_credentials_are_shown_to_the_index_and_to_no_other_origin(
    site: Site, way: str, wheel: Distribution
) -> None:
    async with open_index() as index, open_index() as other:
        for one in (index, other):
            one.publish(wheel)
        root = other.url.removesuffix("simple/")
        if way == "redirects":
            metadata = f"/files/{wheel.filename}.metadata"
            index.faults["/simple/"] = sending_to(f"{other.url}demo/")
            index.faults["/files/"] = sending_to(f"{root}files/{wheel.filename}")
            index.faults[metadata] = sending_to(f"{root}{metadata[1:]}")
            own = f"{index.url.removesuffix('simple/')}files/{wheel.filename}"
            other.changes[wheel.filename] = {"url": own}
        else:
            index.changes[wheel.filename] = {"url": f"{root}files/{wheel.filename}"}
        async with open_remote(site, index.url, credentials=CREDENTIALS) as remote:
            await remote.page()
            metadata_answer = await remote.get(f"demo/{wheel.filename}.metadata")
            file = await remote.get(f"demo/{wheel.filename}")

        assert metadata_answer.content == core_metadata_of(wheel)
        assert file.content == wheel.data
        assert shown(index) == {BEARER}
        assert len(other.paths("/files/")) == 2
        assert len(other.paths("/simple/")) == (way == "redirects")
        assert shown(other) == {""}


@pytest.mark.parametrize("path", ["/simple/", "/files/"])
async def test_nothing_is_fetched_without_tls_for_an_index_with_it(
    site: Site, tls: ssl.SSLContext, pem: str, path: str
) -> None:
    async with open_index(tls=tls) as index, open_index() as other:
        index.publish(WHEEL)
        index.faults[path] = sending_to(f"{other.url}demo/")
        config = {"credentials": CREDENTIALS, "ca_certificates": pem}
        async with open_remote(site, index.url, **config) as remote:
            answer = await remote.get(f"demo/{WHEEL.filename}")

        assert answer.status_code == 502
        assert f"sends to http://127.0.0.1:{other.port}, which is not https" in answer.text
        assert shown(index) == {BEARER}
        assert other.asked == []


async def test_a_private_authority_is_trusted_where_it_is_configured_and_nowhere_else(
    site: Site, tls: ssl.SSLContext, pem: str
) -> None:
    stranger = trustme.CA().cert_pem.bytes().decode()
    garbage = "-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n"
    answers = {}
    async with open_index(tls=tls) as index:
        index.publish(WHEEL)
        for name, text in {"own": pem, "none": "", "stranger": stranger, "bad": garbage}.items():
            async with open_remote(site, index.url, ca_certificates=text) as remote:
                answers[name] = await remote.get(f"demo/{WHEEL.filename}")

    assert answers.pop("own").content == WHEEL.data
    assert {one.status_code for one in answers.values()} == {502}
    assert "no certificates that can be read" in answers.pop("bad").text
    for answer in answers.values():
        assert "certificate verify failed" in answer.text
        assert f"https://127.0.0.1:{index.port}" in answer.text


async def test_an_upstream_is_reached_through_its_proxy_alone(
    site: Site, tls: ssl.SSLContext, pem: str
) -> None:
    asked = []
    for context in (None, tls):
        async with open_index(tls=context) as index, open_proxy() as proxy:
            index.publish(WHEEL)
            config = {"proxy": proxy.url, "ca_certificates": pem, "credentials": CREDENTIALS}
            async with open_remote(site, index.url, **config) as remote:
                assert (await remote.get(f"demo/{WHEEL.filename}")).content == WHEEL.data
        assert shown(index) == {BEARER}
        asked.append({line.replace(str(index.port), "PORT") for line in proxy.asked})
        # With TLS a proxy sees where to, and no more.
        assert (SECRET.encode() in proxy.seen) == (context is None)

    assert "GET http://127.0.0.1:PORT/simple/demo/ HTTP/1.1" in asked[0]
    assert asked[1] == {"CONNECT 127.0.0.1:PORT HTTP/1.1"}


async def test_a_proxy_that_fails_is_called_by_its_name(
    site: Site, tls: ssl.SSLContext, pem: str
) -> None:
    gone = f"http://127.0.0.1:{free_port()}"
    async with open_index(tls=tls) as index, open_proxy(status=407) as proxy:
        config = {"ca_certificates": pem}
        async with open_remote(site, index.url, proxy=gone, **config) as remote:
            unreachable = await remote.get("simple/demo/")
        async with open_remote(site, index.url, proxy=proxy.url, **config) as remote:
            refusing = await remote.get("simple/demo/")

    assert (unreachable.status_code, refusing.status_code) == (502, 502)
    assert f"The proxy {gone} of the upstream {index.url} cannot be reached" in unreachable.text
    assert f"The proxy {proxy.url} of the upstream {index.url} answers with 407" in refusing.text
    assert index.asked == []


async def test_a_secret_is_neither_logged_nor_told_and_read_again_once_refused(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with open_index() as index:
        index.publish(WHEEL)
        index.faults["/"] = say(Response(401))
        credentials = UpstreamCredentials("ada", CREDENTIALS.secret)
        async with open_remote(site, index.url, credentials=credentials) as remote:
            refused = await remote.get("simple/demo/")
            tell(site, "a-later-one")
            del index.faults["/"]
            assert (await remote.get("simple/demo/")).status_code == 200
            shown_by_rest = await site.call("GET", f"/v1/{remote.name}")
            tell(site, SECRET)

    assert refused.status_code == 502
    assert "Check the repository's upstream credentials: " in refused.text
    first, second = (one.headers["authorization"] for one in index.asked)
    assert first != second
    for secret in (SECRET, "a-later-one", first, second, first.split()[1], second.split()[1]):
        assert secret not in caplog.text + refused.text + shown_by_rest.text


async def test_a_secret_that_is_missing_fails_with_a_sentence(site: Site) -> None:
    credentials = UpstreamCredentials("", SecretReference.parse("file:other", "my-project"))
    async with (
        open_index() as index,
        open_remote(site, index.url, credentials=credentials) as remote,
    ):
        answer = await remote.get("simple/demo/")

    assert answer.status_code == 502
    assert "is not to be had: its file cannot be read: No such file or directory" in answer.text
    assert str(site.data_dir) not in answer.text
    assert index.asked == []


async def test_who_makes_a_repository_allows_nothing_that_the_operator_has_not_listed(
    tmp_path: Path,
) -> None:
    async with (
        open_index() as index,
        open_proxy() as proxy,
        open_site(tmp_path / "data", upstream_private_hosts="10.0.0.0/8,localhost") as site,
    ):
        index.publish(WHEEL)
        answers = []
        for config in ({}, {"proxy": proxy.url}):
            async with open_remote(site, index.url, **config) as remote:
                answers.append((await remote.get("simple/demo/")).text)
        named = index.url.replace("127.0.0.1", "localhost")
        async with open_remote(site, named) as remote:
            allowed = await remote.get("simple/demo/")

    assert f"leads to http://127.0.0.1:{index.port}, which is not contacted" in answers[0]
    assert (
        "The repository allows private addresses; what is missing is the operator's" in answers[0]
    )
    assert "operator adds 127.0.0.1 or its network to the setting" in answers[0]
    assert "--remote-allow-private-addresses" not in answers[0]
    assert f"leads to http://127.0.0.1:{index.port}, which is not contacted" in answers[1]
    assert proxy.asked == []
    assert allowed.status_code == 200
    assert {one.path for one in index.asked} == {"/simple/demo/"}


async def test_a_proxy_that_the_operator_has_not_listed_is_not_contacted(tmp_path: Path) -> None:
    async with (
        open_proxy() as proxy,
        open_site(tmp_path / "data", upstream_private_hosts="") as site,
        open_remote(site, "http://1.1.1.1/simple/", proxy=proxy.url) as remote,
    ):
        answer = await remote.get("simple/demo/")

    assert answer.status_code == 502
    assert f"The proxy {proxy.url} of the upstream" in answer.text
    assert "is not contacted: 127.0.0.1 is not a public address (loopback)" in answer.text
    assert proxy.asked == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433"])
async def test_a_proxy_is_not_asked_for_what_an_upstream_finds_in_its_network(
    tmp_path: Path, host: str
) -> None:
    async with (
        open_index() as index,
        open_index() as inner,
        open_proxy() as proxy,
        # The index and the proxy are here; where else a page leads is another matter.
        open_site(tmp_path / "data", upstream_private_hosts="127.0.0.0/8") as site,
        open_remote(site, index.url, proxy=proxy.url) as remote,
    ):
        index.publish(WHEEL)
        index.changes[WHEEL.filename] = {"url": f"http://{host}:{inner.port}/admin"}
        answer = await remote.get(f"demo/{WHEEL.filename}")

    assert answer.status_code == 502
    assert "which is not contacted" in answer.text
    assert inner.asked == []
