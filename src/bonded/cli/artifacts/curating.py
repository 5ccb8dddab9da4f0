"""`bonded artifacts packages|versions|files delete`, `undelete`, `yank` and `unyank`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import click

from bonded.cli.artifacts.contents import place_of
from bonded.cli.artifacts.locating import RepositoryPlace
from bonded.cli.grammar import Command
from bonded.cli.output import local_time
from bonded.cli.session import Session, pass_session
from bonded.client.api import Message, segment
from bonded.client.errors import Misconfigured

NAMES_MAX = 20
"""Files that a question lists by name."""
_REMOTE = "REMOTE_REPOSITORY"


@dataclass(frozen=True, slots=True)
class Target:
    """What a line names: a package, a version of one, or a file as `PACKAGE/FILENAME`."""

    kind: str
    name: str
    package: str
    place: RepositoryPlace

    @property
    def path(self) -> str:
        """The path of the resource in the API."""
        if self.kind == "file":
            return f"{self.place.path}/files/{segment(unquote(self.name))}"
        package = f"{self.place.path}/packages/{segment(self.package)}"
        return package if self.kind == "package" else f"{package}/versions/{segment(self.name)}"

    @property
    def undelete(self) -> str:
        """The line that brings it back."""
        line = f"bonded artifacts {self.kind}s undelete {self.name}"
        line += f" --package={self.package}" if self.kind == "version" else ""
        return f"{line} --repository={self.place.repository} --location={self.place.location}"

    def list_files(self, session: Session, **query: str) -> list[Message]:
        """Return the files that are meant."""
        owner = f"{self.place.path.removeprefix('/v1/')}/packages/{self.package}"
        owner += f"/versions/{self.name}" if self.kind == "version" else ""
        query["filter"] = f'owner="{owner}"'
        found = session.api.list_all(f"{self.place.path}/files", "files", **query)
        filename = unquote(self.name).rpartition("/")[2]
        return [one for one in found if self.kind != "file" or _filename(one) == filename]

    def __str__(self) -> str:
        """As gcloud writes it."""
        return f"{self.kind} [{self.name}]"


Act = Callable[..., None]


def _delete(session: Session, target: Target, *, is_async: bool, **_ignored: object) -> None:
    names = [_filename(one) for one in target.list_files(session)]
    is_remote = session.api.get(target.place.path).get("mode") == _REMOTE
    more = [f"and {len(names) - NAMES_MAX} more"] if len(names) > NAMES_MAX else []
    lines = "\n".join(f" - {name}" for name in [*names[:NAMES_MAX], *more])
    what = f"{target} from repository [{target.place.repository}]"
    copies = "\nThese are copies: what the upstream lists is fetched again when somebody asks."
    if names:  # Of nothing, the server says what is missing.
        question = f"You are about to delete {what}, {len(names)} files:\n{lines}"
        session.confirm(f"{question}{copies if is_remote else ''}")
    operation = session.api.delete(target.path)
    session.say(f"Delete request issued for: [{target.name}]")
    if is_async:
        session.show_issued(operation)
        return
    session.finish(operation)
    session.say(f"Deleted {target}.")
    if not is_remote:
        deleted = target.list_files(session, showDeleted="true")
        until = next((local_time("purgeTime")(one) for one in deleted if "purgeTime" in one), "")
        session.say(f"Until {until} this brings it back:\n  {target.undelete}")


def _undelete(session: Session, target: Target) -> None:
    _change(session, target, "undelete", "Restored", {})


def _yank(session: Session, target: Target, *, reason: str) -> None:
    _change(session, target, "yank", "Yanked", {"reason": reason})


def _unyank(session: Session, target: Target) -> None:
    _change(session, target, "unyank", "Unyanked", {})


def _change(session: Session, target: Target, verb: str, done: str, body: Message) -> None:
    files = session.api.post(f"{target.path}:{verb}", body)["files"]
    session.say(f"{done} {target}:")
    for one in files:
        session.say(f" - {_filename(one)}")


def _filename(file: Message) -> str:
    return unquote(str(file["name"])).rpartition("/")[2]


def _make(kind: str, act: Act, text: str, options: Sequence[click.Option] = ()) -> click.Command:
    """Return the command that does *act* to what its line names."""

    @pass_session
    def run(
        session: Session,
        /,
        *,
        name: str,
        package: str | None = None,
        repository: str | None,
        location: str | None,
        **given: Any,
    ) -> None:
        if kind == "file" and "/" not in unquote(name):
            raise Misconfigured(
                f"[{name}] names no package.",
                hint="Write PACKAGE/FILENAME, as `bonded artifacts files list` does.",
            )
        of = {"package": name, "file": unquote(name).partition("/")[0]}.get(kind, package or "")
        act(session, Target(kind, name, of, place_of(session, repository, location)), **given)

    params: list[click.Parameter] = [click.Argument(["name"], metavar=kind.upper())]
    if kind == "version":
        params.append(
            click.Option(["--package"], required=True, metavar="PACKAGE", help="The package.")
        )
    params += [
        *options,
        click.Option(["--repository"], metavar="REPOSITORY", help="The repository."),
        click.Option(["--location"], metavar="LOCATION", help="The repository's location."),
    ]
    return Command(act.__name__.lstrip("_"), callback=run, params=params, help=text)


_ASYNC = click.Option(["--async", "is_async"], is_flag=True, help="Do not wait for the operation.")
_TAGS = click.Option(
    ["--delete-tags"], is_flag=True, help="Taken for gcloud's sake: these versions have no tags."
)
_REASON = click.Option(
    ["--reason"],
    default="",
    metavar="TEXT",
    help="Why, in one line: installers show it to whoever installs it all the same.",
)
_DELETES = """, so that it can be restored for a time.

Under the name of a deleted file only the same bytes may come back, however long ago it was."""
_YANKS = "Have installers pass by {}, unless somebody asks for exactly this version (PEP 592)."

delete_package = _make("package", _delete, f"Delete a package with every file{_DELETES}", [_ASYNC])
delete_version = _make(
    "version", _delete, f"Delete a version with all of its files{_DELETES}", [_ASYNC, _TAGS]
)
delete_file = _make("file", _delete, f"Delete one file, PACKAGE/FILENAME{_DELETES}", [_ASYNC])
undelete_package = _make("package", _undelete, "Restore the deleted files of a package.")
undelete_version = _make("version", _undelete, "Restore the deleted files of a version.")
undelete_file = _make("file", _undelete, "Restore a deleted file, PACKAGE/FILENAME.")
yank_version = _make("version", _yank, _YANKS.format("all files of a version"), [_REASON])
yank_file = _make("file", _yank, _YANKS.format("a file, PACKAGE/FILENAME"), [_REASON])
unyank_version = _make("version", _unyank, "Let installers choose the files of a version again.")
unyank_file = _make("file", _unyank, "Let installers choose a file, PACKAGE/FILENAME, again.")
