"""Makes the client of a remote repository, from how the repository is set up."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from bonded.server.core.clock import Clock
from bonded.server.core.errors import UpstreamFailed
from bonded.server.core.upstreams import (
    CustomIndex,
    PublicIndex,
    RemoteConfig,
    ServerRepository,
)
from bonded.server.upstream.addresses import EVERYWHERE, NOWHERE, PrivateHosts
from bonded.server.upstream.bounds import Bounds
from bonded.server.upstream.client import UpstreamClient
from bonded.server.upstream.requests import Route
from bonded.server.upstream.rules import Origin
from bonded.server.upstream.secrets import Secrets
from bonded.server.upstream.turns import SharedTurns

PARSERS_MAX = 2
"""Threads for large pages: a hostile one takes seconds, and must hold up nothing but pages."""


class Clients:
    """What all clients share; *public_index_url* is empty for the public PyPI itself."""

    def __init__(
        self,
        secrets: Secrets,
        clock: Clock,
        bounds: Bounds,
        *,
        public_index_url: str,
        private_hosts: PrivateHosts,
    ) -> None:
        self._secrets = secrets
        self._clock = clock
        self._bounds = bounds
        self._parsers = ThreadPoolExecutor(PARSERS_MAX, thread_name_prefix="parser")
        self._large_pages = SharedTurns(bounds.large_pages_max)
        self._public_index_url = public_index_url
        self._private_hosts = private_hosts

    def make(self, config: RemoteConfig) -> UpstreamClient:
        """Return a client, which its caller closes."""
        route = Route(
            credentials=config.credentials,
            ca_certificates=config.ca_certificates,
            proxy=config.proxy,
            own=self._own(config),
            private_hosts=self._private_hosts,
            is_preset=isinstance(config.source, PublicIndex),
        )
        url = self.index_url(config)
        return UpstreamClient(
            *(url, route, self._secrets),
            clock=self._clock,
            bounds=self._bounds,
            parsers=self._parsers,
            turns=self._large_pages.of(Origin.of(url)),
        )

    def close(self) -> None:
        """Parse nothing any more."""
        self._parsers.shutdown(wait=False, cancel_futures=True)

    def _own(self, config: RemoteConfig) -> PrivateHosts:
        if isinstance(config.source, PublicIndex) and self._public_index_url:
            # The operator says where it is, not whoever set the repository up.
            return EVERYWHERE
        return self._private_hosts if config.is_private_address_allowed else NOWHERE

    def index_url(self, config: RemoteConfig) -> str:
        """Return where the index of a remote repository is.

        Raises:
            UpstreamFailed: it is a repository of this server, which is not asked over HTTP.
        """
        match config.source:
            case CustomIndex(uri):
                return uri
            case PublicIndex() if self._public_index_url:
                return self._public_index_url
            case PublicIndex():
                # Imported only by servers that ask the public index: it brings much along.
                from pypi_simple import PYPI_SIMPLE_ENDPOINT  # noqa: PLC0415 - see above

                return PYPI_SIMPLE_ENDPOINT
            case ServerRepository(name):
                raise UpstreamFailed(f"{name} is of this server, and needs no client")
