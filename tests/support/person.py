"""A person at a browser, as a program that BROWSER can name: fills in what pages ask, and goes on.

What they would type comes by the environment, as JSON; buttons are pressed as the pages offer them.
"""

from __future__ import annotations

import json
import os
import ssl
import sys
from html.parser import HTMLParser
from http.cookiejar import CookieJar
from urllib.parse import urlencode, urljoin
from urllib.request import HTTPCookieProcessor, HTTPSHandler, build_opener

VARIABLE = "PERSON_TYPES"
PAGES_MAX = 8


class _Forms(HTMLParser):
    """The forms of a page: where each leads, and what it holds."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.found.append((said["action"], {}))
        elif tag in {"input", "button"} and "name" in said and self.found:
            self.found[-1][1].setdefault(said["name"], said.get("value", ""))


def browse(url: str, typed: dict[str, str]) -> str:
    """Open *url*, and go on as long as a page has a form; return the last page."""
    https = HTTPSHandler(context=ssl.create_default_context())
    opener = build_opener(HTTPCookieProcessor(CookieJar()), https)
    data = None
    for _ in range(PAGES_MAX):
        with opener.open(url, data, timeout=10) as response:
            url = response.url
            text: str = response.read().decode()
        forms = _Forms()
        forms.feed(text)
        if not forms.found:
            return text
        action, fields = forms.found[0]
        url = urljoin(url, action)
        filled = {name: typed.get(name, value) for name, value in fields.items()}
        data = urlencode(filled).encode()
    raise AssertionError(f"the pages do not end: {url}")


if __name__ == "__main__":
    browse(sys.argv[1], json.loads(os.environ[VARIABLE]))  # noqa: TID251 - a browser's own
