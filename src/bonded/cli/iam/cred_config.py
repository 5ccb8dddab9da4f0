"""`bonded iam workload-identity-pools create-cred-config`: a file that holds no secret.

It tells google-auth where the workload's own token is, and where to exchange it
(type `external_account`, gar.md §5.6).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from bonded.cli.grammar import Command
from bonded.cli.iam.service_accounts import account_path
from bonded.cli.session import Session, pass_session
from bonded.client.errors import Misconfigured
from bonded.client.private_files import write_private

_IAM = "//iam.googleapis.com/"
_SOURCES = ("credential_source_file", "credential_source_url", "executable_command")


@click.command("create-cred-config", cls=Command)
@click.argument("audience")
@click.option("--output-file", required=True, type=click.Path(path_type=Path, allow_dash=True))
@click.option("--credential-source-file", help="File that holds the workload's token.")
@click.option("--credential-source-url", help="Address that answers with the workload's token.")
@click.option("--credential-source-headers", help="KEY=VALUE,… to send to that address.")
@click.option("--executable-command", help="Command that prints the workload's token.")
@click.option("--executable-timeout-millis", type=int, help="How long it may take.")
@click.option("--executable-output-file", help="Where it keeps the token meanwhile.")
@click.option(
    "--credential-source-type", type=click.Choice(["json", "text"]), help="What the source holds."
)
@click.option("--credential-source-field-name", help="The field of the JSON with the token.")
@click.option("--service-account", help="The service account to act as.")
@click.option(
    "--service-account-token-lifetime-seconds", type=int, help="Life of that account's tokens."
)
@click.option(
    "--subject-token-type",
    default="urn:ietf:params:oauth:token-type:jwt",
    show_default=True,
    help="What the workload's token is.",
)
@pass_session
def create_cred_config(session: Session, /, audience: str, output_file: Path, **given: Any) -> None:
    """Write credentials for AUDIENCE, a provider's full name, that hold no secret.

    AUDIENCE is projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER.
    """
    text = json.dumps(_config(session, audience, given), indent=2)
    if str(output_file) == "-":
        click.echo(text)
        return
    write_private(output_file, f"{text}\n")
    session.say(f"Created credential configuration file [{output_file}].")


def _config(session: Session, audience: str, given: dict[str, Any]) -> dict[str, Any]:
    name = audience.removeprefix("https:").removeprefix(_IAM)
    if not name.startswith("projects/") or "/providers/" not in name:
        raise Misconfigured(
            f"[{audience}] is not the name of a provider.",
            hint="Use projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/"
            "PROVIDER, as `bonded iam workload-identity-pools providers describe` shows it.",
        )
    config: dict[str, Any] = {
        "type": "external_account",
        # Without its first word: google-auth asks Google about projects that it finds here.
        "audience": f"{_IAM}{name.removeprefix('projects/')}",
        "subject_token_type": given["subject_token_type"],
        "token_url": f"{session.server}/v1/token",
        # gcloud asks here who the token is of; without it, it would show the token to Google.
        "token_info_url": f"{session.server}/v1/introspect",
        "credential_source": _source(given),
    }
    account, life_s = given["service_account"], given["service_account_token_lifetime_seconds"]
    if account:
        path = account_path(session, account)
        url = f"{session.server}{path}:generateAccessToken"
        config["service_account_impersonation_url"] = url
        if life_s:
            config["service_account_impersonation"] = {"token_lifetime_seconds": life_s}
    return config


def _source(given: dict[str, Any]) -> dict[str, Any]:
    chosen = [name for name in _SOURCES if given[name]]
    if len(chosen) != 1:
        raise Misconfigured(
            "Exactly one of (--credential-source-file | --credential-source-url | "
            "--executable-command) must be specified."
        )
    if given["executable_command"]:
        return {"executable": _executable(given)}
    source: dict[str, Any] = {}
    if given["credential_source_file"]:
        source["file"] = given["credential_source_file"]
    else:
        source["url"] = given["credential_source_url"]
        if given["credential_source_headers"]:
            source["headers"] = _headers(given["credential_source_headers"])
    if form := _format(given):
        source["format"] = form
    return source


def _executable(given: dict[str, Any]) -> dict[str, Any]:
    # Without a limit of its own, google-auth takes 30 s.
    executable = {
        "command": given["executable_command"],
        "timeout_millis": given["executable_timeout_millis"],
        "output_file": given["executable_output_file"],
    }
    return {name: value for name, value in executable.items() if value}


def _format(given: dict[str, Any]) -> dict[str, str]:
    kind, field = given["credential_source_type"], given["credential_source_field_name"]
    if kind == "json" and not field:
        raise Misconfigured(
            "--credential-source-field-name must be specified with --credential-source-type=json."
        )
    if field and kind != "json":
        raise Misconfigured("--credential-source-field-name needs --credential-source-type=json.")
    if kind is None:
        return {}
    return {"type": kind} | ({"subject_token_field_name": field} if field else {})


def _headers(text: str) -> dict[str, str]:
    headers = {}
    for item in filter(None, text.split(",")):
        name, equals, value = item.partition("=")
        if not equals:
            raise Misconfigured(f"Bad syntax for dict arg: [{item}].", hint="Write KEY=VALUE.")
        headers[name] = value
    return headers
