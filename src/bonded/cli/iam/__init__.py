"""`bonded iam`: who may sign in."""

from __future__ import annotations

import click

from bonded.cli.grammar import Group

PLACES = {
    "roles": "bonded.cli.iam.roles:roles",
    "service-accounts": "bonded.cli.iam.service_accounts:service_accounts",
    "workload-identity-pools": "bonded.cli.iam.pools:workload_identity_pools",
}


@click.group(cls=Group, places=PLACES)
def iam() -> None:
    """Manage identities."""
