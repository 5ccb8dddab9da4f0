"""The recipes of docs/how-to/ci.md, with claims as the CI systems write them, through the exchange.

What a provider maps and asks for is read from the page: what does not work there fails here.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from bonded.cli.iam.providers import Mapping as MappingOption
from support.federating import POOLS, PROVIDERS, exchange
from support.issuer import FakeIssuer, running_issuer
from support.site import Site, open_site
from support.trusting import mint, numbered, trust

PAGE = (Path(__file__).parents[2] / "docs/how-to/ci.md").read_text()
SHA = "9f3182061f1e2cca4702c368cbc039b7dc9d4485"


@dataclass(frozen=True)
class Recipe:
    """One CI system: what its tokens say, and what the page makes of it."""

    claims: Mapping[str, object]
    subject: str
    member: str
    """The set that the page's grants would name, after the pool's name."""
    stranger: Mapping[str, object]
    """What a token of somebody else says instead."""
    publisher: tuple[str, Mapping[str, str]]
    has_uploaded_keys: bool = False


GITHUB = {
    "sub": "repo:acme/web:environment:release",
    "environment": "release",
    "ref": "refs/heads/main",
    "sha": SHA,
    "repository": "acme/web",
    "repository_owner": "acme",
    "actor_id": "12",
    "repository_visibility": "private",
    "repository_id": "74",
    "repository_owner_id": "65",
    "run_id": "9876543210",
    "run_number": "10",
    "run_attempt": "2",
    "runner_environment": "github-hosted",
    "actor": "ada",
    "workflow": "publish",
    "workflow_ref": "acme/web/.github/workflows/publish.yml@refs/heads/main",
    "workflow_sha": SHA,
    "head_ref": "",
    "base_ref": "",
    "event_name": "workflow_dispatch",
    "ref_type": "branch",
    "ref_protected": "true",
    "job_workflow_ref": "acme/web/.github/workflows/publish.yml@refs/heads/main",
    "job_workflow_sha": SHA,
}
GITLAB = {
    "sub": "project_path:acme/web:ref_type:branch:ref:main",
    "namespace_id": "72",
    "namespace_path": "acme",
    "project_id": "20",
    "project_path": "acme/web",
    "user_id": "1",
    "user_login": "ada",
    "user_email": "ada@example.com",
    "user_access_level": "developer",
    "user_identities": [{"provider": "github", "extern_uid": "2435223452345"}],
    "pipeline_id": "574",
    "pipeline_source": "push",
    "job_id": "302",
    "ref": "main",
    "ref_type": "branch",
    "ref_path": "refs/heads/main",
    "ref_protected": "true",
    "groups_direct": ["acme", "acme/tools"],
    "environment": "release",
    "environment_protected": "false",
    "deployment_tier": "production",
    "environment_action": "start",
    "runner_id": 1,
    "runner_environment": "self-hosted",
    "sha": SHA,
    "project_visibility": "private",
    "ci_config_ref_uri": "HOST/acme/web//.gitlab-ci.yml@refs/heads/main",
    "ci_config_sha": SHA,
}
BUILDKITE = {
    # Longer than the 127 bytes of a subject.
    "sub": f"organization:acme:pipeline:web:ref:refs/heads/ada/faster-wheels-for-all:commit:{SHA}:"
    "step:build-and-publish",
    "organization_slug": "acme",
    "organization_id": "0184990a-477b-4fa8-9968-496074483cee",
    "pipeline_slug": "web",
    "pipeline_id": "0184990a-4782-42b5-afc1-16715b10b8ff",
    "build_number": 1,
    "build_branch": "main",
    "build_tag": None,
    "build_commit": SHA,
    "build_source": "webhook",
    "step_key": "build-and-publish",
    "job_id": "0184990a-477b-4fa8-9968-496074483k77",
    "agent_id": "0184990a-4782-42b5-afc1-16715b10b1l0",
    "cluster_id": "0184990a-4782-42b5-afc1-16715b10b2m1",
    "runner_environment": "self-hosted",
}
KUBERNETES = {
    "sub": "system:serviceaccount:ci:builder",
    "kubernetes.io": {
        "namespace": "ci",
        "node": {"name": "node-1", "uid": "646e7c5e-32d6-4d42-9dbd-e504e6cbe6b1"},
        "pod": {"name": "builder-7d9c5b", "uid": "5e0bd49b-f040-43b0-99b7-22765a53f7f3"},
        "serviceaccount": {"name": "builder", "uid": "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798"},
        "warnafter": 1_795_341_600,
    },
}
RECIPES = {
    "GitHub Actions": Recipe(
        GITHUB,
        "repo:acme/web:environment:release",
        "attribute.repository/acme/web",
        {"repository_owner": "evil", "repository": "evil/web", "sub": "repo:evil/web:x"},
        ("github", {"repository": "acme/web", "workflow": "publish.yml", "environment": "release"}),
    ),
    "GitLab": Recipe(
        GITLAB,
        "project_path:acme/web:ref_type:branch:ref:main",
        "attribute.project/acme/web",
        {"namespace_path": "evil", "project_path": "evil/web"},
        ("gitlab", {"project_path": "acme/web", "workflow": ".gitlab-ci.yml"}),
    ),
    "Kubernetes": Recipe(
        KUBERNETES,
        "system:serviceaccount:ci:builder",
        "attribute.namespace/ci",
        {
            "kubernetes.io": {"namespace": "evil", "serviceaccount": {"name": "builder"}},
            "sub": "system:serviceaccount:evil:builder",
        },
        ("oidc", {"sub": "system:serviceaccount:ci:builder"}),
        has_uploaded_keys=True,
    ),
    "Buildkite": Recipe(
        BUILDKITE,
        "acme/web",
        "attribute.pipeline/web",
        {"organization_slug": "evil"},
        ("buildkite", {"organization_slug": "acme", "pipeline_slug": "web"}),
    ),
}


@pytest.fixture(name="site")
async def _site(tmp_path: Path) -> AsyncIterator[Site]:
    """A registry that may ask issuers on loopback."""
    async with open_site(tmp_path / "data", private_issuers=True) as site:
        yield site


@pytest.fixture(name="issuer")
def _issuer(site: Site) -> Iterator[FakeIssuer]:
    with running_issuer(site.clock) as issuer:
        yield issuer


def written(title: str) -> tuple[dict[str, str], str]:
    """Return the attribute mapping and the condition of a recipe as the page has them."""
    pull = PAGE[PAGE.index("\n## Pull") :]
    # GitHub's is the example that the section begins with.
    start = 0 if title == "GitHub Actions" else pull.index(f"\n### {title}")
    mapping = re.compile(r'--attribute-mapping="([^"]+)"').search(pull, start)
    condition = re.compile(r'--attribute-condition="([^"]+)"').search(pull, start)
    assert mapping is not None
    assert condition is not None
    return MappingOption().convert(mapping[1], None, None), condition[1]


@pytest.mark.parametrize("title", RECIPES)
async def test_a_recipe_lets_in_the_jobs_that_it_says_and_no_others(
    site: Site, issuer: FakeIssuer, title: str
) -> None:
    recipe, (mapping, condition) = RECIPES[title], written(title)
    oidc = {"issuerUri": issuer.url}
    if recipe.has_uploaded_keys:
        keys = [key.as_dict(private=False) for key in issuer.keys]
        oidc["jwksJson"] = json.dumps({"keys": keys})
    await site.call("POST", f"{POOLS}?workloadIdentityPoolId=ci-pool", {})
    body = {"attributeMapping": mapping, "attributeCondition": condition, "oidc": oidc}
    made = await site.call("POST", f"{PROVIDERS}?workloadIdentityPoolProviderId=jobs", body)
    assert made.status_code == 200, made.text
    name = made.json()["response"]["name"]
    pool = f"iam.googleapis.com/{name.partition('/providers/')[0]}"
    await site.grant("roles/artifactregistry.reader", f"principalSet://{pool}/{recipe.member}")
    issuer.claims = {**recipe.claims, "aud": [f"https://iam.googleapis.com/{name}"]}

    let_in = await exchange(site, f"//iam.googleapis.com/{name}", issuer.sign())
    issuer.claims |= recipe.stranger
    kept_out = await exchange(site, f"//iam.googleapis.com/{name}", issuer.sign())

    assert let_in.status_code == 200, let_in.text
    token = let_in.json()["access_token"]
    told = (await site.http.post("/v1/introspect", data={"token": token})).json()
    assert told["sub"] == f"principal://{pool}/subject/{recipe.subject}"
    assert (await site.get(f"{site.repository}/simple/", token)).status_code == 200
    assert kept_out.status_code == 400
    assert "refused by the attribute condition" in kept_out.json()["error_description"]
    assert bool(issuer.requests) != recipe.has_uploaded_keys


@pytest.mark.parametrize("title", RECIPES)
async def test_a_job_publishes_with_all_that_its_token_says(
    site: Site, issuer: FakeIssuer, title: str
) -> None:
    recipe = RECIPES[title]
    kind, conditions = recipe.publisher
    await trust(site, issuer, dict(conditions), kind)
    host = issuer.url.removeprefix("http://")
    issuer.claims = json.loads(json.dumps(dict(recipe.claims)).replace("HOST", host))
    issuer.claims["aud"] = "registry.test"

    let_in = await mint(site, numbered(issuer))
    issuer.claims |= recipe.stranger
    kept_out = await mint(site, numbered(issuer))

    assert (let_in.status_code, kept_out.status_code) == (200, 422), let_in.text
    assert kept_out.json()["errors"][0]["code"] == "invalid-publisher"
