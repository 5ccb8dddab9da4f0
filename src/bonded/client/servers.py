"""A server is known by its origin: scheme, host and port."""

from __future__ import annotations

from urllib.parse import urlsplit

from bonded.client.errors import Misconfigured


def parse_server(text: str) -> str:
    """Return the origin that *text* names, without a slash at the end.

    Everything a server has lives on one origin, so a path would be a mistake: most often it is
    the address of a repository.

    Raises:
        Misconfigured: it is not an http or https URL of a host, or says more than that.
    """
    try:
        url = urlsplit(text.strip())
        port = url.port
    except ValueError as error:
        raise Misconfigured(f"[{text}] is not a URL: {error}.", hint=_HINT) from error
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise Misconfigured(f"[{text}] is not the URL of a server.", hint=_HINT)
    # The text is not repeated: what stands before the `@` may be a secret.
    if url.username is not None or url.password is not None:
        raise Misconfigured("A server's URL must not carry a user name or password.", hint=_HINT)
    if url.path not in {"", "/"} or url.query or url.fragment:
        raise Misconfigured(f"[{text}] is more than a server's URL.", hint=_HINT)
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    default_port = {"http": 80, "https": 443}[url.scheme]
    return f"{url.scheme}://{host}" + (f":{port}" if port and port != default_port else "")


def origin_of(url: str) -> str:
    """Return the origin of any *url*, such as a key file's `token_uri`.

    Raises:
        Misconfigured: it has none.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise Misconfigured(f"[{url}] is not a URL: {error}.") from error
    return parse_server(f"{parts.scheme}://{parts.netloc}")


_HINT = "Give scheme, host and port alone, such as http://127.0.0.1:8080."
