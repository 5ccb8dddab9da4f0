"""Grants with conditions, groups and custom roles: order never matters, more never takes away."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bonded.server.core.conditions import Condition
from bonded.server.core.grants import NAMES_FEW, Grants
from bonded.server.core.iam import ROLES, Binding, Permission, Policy, Principal

READER = "roles/artifactregistry.reader"
CUSTOM = "projects/p/roles/picker"
ADA = "user:ada@example.com"
DOWNLOAD = Permission.REPOSITORY_DOWNLOAD
GROUPS = [f"group:g{number}@example.com" for number in range(2 * NAMES_FEW)]
HOLDS = Condition("holds", "true")
FAILS = Condition("fails", "false")

BINDINGS = st.lists(
    st.builds(
        Binding,
        st.sampled_from([*sorted(ROLES), CUSTOM]),
        st.lists(
            st.sampled_from([ADA, "domain:example.com", "projectOwner:p", *GROUPS[:4]]), max_size=3
        ).map(tuple),
        st.sampled_from([None, HOLDS, FAILS]),
    ),
    max_size=6,
)
PRINCIPALS = st.builds(
    Principal, st.just(ADA), groups=st.sets(st.sampled_from(GROUPS)).map(frozenset)
)
PERMISSIONS = st.sampled_from(sorted(Permission))


def judge(condition: Condition) -> bool:
    """Judge as the conditions say themselves."""
    return condition.expression == "true"


def is_allowed(bindings: list[Binding], principal: Principal, permission: Permission) -> bool:
    """Decide on a project whose policy has these bindings."""
    custom = {CUSTOM: frozenset({DOWNLOAD})}
    grants = Grants.of([Policy("projects/p", tuple(bindings))], custom=custom)
    decisions = {grants.decide(principal, permission, judge).is_allowed for _ in range(2)}
    assert len(decisions) == 1
    return decisions.pop()


@given(
    BINDINGS.flatmap(lambda some: st.tuples(st.just(some), st.permutations(some))),
    PRINCIPALS,
    PERMISSIONS,
)
def test_the_order_of_bindings_never_matters(
    orders: tuple[list[Binding], list[Binding]], principal: Principal, permission: Permission
) -> None:
    one, other = orders

    assert is_allowed(one, principal, permission) == is_allowed(other, principal, permission)


@given(BINDINGS, BINDINGS, PRINCIPALS, PERMISSIONS)
def test_adding_a_binding_never_takes_access_away(
    bindings: list[Binding], more: list[Binding], principal: Principal, permission: Permission
) -> None:
    before = is_allowed(bindings, principal, permission)

    assert is_allowed([*bindings, *more], principal, permission) >= before


def test_only_conditions_on_which_the_answer_depends_are_looked_at() -> None:
    asked: list[str] = []

    def note(condition: Condition) -> bool:
        asked.append(condition.title)
        return True

    bindings = (
        Binding(READER, (ADA,), HOLDS),
        Binding("roles/bonded.uploader", (ADA,), FAILS),
        Binding(READER, ("user:bob@example.com",), FAILS),
    )
    conditional = Grants.of([Policy("projects/p", bindings)])
    free = Grants.of([Policy("projects/p", (*bindings, Binding(READER, ("allUsers",))))])

    assert free.decide(Principal(ADA), DOWNLOAD, note).is_allowed
    assert asked == []
    assert conditional.decide(Principal(ADA), DOWNLOAD, note).is_allowed
    assert asked == ["holds"]


def test_whoever_is_in_many_groups_is_decided_alike_each_time() -> None:
    many = Principal(ADA, groups=frozenset(GROUPS))
    grants = Grants.of([Policy("projects/p", (Binding(READER, (GROUPS[-1],)),))])

    assert [grants.decide(many, DOWNLOAD).is_allowed for _ in range(2)] == [True, True]
    assert not grants.decide(Principal(ADA), DOWNLOAD).is_allowed
