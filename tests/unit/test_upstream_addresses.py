"""Which addresses an upstream may send the server to."""

from __future__ import annotations

import socket

import pytest

from bonded.server.upstream.addresses import (
    EVERYWHERE,
    NOWHERE,
    AddressRefused,
    PrivateHosts,
    look_behind_proxy,
    refusal,
)

PUBLIC = ["1.1.1.1", "151.101.0.223", "2606:4700::1111", "2a04:4e42::223", "::ffff:1.1.1.1"]
SPECIAL = [
    *("0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.31.0.1"),
    *("192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.51.100.1"),
    *("203.0.113.1", "224.0.0.1", "255.255.255.255", "168.63.129.16"),
    *("::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:0:10.0.0.1", "64:ff9b::a00:1"),
    *("64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:a00:1::", "3fff::1", "5f00::1"),
    *("fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1"),
]


@pytest.mark.parametrize("address", PUBLIC)
def test_the_public_internet_is_at_these_addresses(address: str) -> None:
    assert refusal(address) == ""


@pytest.mark.parametrize("address", SPECIAL)
def test_the_public_internet_is_not_at_these_addresses(address: str) -> None:
    assert refusal(address).startswith(f"{address} is not a public address (")


def test_what_the_operator_lists_may_be_asked_and_nothing_beside_it() -> None:
    listed = PrivateHosts.parse("index.corp.test, 10.8.0.0/16,fd00::/8 127.0.0.1")

    allowed = [("index.corp.test", "192.168.0.1"), ("x", "10.8.255.1"), ("x", "fd00::1")]
    allowed += [("127.0.0.1", "127.0.0.1"), ("x", "::ffff:10.8.0.1"), ("x", "1.1.1.1")]
    assert [listed.refusal(*one) for one in allowed] == [""] * len(allowed)
    for host, address in (("x", "10.9.0.1"), ("corp.test", "192.168.0.1"), ("x", "127.0.0.2")):
        assert "is not a public address" in listed.refusal(host, address)
    assert "127.0.0.1" in listed.names
    assert "10.8.0.0/16" not in listed.names


@pytest.mark.parametrize("entry", ["10.8.0.1/16", "10.8.0.0/33", "300.1.1.1", "a/b", "-x", "[::1]"])
def test_an_entry_that_is_neither_host_nor_network_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        PrivateHosts.parse(f"good.test,{entry}")


def test_no_socket_is_made_for_an_address_that_is_refused() -> None:
    info = (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("10.0.0.1", 80))

    with pytest.raises(AddressRefused, match=r"10\.0\.0\.1 is not a public address"):
        NOWHERE.sockets_to("x")(info)
    EVERYWHERE.sockets_to("x")(info).close()


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "2130706433", "0x7f.1", "localhost", "::1", "no..dns"]
)
async def test_a_proxy_is_asked_for_nothing_that_is_not_public_as_far_as_is_known(
    host: str,
) -> None:
    assert "is not a public address" in await look_behind_proxy(host, NOWHERE)
    assert await look_behind_proxy(host, EVERYWHERE) == ""
    assert await look_behind_proxy(host, PrivateHosts(frozenset([host]))) == ""
