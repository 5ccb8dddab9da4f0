"""How the tokens of CI systems say who they are, for trusted publishing (standards.md §2.8).

A recipe names the claims by which a publisher is found, and how each condition
is compared with a token. Conditions are plain: a claim, and the text it must be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from bonded.server.core.errors import Rejected
from bonded.server.core.federation import Publisher

CLAIMS_MAX = 20
CLAIM_LENGTH_MAX = 400
WORKFLOW = "workflow"
"""A condition that is no claim: the file of the workflow, which issuers put into a longer one."""

Workflow = Callable[[Publisher, Mapping[str, Any]], bool]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one kind of issuer says who publishes."""

    title: str
    issuer: str
    """The address of the public one; empty if there is none."""
    anchor: tuple[str, ...]
    """The claims that a publisher is found by, and so must name."""
    workflow: Workflow | None = None
    is_caseless: bool = False
    """Whether the anchor's names differ in case only by accident."""
    pinned: tuple[str, ...] = ()
    """Claims that stay when whoever owns the anchor's names gives them up, and another takes
    them: noted at the first use, and the same ever after."""


def _is_github_workflow(publisher: Publisher, claims: Mapping[str, Any]) -> bool:
    # `acme/web/.github/workflows/publish.yml@refs/heads/main`
    path = f"{claims.get('repository')}/.github/workflows/{publisher.claims[WORKFLOW]}@"
    return str(claims.get("job_workflow_ref", "")).startswith(path)


def _is_gitlab_workflow(publisher: Publisher, claims: Mapping[str, Any]) -> bool:
    # `gitlab.com/acme/web//.gitlab-ci.yml@refs/heads/main`
    host = urlsplit(publisher.issuer).netloc
    path = f"{host}/{claims.get('project_path')}//{publisher.claims[WORKFLOW]}@"
    return str(claims.get("ci_config_ref_uri", "")).startswith(path)


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "github": Recipe(
            "GitHub Actions",
            "https://token.actions.githubusercontent.com",
            ("repository",),
            _is_github_workflow,
            is_caseless=True,
            pinned=("repository_owner_id", "repository_id"),
        ),
        "gitlab": Recipe(
            "GitLab CI/CD",
            "https://gitlab.com",
            ("project_path",),
            _is_gitlab_workflow,
            is_caseless=True,
            pinned=("namespace_id", "project_id"),
        ),
        "buildkite": Recipe(
            "Buildkite", "https://agent.buildkite.com", ("organization_slug", "pipeline_slug")
        ),
        "activestate": Recipe(
            "ActiveState",
            "https://platform.activestate.com/api/v1/oauth/oidc",
            ("organization", "project"),
        ),
        "oidc": Recipe("any issuer of OpenID Connect", "", ("sub",)),
    }
)


def parse_claims(kind: str, claims: Mapping[str, object]) -> dict[str, str]:
    """Return the conditions of a publisher, if they suffice.

    Raises:
        Rejected: the recipe does not exist, or a condition is malformed or missing.
    """
    recipe = RECIPES.get(kind)
    if recipe is None:
        raise Rejected(f"The provider {kind[:80]!r} is unknown; use {', '.join(RECIPES)}")
    needed = (*recipe.anchor, WORKFLOW) if recipe.workflow else recipe.anchor
    missing = [name for name in needed if not claims.get(name)]
    if missing:
        raise Rejected(
            f"A publisher on {recipe.title} must say its {', '.join(missing)}",
            hint="Otherwise more of the issuer's tokens than you mean could publish.",
        )
    if len(claims) > CLAIMS_MAX:
        raise Rejected(f"A publisher may have {CLAIMS_MAX} claims")
    parsed = {}
    for name, value in claims.items():
        is_text = isinstance(value, str) and 0 < len(value) <= CLAIM_LENGTH_MAX
        if not is_text or not str(value).isprintable() or not 0 < len(name) <= CLAIM_LENGTH_MAX:
            raise Rejected(f"The claim {name[:80]!r} must be a text of 1 to {CLAIM_LENGTH_MAX}")
        if name == WORKFLOW and recipe.workflow is None:
            raise Rejected(f"{recipe.title} knows no workflow")
        parsed[name] = str(value)
    return parsed


def anchor_of(kind: str, claims: Mapping[str, Any]) -> str:
    """Return what a publisher of that kind is found by, "" if *claims* do not say it."""
    recipe = RECIPES[kind]
    values = [_plain(claims.get(name)) for name in recipe.anchor]
    if not all(values):
        return ""
    text = "/".join(values)
    return f"{kind}:{text.lower() if recipe.is_caseless else text}"


def anchors_of(claims: Mapping[str, Any]) -> tuple[str, ...]:
    """Return everything that a publisher might be found by, whose token has these claims."""
    found = (anchor_of(kind, claims) for kind in RECIPES)
    return tuple(anchor for anchor in found if 0 < len(anchor) <= CLAIM_LENGTH_MAX)


def mismatch(publisher: Publisher, claims: Mapping[str, Any]) -> str:
    """Return which condition of *publisher* a token with *claims* does not meet, "" if none."""
    recipe = RECIPES[publisher.kind]
    if anchor_of(publisher.kind, claims) != publisher.anchor:
        return ", ".join(recipe.anchor)
    for name, value in publisher.claims.items():
        if name == WORKFLOW and recipe.workflow is not None:
            if not recipe.workflow(publisher, claims):
                return f"{WORKFLOW} is not {value}"
        elif name not in recipe.anchor and _plain(claims.get(name)) != value:
            return f"{name} is not {value}"
    for name, value in publisher.pins.items():
        if _plain(claims.get(name)) != value:
            return (
                f"{name} is not {value}, as when it first published; if that has rightly changed, "
                "delete the publisher and create it again"
            )
    return ""


def pins_of(kind: str, claims: Mapping[str, Any]) -> dict[str, str]:
    """Return what a publisher of that kind is held to once it has shown *claims*."""
    said = {name: _plain(claims.get(name)) for name in RECIPES[kind].pinned}
    return {name: value for name, value in said.items() if 0 < len(value) <= CLAIM_LENGTH_MAX}


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int) else ""
