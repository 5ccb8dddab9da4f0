"""Write docs/reference/ from the code that it describes. A test fails when they differ."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from dataclasses import fields
from pathlib import Path

from bonded.server.app import build
from bonded.server.core.iam import ROLES, Permission
from bonded.server.settings import Settings
from bonded.server.web.routing import Endpoint, Open

REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "reference"
_GENERATED = "<!-- Written by tools/reference.py from the code; change it there. -->\n"


def settings_page() -> str:
    """Return the page of settings."""
    rows = []
    for one in fields(Settings):
        default = f"`{one.default}`" if one.default != "" else ""
        rows.append(
            f"| `{one.name}` | `BONDED_{one.name.upper()}` | {default} | {one.metadata['doc']} |"
        )
    return "\n".join(
        [
            "# Settings",
            _GENERATED,
            "Defaults, then a TOML file (`bonded serve --config FILE`, settings at its top level), then the",
            "environment, then the options `--data-dir`, `--listen` and `--public-url`: later ones win.",
            "",
            "| Setting | Environment | Default | Meaning |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def routes_page(endpoints: tuple[Endpoint, ...]) -> str:
    """Return the page of routes."""
    rows = [
        f"| {endpoint.method} | `{endpoint.path}` | {_permission(endpoint.permission)} "
        f"| `{endpoint.name}` | {endpoint.kind.value} |"
        for endpoint in endpoints
    ]
    return "\n".join(
        [
            "# Routes",
            _GENERATED,
            "Every address the server answers, and the permission that the caller needs on the resource",
            "named by the path: the repository, else the project, else the server. GET also answers HEAD. The",
            "last two columns are the method's name in the audit log, and when the log keeps it.",
            "",
            "| Method | Path | Permission | In the audit log | Kept |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def roles_page() -> str:
    """Return the page of roles and permissions."""
    short = [role.removeprefix("roles/") for role in ROLES]
    rows = [
        f"| `{permission}` | {' | '.join('✓' if permission in ROLES[role] else '' for role in ROLES)} |"
        for permission in sorted(Permission)
    ]
    return "\n".join(
        [
            "# Roles and permissions",
            _GENERATED,
            "Bind a role to members on the server (`organizations/bonded`), on a project or on a repository; what is",
            "granted above holds below. Members are `user:ADDRESS`, `serviceAccount:ADDRESS`, `group:ADDRESS`,",
            "`domain:DOMAIN`, `allAuthenticatedUsers` and `allUsers`. Nothing is allowed that no binding grants.",
            "",
            "An ADDRESS is NAME@DOMAIN in any case and script, of which NAME may also hold the signs `_+%=~#'&!-` and single",
            "full stops, and begins with no hyphen. In a shell, put `'` and `&` into quotes: `--member=\"user:o'brien@example.com\"`.",
            "",
            f"| Permission | {' | '.join(short)} |",
            f"|---|{'---|' * len(short)}",
            *rows,
            "",
        ]
    )


def _permission(permission: Permission | Open) -> str:
    return f"none: {permission.value}" if isinstance(permission, Open) else f"`{permission}`"


async def _endpoints() -> tuple[Endpoint, ...]:
    with tempfile.TemporaryDirectory() as directory:
        registry = await build(Settings(data_dir=Path(directory)))
        await registry.close()
        return registry.routes.endpoints


def pages() -> dict[str, str]:
    """Return every generated page by its filename."""
    return {
        "settings.md": settings_page(),
        "routes.md": routes_page(asyncio.run(_endpoints())),
        "roles.md": roles_page(),
    }


def main() -> int:
    """Write the pages."""
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (REFERENCE / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
