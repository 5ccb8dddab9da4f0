"""Access as pure rules: default deny, order never matters, grants only add."""

from __future__ import annotations

from dataclasses import fields
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bonded.server.core.errors import Rejected
from bonded.server.core.grants import DENIED, Decision, Grants
from bonded.server.core.iam import (
    ANONYMOUS,
    ROLES,
    Binding,
    Permission,
    Policy,
    Principal,
    TokenLimits,
    is_reading,
)
from bonded.server.core.members import parse_member

ADA = Principal("user:ada@example.com")
BOB = Principal("serviceAccount:bob@p.iam.example")
READER = "roles/artifactregistry.reader"

MEMBERS = st.sampled_from([ADA.member, BOB.member, "allUsers", "allAuthenticatedUsers"])
BINDINGS = st.builds(
    Binding, st.sampled_from(sorted(ROLES)), st.lists(MEMBERS, max_size=3).map(tuple)
)
POLICIES = st.lists(
    st.builds(Policy, st.sampled_from("abc"), st.lists(BINDINGS, max_size=4).map(tuple)), max_size=3
)
PRINCIPALS = st.sampled_from([ADA, BOB, ANONYMOUS])
PERMISSIONS = st.sampled_from(sorted(Permission))


def is_allowed(policies: list[Policy], principal: Principal, permission: Permission) -> bool:
    return Grants.of(policies).decide(principal, permission).is_allowed


@given(POLICIES, PRINCIPALS, PERMISSIONS)
def test_a_decision_is_what_the_bindings_say_and_nothing_else(
    policies: list[Policy], principal: Principal, permission: Permission
) -> None:
    expected = any(
        member in principal.counts_as and permission in ROLES[binding.role]
        for policy in policies
        for binding in policy.bindings
        for member in binding.members
    )

    assert is_allowed(policies, principal, permission) == expected


@given(POLICIES, PRINCIPALS, PERMISSIONS)
def test_the_order_of_policies_and_bindings_never_matters(
    policies: list[Policy], principal: Principal, permission: Permission
) -> None:
    backward = [Policy(one.resource, one.bindings[::-1]) for one in reversed(policies)]

    assert is_allowed(policies, principal, permission) == is_allowed(
        backward, principal, permission
    )


@given(POLICIES, POLICIES, PRINCIPALS, PERMISSIONS)
def test_more_policies_only_allow_more(
    policies: list[Policy], more: list[Policy], principal: Principal, permission: Permission
) -> None:
    assert is_allowed(policies + more, principal, permission) >= is_allowed(
        policies, principal, permission
    )


@given(POLICIES, PERMISSIONS)
def test_what_anybody_may_everybody_may(policies: list[Policy], permission: Permission) -> None:
    if is_allowed(policies, ANONYMOUS, permission):
        assert is_allowed(policies, ADA, permission)


def test_a_decision_names_the_grant_that_allowed_it() -> None:
    policy = Policy("projects/p", (Binding(READER, (ADA.member,)),))

    allowed = Grants.of([policy]).decide(ADA, Permission.REPOSITORY_DOWNLOAD)
    denied = Grants.of([policy]).decide(ADA, Permission.REPOSITORY_UPLOAD)

    assert allowed == Decision(
        is_allowed=True, resource="projects/p", role=READER, member=ADA.member
    )
    assert denied == DENIED


GROUP = "group:team@example.com"
HERE = "projects/p/locations/l/repositories/r"


def test_what_a_principal_is_also_called_counts_as_it() -> None:
    member = Principal(ADA.member, also=(GROUP,))
    policy = Policy(HERE, (Binding(READER, (GROUP,)),))

    allowed = Grants.of([policy]).decide(member, Permission.REPOSITORY_DOWNLOAD)

    assert allowed.member == GROUP
    assert Grants.of([policy]).decide(ADA, Permission.REPOSITORY_DOWNLOAD) == DENIED


def test_a_federated_identity_is_not_among_all_authenticated_users() -> None:
    federated = Principal("principal://iam.example/pools/p/subject/s", also=("principalSet://p",))

    assert federated.counts_as == (federated.member, "principalSet://p", "allUsers")


LIMITS = st.builds(
    TokenLimits, st.lists(st.sampled_from("abc"), max_size=2).map(tuple), st.booleans()
)


@given(POLICIES, PERMISSIONS, LIMITS)
def test_limits_only_take_away(
    policies: list[Policy], permission: Permission, limits: TokenLimits
) -> None:
    limited = Principal(ADA.member, limits=limits)

    decision = Grants.of(policies, "a").decide(limited, permission)

    free = is_allowed(policies, ADA, permission)
    assert decision.is_allowed == (free and limits.allow(permission, "a"))
    if decision.is_allowed:
        assert not limits.repositories or "a" in limits.repositories
        assert not limits.read_only or is_reading(permission)


WIDE_LIMITS = st.builds(
    TokenLimits,
    st.lists(st.sampled_from("abc"), max_size=2).map(tuple),
    st.booleans(),
    st.booleans(),
    st.lists(st.sampled_from(["a", "b", "a/packages/x", "b/packages/y"]), max_size=2).map(tuple),
    st.none() | st.sampled_from([1.0, 2.0]),
)


@given(WIDE_LIMITS, WIDE_LIMITS, PERMISSIONS, st.sampled_from("abcd"), st.sampled_from("xyz"))
def test_what_narrower_limits_allow_both_allow_that_they_came_from(
    own: TokenLimits, asked: TokenLimits, permission: Permission, resource: str, package: str
) -> None:
    try:
        narrower = own.narrowed(asked)
    except Rejected:
        return

    for wider in (own, asked):
        assert narrower.allow(permission, resource) <= wider.allow(permission, resource)
        assert narrower.allow_upload(resource, package) <= wider.allow_upload(resource, package)


def test_no_limit_is_lost_by_asking_for_none() -> None:
    own = TokenLimits(
        ("a",), read_only=True, upload_only=True, uploads=("a/packages/x",), ends_at=9.0
    )

    assert all(getattr(own, one.name) for one in fields(own))
    assert own.narrowed(TokenLimits()) == own


def test_a_token_of_repositories_is_good_for_packages_and_not_for_what_is_granted_there() -> None:
    limits = TokenLimits(("a",))
    allowed = {one for one in Permission if limits.allow(one, "a")}

    assert {Permission.REPOSITORY_DOWNLOAD, Permission.REPOSITORY_UPLOAD} < allowed
    assert all(is_reading(one) or one is Permission.REPOSITORY_UPLOAD for one in allowed)
    assert not any(word in one.lower() for one in allowed for word in ("policy", "trusted"))


def test_reading_changes_nothing_and_hands_out_no_credential() -> None:
    reading = {one for one in Permission if is_reading(one)}

    assert Permission.REPOSITORY_DOWNLOAD in reading
    assert not any(
        word in one.rpartition(".")[2].lower()
        for one in reading
        for word in ("create", "update", "delete", "upload", "set", "token", "sign", "able")
    )


def test_roles_grow_from_reader_to_owner() -> None:
    names = ["reader", "writer", "repoAdmin", "admin"]
    sets = [ROLES[f"roles/artifactregistry.{name}"] for name in names] + [ROLES["roles/owner"]]

    assert all(small <= large for small, large in pairwise(sets))
    assert sets[-1] == set(Permission)


@pytest.mark.parametrize(
    ("text", "member"),
    [
        ("user:Ada@Example.com", "user:ada@example.com"),
        ("serviceAccount:B@p.iam.example", "serviceAccount:b@p.iam.example"),
        ("group:team@example.com", "group:team@example.com"),
        ("domain:example.com", "domain:example.com"),
        ("user:a.b+c%d=e~f_g-h@sub.example.com", "user:a.b+c%d=e~f_g-h@sub.example.com"),
        ("user:O'Brien@Example.com", "user:o'brien@example.com"),
        ("group:R&D!@example.com", "group:r&d!@example.com"),
        ("user:a_b.c#EXT#@corp.example", "user:a_b.c#ext#@corp.example"),
        ("user:Jörg@Bücher.example", "user:jörg@bücher.example"),
        ("user:अजय@डाटा.example", "user:अजय@डाटा.example"),
        ("allUsers", "allUsers"),
        ("allAuthenticatedUsers", "allAuthenticatedUsers"),
    ],
)
def test_members_are_compared_in_lower_case(text: str, member: str) -> None:
    assert parse_member(text) == member


@pytest.mark.parametrize(
    "text",
    [
        *("", "ada", "user:", "user:ada", "user:a@b@c", "user: a@b", "user:a@b\n", "allusers"),
        *("robot:a@b.c", "domain:localhost", "USER:a@b.c", "user:a:b@c"),
        *("user:a;id;@x.example", "user:$({touch,pwned})@x.example", "group:$(id)@x.example"),
        *("user:`id`@x.example", "user:a|b@x.example", "user:a/b@x.example", "user:a>b@x.example"),
        *("user:a*b@x.example", 'user:a"b@x.example', "user:a\\b@x.example", "user:a$b@x.example"),
        *(
            "user:a\0@x.example",
            "user:a\a@x.example",
            "user:a\x7f@x.example",
            "user:a\x9b@x.example",
        ),
        *("user:a\u202eb@x.example", "user:a\u200bb@x.example", "user:a@x\u2066.example"),
        *("group:-rf@x.example", "group:--all@x.example", "user:a@-x.example", "domain:-x.example"),
        *("user:.a@x.example", "user:a.@x.example", "user:a..b@x.example", "user:a@x.example."),
        *(
            "user:a@$(id).example",
            "domain:$(id).example",
            "domain:x.example;id",
            "user:*@x.example",
        ),
    ],
)
def test_any_other_member_is_refused(text: str) -> None:
    with pytest.raises(Rejected):
        parse_member(text)


POOL = "//iam.googleapis.com/projects/17/locations/global/workloadIdentityPools/ci-pool"


@pytest.mark.parametrize(
    "member",
    [
        f"principal:{POOL}/subject/repo:acme/Web:environment:Release candidate",
        f"principal:{POOL}/subject/ada@example.com",
        f"principalSet:{POOL}/group/Dev/Ops",
        f"principalSet:{POOL}/attribute.repository/acme/Web",
        f"principalSet:{POOL}/*",
    ],
)
def test_an_outside_identity_is_named_as_google_names_it_and_keeps_its_case(member: str) -> None:
    assert parse_member(member) == member


@pytest.mark.parametrize(
    "member",
    [
        f"principal:{POOL}/subject/",
        f"principal:{POOL}/group/dev",
        f"principalSet:{POOL}/subject/dev",
        f"principalSet:{POOL}/attribute.Name/x",
        f"principalSet:{POOL}/attribute.name",
        f"principalSet:{POOL}/*/x",
        f"principalSet:{POOL}",
        f"principal:{POOL}/subject/a\nb",
        f"principal:{POOL}/subject/{'x' * 1024}",
        f"principal:{POOL}/subject/x".replace("/17/", "/my-project/"),
        f"principal:{POOL}/subject/x".replace("googleapis", "example"),
    ],
)
def test_a_wrong_name_of_an_outside_identity_is_refused_with_the_right_form(member: str) -> None:
    with pytest.raises(Rejected, match="projects/NUMBER/locations/global/"):
        parse_member(member)


def test_a_binding_names_a_member_once() -> None:
    binding = Binding.parse(READER, ["user:a@b.c", "user:A@b.c", "allUsers"])

    assert binding.members == ("user:a@b.c", "allUsers")
