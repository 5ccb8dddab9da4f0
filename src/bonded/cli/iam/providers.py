"""`bonded iam workload-identity-pools providers`: whose tokens prove the identities of a pool."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from bonded.cli.grammar import Group
from bonded.cli.iam.pools import (
    DESCRIPTION,
    DISABLED,
    DISPLAY_NAME,
    LOCATION,
    described,
    pool_path,
    something,
)
from bonded.cli.output import Column, basename, field
from bonded.cli.risks import FORCE, ask_about_way_in
from bonded.cli.session import Session, pass_session
from bonded.client.api import segment
from bonded.client.errors import Misconfigured

COLUMNS = (
    Column("NAME", basename("name")),
    Column("ISSUER", field("oidc.issuerUri")),
    Column("CONDITION", field("attributeCondition")),
    Column("STATE", field("state")),
    Column("DISABLED", lambda provider: str(bool(provider.get("disabled")))),
)
POOL = click.option("--workload-identity-pool", "pool", required=True, help="The pool.")
# A comma within an expression separates nothing.
_BETWEEN_KEYS = re.compile(r",(?=\s*(?:google|attribute)\.[a-z0-9_]+\s*=)")
_DELIMITER = re.compile(r"\^(.+?)\^(.*)", re.DOTALL)


class Mapping(click.ParamType[dict[str, str]]):
    """`google.subject=assertion.sub,attribute.name=…`; `^:^` before it separates by colons."""

    name = "mapping"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, str]:
        """Return the expressions by what they give."""
        chosen = _DELIMITER.fullmatch(value)
        items = chosen[2].split(chosen[1]) if chosen else _BETWEEN_KEYS.split(value)
        mapping = {}
        for item in filter(None, items):
            key, equals, text = item.partition("=")
            if not equals or not key:
                self.fail(f"Bad syntax for dict arg: [{item}]. Write KEY=EXPRESSION.", param, ctx)
            mapping[key.strip()] = text.strip()
        return mapping


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say what a provider is."""
    for option in (
        click.option(
            "--jwk-json-path",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="The issuer's keys, if they are not to be fetched from it.",
        ),
        click.option("--attribute-condition", help="CEL that must be true to let anybody in."),
        click.option(
            "--attribute-mapping", type=Mapping(), help="KEY=CEL,…; google.subject must be there."
        ),
        click.option("--allowed-audiences", help="What tokens must be meant for, between commas."),
        click.option("--issuer-uri", help="The issuer's address, as its tokens spell it."),
        DISABLED,
        DESCRIPTION,
        DISPLAY_NAME,
    ):
        command = option(command)
    return command


@click.group(cls=Group)
def providers() -> None:
    """Manage the issuers whose tokens a pool believes."""


@providers.command("create-oidc")
@click.argument("provider")
@POOL
@LOCATION
@_options
@pass_session
def create_oidc(session: Session, /, provider: str, pool: str, location: str, **given: Any) -> None:
    """Believe an issuer of OpenID Connect."""
    for name in ("issuer_uri", "attribute_mapping"):
        if not given[name]:
            raise Misconfigured(f"Missing the required argument [--{name.replace('_', '-')}].")
    body, _ = _body(given)
    path = f"{pool_path(session, pool, location)}/providers"
    session.api.wait(session.api.post(path, body, workloadIdentityPoolProviderId=provider))
    session.say(f"Created workload identity pool provider [{provider}].")


@providers.command("list")
@POOL
@LOCATION
@pass_session
def list_providers(session: Session, pool: str, location: str) -> None:
    """List the providers of a pool."""
    path = f"{pool_path(session, pool, location)}/providers"
    session.show_all(session.api.list_all(path, "workloadIdentityPoolProviders"), COLUMNS)


@providers.command()
@click.argument("provider")
@POOL
@LOCATION
@pass_session
def describe(session: Session, provider: str, pool: str, location: str) -> None:
    """Show a provider."""
    session.show(session.api.get(_path(session, provider, pool, location)))


@providers.command("update-oidc")
@click.argument("provider")
@POOL
@LOCATION
@_options
@FORCE
@pass_session
def update_oidc(
    session: Session, /, provider: str, pool: str, location: str, *, force: bool, **given: Any
) -> None:
    """Change a provider."""
    body, mask = _body(given)
    path = _path(session, provider, pool, location)
    something(mask)
    if body.get("disabled"):
        ask_about_way_in(session, path, f"Provider [{provider}]", force=force)
    session.api.wait(session.api.patch(path, body, mask=mask))
    session.say(f"Updated workload identity pool provider [{provider}].")


@providers.command()
@click.argument("provider")
@POOL
@LOCATION
@FORCE
@pass_session
def delete(session: Session, provider: str, pool: str, location: str, *, force: bool) -> None:
    """Delete a provider: whoever came by it is out at once."""
    path = _path(session, provider, pool, location)
    ask_about_way_in(session, path, f"Provider [{provider}]", force=force)
    if not force:
        session.confirm(f"You are about to delete workload identity pool provider [{provider}]")
    session.api.wait(session.api.delete(path))
    session.say(f"Deleted workload identity pool provider [{provider}].")


def _path(session: Session, provider: str, pool: str, location: str) -> str:
    return f"{pool_path(session, pool, location)}/providers/{segment(provider)}"


def _body(given: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the provider that the line describes, and the fields that it says."""
    body = described(given)
    for name, key in (
        ("attribute_mapping", "attributeMapping"),
        ("attribute_condition", "attributeCondition"),
    ):
        if given[name] is not None:
            body[key] = given[name]
    oidc: dict[str, Any] = {}
    if given["issuer_uri"] is not None:
        oidc["issuerUri"] = given["issuer_uri"]
    if given["allowed_audiences"] is not None:
        oidc["allowedAudiences"] = [one for one in given["allowed_audiences"].split(",") if one]
    if given["jwk_json_path"] is not None:
        oidc["jwksJson"] = given["jwk_json_path"].read_text()
    mask = (*body, *(f"oidc.{name}" for name in oidc))
    return body | {"oidc": oidc}, mask
