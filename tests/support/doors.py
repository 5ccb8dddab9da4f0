"""Every door of the server that takes a token or an assertion, and good ones for each of them."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc.jwk import ECKey, RSAKey

from bonded.server.identity.issuers import KEPT_S
from support.browsing import open_visitor
from support.clock import SetClock
from support.federating import exchange, make_provider
from support.forging import Draft, PrivateKey
from support.issuer import CLIENT, SECRET, FakeIssuer, running_issuer
from support.site import TOKEN_AUDIENCE, Site, open_site
from support.trusting import CLAIMS, mint, trust

ACCOUNTS = "/v1/projects/my-project/serviceAccounts"
API_AUDIENCE = "https://artifactregistry.googleapis.com/"
ADA = "ada@example.com"
ROBOT_ROLES = ("roles/owner", "roles/iam.serviceAccountTokenCreator")


@dataclass
class Answer:
    """What a door says: whether it opened, and if not, in which sentence."""

    is_open: bool
    sentence: str


@dataclass
class House:
    """A server with one of everything that can vouch for somebody, and with all its doors."""

    site: Site
    issuer: FakeIssuer
    robot: dict[str, str] = field(default_factory=dict)
    """The key file of an account that may act as accounts."""
    provider: str = ""
    publisher: str = ""

    @property
    def now(self) -> int:
        """Seconds since 1970."""
        return int(self.site.clock().timestamp())

    @property
    def account(self) -> str:
        """Where the robot is administered."""
        return f"{ACCOUNTS}/{self.robot['client_email']}"

    @property
    def key(self) -> str:
        """Where its key is administered."""
        return f"{self.account}/keys/{self.robot['private_key_id']}"

    def assertion(self, **claims: object) -> Draft:
        """Return what the robot signs with its key, for the token endpoint."""
        key = load_pem_private_key(self.robot["private_key"].encode(), None)
        email = self.robot["client_email"]
        said = {"iss": email, "sub": email, "aud": TOKEN_AUDIENCE, "iat": self.now}
        said |= {"exp": self.now + 600} | claims
        header: dict[str, object] = {"typ": "JWT", "alg": "RS256"}
        header["kid"] = self.robot["private_key_id"]
        return Draft(said, header, private(key))

    def identity(self, **claims: object) -> Draft:
        """Return what the outside issuer says of a job, or of a person."""
        said = {"iss": self.issuer.url, **CLAIMS, "iat": self.now, "exp": self.now + 300}
        said |= {"jti": secrets.token_hex(8), "email": ADA, "email_verified": True} | claims
        header: dict[str, object] = {"alg": "RS256", "kid": "first"}
        return Draft(said, header, private(self.issuer.keys[-1]))

    def access_token(self, **claims: object) -> Draft:
        """Return an access token of the robot, as this server signs them."""
        key = self.site.registry.signing_keys.current()
        email, origin = self.robot["client_email"], f"key:{self.robot['private_key_id']}"
        said: dict[str, object] = {"iss": "bonded", "origin": origin}
        said |= {"sub": f"serviceAccount:{email}"}
        said |= {"iat": self.now, "exp": self.now + 600, "jti": secrets.token_hex(8)} | claims
        header: dict[str, object] = {"alg": "ES256", "typ": "at+jwt", "kid": str(key.kid)}
        return Draft(said, header, private(key))

    async def let_time_pass(self) -> None:
        """Let everything be old that the server has heard of the issuer."""
        self.site.clock.forward(seconds=KEPT_S)
        self.site.admin = await self.site.sign_in(self.site.admin_key)

    async def make_robot(self) -> None:
        """Give the robot another key."""
        made = await self.site.call("POST", f"{self.account}/keys", {})
        assert made.status_code == 200, made.text
        self.robot = json.loads(base64.b64decode(made.json()["privateKeyData"]))

    async def make_provider(self) -> None:
        """Let a pool believe the issuer."""
        mapping = {"google.subject": "assertion.sub"}
        self.provider = await make_provider(self.site, self.issuer, attributeMapping=mapping)

    async def make_publisher(self) -> None:
        """Let a workflow at the issuer publish."""
        self.publisher = await trust(self.site, self.issuer)


Make = Callable[..., str]
"""Makes what is shown at a door; what the door itself asks for comes as claims."""
Door = Callable[[House, Make], Awaitable[Answer]]


async def _token(house: House, make: Make) -> Answer:
    return _oauth(await house.site.exchange(make()), "access_token")


async def _id_token(house: House, make: Make) -> Answer:
    return _oauth(await house.site.exchange(make(target_audience="https://a.test")), "id_token")


async def _exchange(house: House, make: Make) -> Answer:
    text = make(aud=f"https://iam.googleapis.com/{house.provider}")
    answer = await exchange(house.site, f"//iam.googleapis.com/{house.provider}", text)
    return _oauth(answer, "access_token")


async def _mint(house: House, make: Make) -> Answer:
    answer = await mint(house.site, make(aud="registry.test"))
    said = answer.json()
    sentence = "" if answer.is_success else said["errors"][0]["description"]
    return Answer("token" in said, sentence)


async def _sign_in(house: House, make: Make) -> Answer:
    async with open_visitor(house.site) as visitor:
        sent = await visitor.open("/_/provider?next=/account")
        if "location" not in sent.headers:
            return Answer(is_open=False, sentence=sent.text)
        asked = house.issuer.authorize(sent.headers["location"])
        nonce = parse_qs(urlsplit(sent.headers["location"]).query)["nonce"][0]
        shown = json.dumps({"id_token": make(aud=CLIENT, nonce=nonce)}).encode()
        raw = house.issuer.raw
        house.issuer.raw = {**raw, "/token": (200, shown)}
        page = await visitor.open(f"/_/provider/callback?{urlencode(asked)}")
        house.issuer.raw = raw
    return Answer(page.status == 200, page.text)


def _bearer(method: str, path: str, body: object = None, *, is_api: bool = True) -> Door:
    async def show(house: House, make: Make) -> Answer:
        text = make(aud=API_AUDIENCE)
        answer = await house.site.http.request(
            method,
            path.format(account=house.account, repository=house.site.repository),
            headers={"authorization": f"Bearer {text}"},
            json=body,
        )
        if answer.is_success:
            return Answer(is_open=True, sentence="")
        assert answer.status_code == 401, answer.text
        said = answer.json()["error"]["message"] if is_api else answer.text.strip()
        return Answer(is_open=False, sentence=said)

    return show


async def _introspect(house: House, make: Make) -> Answer:
    answer = await house.site.http.post("/v1/introspect", data={"token": make()})
    assert answer.status_code == 200, answer.text
    is_open = answer.json()["active"]
    # RFC 7662 §2.2: nothing is said of a token that is not good.
    assert is_open or answer.json() == {"active": False}
    return Answer(is_open, "")


INDEX = _bearer("GET", "{repository}/simple/", is_api=False)
ACT_AS = _bearer("POST", "{account}:generateAccessToken", {})
SAY_WHO = _bearer("POST", "{account}:generateIdToken", {"audience": "https://a.test"})
LIMIT = _bearer("POST", "/v1/tokens:limit", {"readOnly": True})

DOORS: Mapping[str, Mapping[str, Door]] = {
    "assertion": {
        "/token": _token,
        "/token for an ID token": _id_token,
        "an index": INDEX,
        "acting as an account": ACT_AS,
        "an account's ID token": SAY_WHO,
        "narrowing": LIMIT,
    },
    "identity token": {"/v1/token": _exchange, "mint-token": _mint, "signing in": _sign_in},
    "access token": {
        "an index": INDEX,
        "acting as an account": ACT_AS,
        "an account's ID token": SAY_WHO,
        "narrowing": LIMIT,
        "introspection": _introspect,
    },
}
"""By what is shown: the doors that take it."""


@contextmanager
def _running(clock: SetClock) -> Iterator[FakeIssuer]:
    with running_issuer(clock) as issuer:
        issuer.keys = [
            ECKey.generate_key("P-256", {"kid": "curve", "use": "sig"}),
            RSAKey.generate_key(2048, {"kid": "first", "use": "sig"}),
        ]
        yield issuer


@asynccontextmanager
async def open_house(data_dir: Path) -> AsyncIterator[House]:
    """Build it: a pool's provider, a trusted publisher and people's provider are one issuer."""
    with _running(SetClock()) as issuer:
        settings = {
            "private_issuers": True,
            "oidc_issuer": issuer.url,
            "oidc_client_id": CLIENT,
            "oidc_client_secret": SECRET,
        }
        async with open_site(data_dir, **settings) as site:
            issuer.clock = site.clock
            house = House(site, issuer, await site.make_account("a-robot"))
            for role in ROBOT_ROLES:
                member = f"serviceAccount:{house.robot['client_email']}"
                await site.grant(role, member, "/v1/projects/my-project")
            await house.make_provider()
            await house.make_publisher()
            yield house


def _oauth(answer: httpx2.Response, kind: str) -> Answer:
    said = answer.json()
    return Answer(kind in said, said.get("error_description", ""))


def private(key: object) -> PrivateKey:
    """Return what joserfc or cryptography holds, if it is a private key."""
    key = getattr(key, "private_key", key)
    assert isinstance(key, PrivateKey)
    return key
