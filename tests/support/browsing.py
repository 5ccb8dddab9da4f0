"""A person at a browser without scripts: cookies, links, and forms filled in as they were sent."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2

from bonded.server.identity.second_factor import code_at, secret_of
from support.site import URL, Site

PASSWORD = "correct horse battery staple"
CLIENT = "bonded-cli"
LOOP_BACK = "http://127.0.0.1:40123/"


@dataclass
class Form:
    """One form of a page: where it leads, and what it holds."""

    action: str
    fields: dict[str, str] = field(default_factory=dict)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            assert found["method"] == "post"
            self.forms.append(Form(found["action"]))
        elif tag == "input" and "name" in found:
            self.forms[-1].fields[found["name"]] = found.get("value", "")

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@dataclass
class Page:
    """What the browser shows."""

    status: int
    text: str
    forms: list[Form]
    headers: httpx2.Headers
    html: str

    def form(self, action: str, **holding: str) -> Form:
        """Return the form that leads to *action* and holds some values."""
        for form in self.forms:
            if form.action == action and holding.items() <= form.fields.items():
                return form
        raise AssertionError(f"no form to {action} on this page: {self.text}")


@dataclass
class Visitor:
    """One browser, calling from one address."""

    http: httpx2.AsyncClient
    page: Page = field(default_factory=lambda: Page(0, "", [], httpx2.Headers(), ""))

    async def open(self, path: str) -> Page:
        """Follow a link, and where it leads on this server."""
        return await self._show(await self.http.get(path))

    async def send(self, form: Form, **typed: str) -> Page:
        """Fill a form in and send it."""
        return await self._show(await self.http.post(form.action, data=form.fields | typed))

    async def fill(self, action: str, **typed: str) -> Page:
        """Fill in and send the form of this page that leads to *action*."""
        return await self.send(self.page.form(action), **typed)

    async def _show(self, response: httpx2.Response) -> Page:
        while response.status_code == 303 and response.headers["location"].startswith("/"):
            response = await self.http.get(response.headers["location"])
        reader = _Reader()
        reader.feed(response.text)
        text = " ".join(" ".join(reader.text).split())
        self.page = Page(response.status_code, text, reader.forms, response.headers, response.text)
        return self.page

    async def sign_in(self, address: str, password: str = PASSWORD, path: str = "/sign-in") -> Page:
        """Sign in with a password."""
        await self.open(path)
        return await self.fill("/sign-in", address=address, password=password)

    def answer(self) -> dict[str, str]:
        """Return what the browser takes to the program on this machine."""
        assert self.page.status == 303, self.page.text
        url = urlsplit(self.page.headers["location"])
        return {name: values[0] for name, values in parse_qs(url.query).items()}


@asynccontextmanager
async def open_visitor(site: Site, address: str = "192.0.2.1") -> AsyncIterator[Visitor]:
    """Open a browser of its own."""
    transport = httpx2.ASGITransport(site.registry.application, client=(address, 1234))
    async with httpx2.AsyncClient(transport=transport, base_url=URL) as http:
        yield Visitor(http)


async def invite(site: Site, address: str) -> str:
    """Create a user; return the path of their invitation."""
    made = await site.call("POST", "/v1/users", {"address": address, "displayName": "Ada"})
    assert made.status_code == 200, made.text
    link: str = made.json()["invitation"]["uri"]
    return link.removeprefix(URL)


async def join(site: Site, address: str, password: str = PASSWORD) -> None:
    """Create a user who has set a password."""
    link = await invite(site, address)
    async with open_visitor(site, "192.0.2.200") as visitor:
        await visitor.open(link)
        page = await visitor.fill("/_/invitation", password=password, again=password)
    assert page.status == 200, page.text


async def enrol(visitor: Visitor, site: Site) -> tuple[bytes, list[str]]:
    """Turn the second factor on; return its secret and the recovery codes."""
    page = await visitor.open("/_/account/second-factor")
    found = re.search(r"<code>([A-Z2-7 ]+)</code>", page.html)
    assert found is not None
    secret = secret_of(found[1].replace(" ", ""))
    code = code_of(secret, site)
    page = await visitor.fill("/_/account/second-factor", code=code, password=PASSWORD)
    assert page.status == 200, page.text
    return secret, re.findall(r"<li>([a-z0-9-]+)</li>", page.html)


def code_of(secret: bytes, site: Site, steps: int = 0) -> str:
    return code_at(secret, int(site.clock().timestamp()) // 30 + steps)


@dataclass
class Program:
    """A program on the person's machine that asks to act as them."""

    site: Site
    client: str = CLIENT
    redirect_uri: str = LOOP_BACK
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(40))

    def path(self, **changes: str | None) -> str:
        """Return where it opens the browser; by None, a parameter is left out."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        query: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.client,
            "redirect_uri": self.redirect_uri,
            "scope": "openid email",
            "state": "xyz",
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        query |= changes
        return "/authorize?" + urlencode({k: v for k, v in query.items() if v is not None})

    async def redeem(self, code: str, /, **changes: str) -> httpx2.Response:
        """Exchange a code for tokens."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "client_id": self.client,
            "redirect_uri": self.redirect_uri,
            "code_verifier": self.verifier,
        }
        return await self.site.http.post("/token", data=form | changes)

    async def refresh(self, refresh_token: str, **changes: str) -> httpx2.Response:
        """Exchange a refresh token for an access token."""
        form = {
            "grant_type": "refresh_token",
            "refresh_token": refresh_token,
            "client_id": self.client,
        }
        return await self.site.http.post("/token", data=form | changes)


async def log_in(site: Site, address: str) -> dict[str, Any]:
    """Sign somebody in to a program through their browser; return its tokens."""
    program = Program(site)
    async with open_visitor(site) as visitor:
        await visitor.sign_in(address, path=program.path())
        await visitor.fill("/authorize", answer="yes")
        answered = await program.redeem(visitor.answer()["code"])
    assert answered.status_code == 200, answered.text
    tokens: dict[str, Any] = answered.json()
    return tokens
