"""`bonded iam service-accounts keys`: the key files that prove service accounts."""

from __future__ import annotations

import base64
import binascii
import time
from pathlib import Path

import click

from bonded.cli.durations import moment, parse_duration
from bonded.cli.grammar import Group
from bonded.cli.iam.service_accounts import account_path
from bonded.cli.output import Column, basename, field
from bonded.cli.risks import FORCE, ask_about_key
from bonded.cli.session import Session, pass_session
from bonded.client.api import Message, segment
from bonded.client.errors import Misconfigured
from bonded.client.private_files import check_writable, write_private

COLUMNS = (
    Column("KEY_ID", basename("name")),
    Column("CREATED_AT", field("validAfterTime")),
    Column("EXPIRES_AT", field("validBeforeTime")),
    Column("DISABLED", lambda key: str(bool(key.get("disabled")))),
    Column("LAST_USED", field("lastAuthenticatedTime")),
)
EXPIRES = (
    "When it ends: after 90d or 12h (a number alone means seconds), or at a moment such as "
    "2030-01-31T00:00:00Z."
)
IAM_ACCOUNT = click.option(
    "--iam-account", metavar="EMAIL", required=True, help="The service account."
)


@click.group(cls=Group)
def keys() -> None:
    """Create and manage the keys of a service account."""


@keys.command()
@click.argument("output_file", type=click.Path(path_type=Path, allow_dash=True))
@IAM_ACCOUNT
@click.option("--overwrite", is_flag=True, help="Replace the file if there is one.")
@click.option("--expires", metavar="WHEN", help=EXPIRES)
@click.option(
    "--universe-domain",
    metavar="DOMAIN",
    help="Other than googleapis.com: Google's libraries then sign tokens with the key by "
    "themselves and ask nobody. gcloud refuses such keys.",
)
@pass_session
def create(
    session: Session,
    output_file: Path,
    iam_account: str,
    *,
    overwrite: bool,
    expires: str | None,
    universe_domain: str | None,
) -> None:
    """Create a key and write it to a file that only you may read; `-` prints it."""
    is_printed = str(output_file) == "-"
    if not is_printed:
        if output_file.is_file() and not overwrite:
            raise Misconfigured(
                f"{output_file} is there already.",
                hint="Choose another name. With --overwrite it is replaced: a key in it that is "
                "kept nowhere else is lost, though it still works.",
            )
        # Before the server makes a key that we then could not keep.
        check_writable(output_file)
    key = session.api.post(
        f"{account_path(session, iam_account)}/keys",
        {
            "privateKeyType": "TYPE_GOOGLE_CREDENTIALS_FILE",
            **_end(expires),
            **({"universeDomain": universe_domain} if universe_domain else {}),
        },
    )
    text = _contents(key)
    if is_printed:
        click.echo(text)
    else:
        write_private(output_file, text)
    key_id = key["name"].rpartition("/")[2]
    session.say(f"created key [{key_id}] of type [json] as [{output_file}] for [{iam_account}]")
    _say_end(session, key, expires)


@keys.command("list")
@IAM_ACCOUNT
@pass_session
def list_keys(session: Session, iam_account: str) -> None:
    """List the keys of a service account."""
    path = f"{account_path(session, iam_account)}/keys"
    session.show_all(session.api.list_all(path, "keys"), COLUMNS)


@keys.command()
@click.argument("public_key_file", type=click.Path(path_type=Path))
@IAM_ACCOUNT
@click.option("--expires", metavar="WHEN", help=EXPIRES)
@pass_session
def upload(session: Session, public_key_file: Path, iam_account: str, expires: str | None) -> None:
    """Upload the public half of a key pair of your own: a certificate, or a bare key, in PEM."""
    try:
        text = public_key_file.read_bytes()
    except OSError as error:
        raise Misconfigured(f"{public_key_file} cannot be read: {error.strerror}.") from error
    key = session.api.post(
        f"{account_path(session, iam_account)}/keys:upload",
        {"publicKeyData": base64.b64encode(text).decode(), **_end(expires)},
    )
    session.say(f"Uploaded key [{basename('name')(key)}] for service account [{iam_account}].")
    _say_end(session, key, expires)
    session.show(key)


@keys.command()
@click.argument("key_id")
@IAM_ACCOUNT
@FORCE
@pass_session
def disable(session: Session, key_id: str, iam_account: str, *, force: bool) -> None:
    """Disable a key: whoever holds its file can no longer sign in, until it is enabled."""
    ask_about_key(session, iam_account, key_id, force=force)
    path = f"{account_path(session, iam_account)}/keys/{segment(key_id)}"
    session.api.post(f"{path}:disable", {})
    session.say(f"Disabled key [{key_id}] for service account [{iam_account}].")


@keys.command()
@click.argument("key_id")
@IAM_ACCOUNT
@pass_session
def enable(session: Session, key_id: str, iam_account: str) -> None:
    """Enable a key again."""
    path = f"{account_path(session, iam_account)}/keys/{segment(key_id)}"
    session.api.post(f"{path}:enable", {})
    session.say(f"Enabled key [{key_id}] for service account [{iam_account}].")


@keys.command()
@click.argument("key_id")
@IAM_ACCOUNT
@FORCE
@pass_session
def delete(session: Session, key_id: str, iam_account: str, *, force: bool) -> None:
    """Delete a key: whoever holds its file can no longer sign in."""
    ask_about_key(session, iam_account, key_id, force=force)
    what = f"key [{key_id}] for service account [{iam_account}]"
    if not force:
        session.confirm(f"You are about to delete {what}.")
    session.api.delete(f"{account_path(session, iam_account)}/keys/{segment(key_id)}")
    session.say(f"deleted {what}")


def _end(expires: str | None) -> Message:
    """Return the field that says when a key ends: at a moment, or after a duration."""
    if expires is None:
        return {}
    if "T" in expires or "-" in expires:
        return {"validBeforeTime": expires}
    life_s = parse_duration(expires, or_else=", or a moment as 2030-01-31T00:00:00Z")
    return {"validBeforeTime": moment(time.time() + life_s)}


def _say_end(session: Session, key: Message, expires: str | None) -> None:
    # As with gcloud a number alone means seconds, which not everybody has in mind.
    if expires is not None:
        session.say(f"It ends at {field('validBeforeTime')(key)}.")


def _contents(key: Message) -> str:
    """Return the key file that the server made.

    Raises:
        Misconfigured: the server sent none.
    """
    try:
        return base64.b64decode(key["privateKeyData"], validate=True).decode()
    except (KeyError, binascii.Error, UnicodeDecodeError) as error:
        raise Misconfigured(
            f"The server created key [{key.get('name')}] but sent no key file.",
            hint="Delete that key with `bonded iam service-accounts keys delete`.",
        ) from error
