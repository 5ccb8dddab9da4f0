"""What the HTTP client raises, as errors of ours: they name the upstream, and the way out."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp

from bonded.server.core.errors import PrivateAddress, UpstreamFailed, UpstreamTimedOut
from bonded.server.upstream.addresses import NOT_PUBLIC
from bonded.server.upstream.rules import Origin, shown

_ALLOW_INDEX = (
    "If that is where it is meant to be, the server's operator names the host or its network in "
    "the setting upstream_private_hosts (BONDED_UPSTREAM_PRIVATE_HOSTS). Then allow it: `bonded "
    "artifacts repositories create` and `update` have the flag --remote-allow-private-addresses "
    "(in REST, remoteRepositoryConfig.bonded.allowPrivateAddresses)."
)
_ALLOW_PRESET = (
    "If that is a mirror in the server's network, its operator starts it with "
    "BONDED_PUBLIC_INDEX_URL={index} BONDED_UPSTREAM_PRIVATE_HOSTS={host}, in which hosts of its "
    "files are listed too."
)
_ALLOWED_INDEX = (
    "The repository allows private addresses; what is missing is the operator's half. If that is "
    "where it is meant to be, the server's operator adds {host} or its network to the setting "
    "upstream_private_hosts (BONDED_UPSTREAM_PRIVATE_HOSTS)."
)
_ALLOW_PROXY = (
    "If it is meant to be there, the server's operator names it in the setting "
    "upstream_private_hosts (BONDED_UPSTREAM_PRIVATE_HOSTS)."
)
_ALLOW_FILES = (
    "If the index keeps its files there, the server's operator adds {host} to the setting "
    "upstream_private_hosts (BONDED_UPSTREAM_PRIVATE_HOSTS)."
)


class Asked(enum.Enum):
    """What a request is for, as far as the way out of a refusal depends on it."""

    PRESET = _ALLOW_PRESET
    """The index itself, which the preset PYPI means."""
    INDEX = _ALLOW_INDEX
    """The index itself, at a public address as far as the repository says."""
    ALLOWED = _ALLOWED_INDEX
    """The index itself, at a private address if the operator lets it."""
    FILES = _ALLOW_FILES
    """What the index names elsewhere."""


@contextmanager
def told_as_ours(upstream: str, url: str, proxy: str, asked: Asked) -> Iterator[None]:
    """Turn what a request for *url* raises into our errors.

    Raises:
        UpstreamFailed: the request failed.
    """
    try:
        yield
    except TimeoutError as error:
        raise UpstreamTimedOut(
            f"The upstream {upstream} does not answer: {shown(url)} takes too long", is_outage=True
        ) from error
    except aiohttp.ClientProxyConnectionError as error:
        if NOT_PUBLIC in (why := _why(error)):
            raise UpstreamFailed(
                f"The proxy {proxy} of the upstream {upstream} is not contacted: {why}",
                hint=_ALLOW_PROXY,
            ) from error
        raise UpstreamFailed(
            f"The proxy {proxy} of the upstream {upstream} cannot be reached: {error}",
            is_outage=True,
        ) from error
    except aiohttp.ClientHttpProxyError as error:
        raise UpstreamFailed(
            f"The proxy {proxy} of the upstream {upstream} answers with {error.status}",
            is_outage=True,
        ) from error
    except aiohttp.ClientConnectorError as error:
        raise _unconnected(error, upstream, url, asked) from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise UpstreamFailed(
            f"The upstream {upstream} broke off: {type(error).__name__} at {shown(url)}",
            is_outage=True,
        ) from error


def _unconnected(
    error: aiohttp.ClientConnectorError, upstream: str, url: str, asked: Asked
) -> UpstreamFailed:
    if NOT_PUBLIC in (why := _why(error)):
        return refused(upstream, url, why, asked)
    return UpstreamFailed(
        f"The upstream {upstream} cannot be reached at {Origin.of(url)}: {why}", is_outage=True
    )


def _why(error: aiohttp.ClientConnectorError) -> str:
    # Of several addresses, the errors come as one text.
    return str(getattr(error, "os_error", error)) or str(error)


def refused(upstream: str, url: str, why: str, asked: Asked) -> PrivateAddress:
    """Return what is told where a rule forbids to ask *url*."""
    origin = Origin.of(url)
    return PrivateAddress(
        f"The upstream {upstream} leads to {origin}, which is not contacted: {why}",
        hint=asked.value.format(index=upstream, host=origin.host),
        index_url=upstream,
        host=origin.host,
    )
