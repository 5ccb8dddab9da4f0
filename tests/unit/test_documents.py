"""What may be fetched from issuers that anybody with a pool may name (SSRF)."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bonded.server.core.errors import Unavailable
from bonded.server.identity.documents import Documents
from bonded.server.upstream.addresses import AddressInfo, any_socket, public_socket
from support.clock import SetClock
from support.issuer import running_issuer
from support.tls_front import tls_front

CONFIGURATION = "/.well-known/openid-configuration"


@pytest.fixture(name="guarded")
async def _guarded() -> AsyncIterator[Documents]:
    documents = Documents(guard=public_socket)
    yield documents
    await documents.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://issuer.example/x", "must be asked over https, not at http://issuer.example/x"),
        ("ftp://issuer.example/x", "must be asked over https"),
        ("https://127.0.0.1/x", "127.0.0.1 is not a public address (loopback)"),
        ("https://localhost/x", "is not a public address (loopback)"),
        ("https://[::1]/x", "::1 is not a public address (loopback)"),
        ("https://[::ffff:127.0.0.1]/x", "is not a public address (loopback)"),
        ("https://169.254.169.254/x", "169.254.169.254 is not a public address (link-local)"),
        ("https://10.0.0.1/x", "10.0.0.1 is not a public address (private"),
        ("https://2130706433/x", "is not a canonical IPv4 address"),
    ],
)
async def test_nothing_is_asked_in_the_clear_or_at_a_private_address(
    guarded: Documents, url: str, says: str
) -> None:
    with pytest.raises(Unavailable) as caught:
        await guarded.get(url)

    assert says in str(caught.value)


async def test_the_address_that_was_looked_at_is_the_one_that_is_asked_for_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = []

    def allow(info: AddressInfo) -> socket.socket:
        looked_at.append(info[4][0])
        return any_socket(info)

    listener = socket.create_server(("127.0.0.1", 0))
    with (
        listener,
        running_issuer(SetClock()) as issuer,
        tls_front(listener, int(issuer.url.rpartition(":")[2]), ["localhost"], tmp_path) as front,
    ):
        monkeypatch.setenv("SSL_CERT_FILE", str(front.certificates))
        documents = Documents(guard=allow)
        port = listener.getsockname()[1]

        found = await documents.get(f"https://localhost:{port}{CONFIGURATION}")
        await documents.close()

    # The certificate is for the name, and so were handshake and request.
    assert found["issuer"] == issuer.url
    assert front.names == {"localhost"}
    assert f"host: localhost:{port}" in b"".join(front.requests).decode().lower()
    assert "127.0.0.1" in looked_at


async def test_the_certificate_of_one_name_does_not_vouch_for_another_at_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two names of one address; whoever answers there has a certificate for the second alone.
    listener = socket.create_server(("127.0.0.1", 0))
    with (
        listener,
        running_issuer(SetClock()) as issuer,
        tls_front(listener, int(issuer.url.rpartition(":")[2]), ["localhost"], tmp_path) as front,
    ):
        monkeypatch.setenv("SSL_CERT_FILE", str(front.certificates))
        documents = Documents(guard=any_socket)
        port = listener.getsockname()[1]
        urls = [f"https://{host}:{port}{CONFIGURATION}" for host in ("127.0.0.1", "localhost")]

        with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
            await documents.get(urls[0])
        for _ in range(2):
            assert (await documents.get(urls[1]))["issuer"] == issuer.url
            with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
                await documents.get(urls[0])
        await documents.close()
