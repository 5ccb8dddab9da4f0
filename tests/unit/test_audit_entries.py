"""What an act leaves: one text for one entry, found by what it says."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from bonded.server.core.audit import Act, Kind, Outcome, canonical, columns_of, entry_of
from bonded.server.core.iam import ANONYMOUS, Principal

TEXTS = st.text(max_size=20)
PRINCIPALS = st.one_of(
    st.just(ANONYMOUS),
    st.builds(
        Principal,
        st.sampled_from(["user:ada@example.com", "principal://pool/Ada"]),
        TEXTS,
        st.lists(TEXTS, max_size=3).map(tuple),
    ),
)
ACTS = st.builds(
    Act,
    at=st.datetimes(timezones=st.just(UTC)),
    kind=st.sampled_from(Kind),
    method=st.sampled_from(["Python-InstallPackage", "google.iam.admin.v1.CreateRole", "x"]),
    resource=st.one_of(
        st.just("projects/my-project/locations/local/repositories/Python"), st.text(min_size=1)
    ),
    principal=PRINCIPALS,
    permission=st.sampled_from(["", "artifactregistry.repositories.downloadArtifacts"]),
    checked_on=TEXTS,
    address=TEXTS,
    client=TEXTS,
    details=st.fixed_dictionaries(
        {},
        optional={
            "package": TEXTS,
            "filename": st.sampled_from(["demo-1.0-py3-none-any.whl", "demo.txt", ""]),
            "version": TEXTS,
            "count": st.sampled_from([0, 1, True, False, 1.0]),
            "deltas": st.lists(st.dictionaries(TEXTS, TEXTS, max_size=2), max_size=2),
        },
    ),
)
OUTCOMES = st.builds(Outcome, st.sampled_from([0, 3, 7, 16]), TEXTS)


@given(ACTS, OUTCOMES)
def test_an_entry_has_one_text_and_is_found_by_what_it_says(act: Act, outcome: Outcome) -> None:
    entry = entry_of(act, outcome)

    assert canonical(json.loads(entry.text)) == entry.text
    assert columns_of(entry.text) == entry.columns


def test_yes_is_not_written_as_one() -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    acts = [Act(at, Kind.ACT, "x", "y", ANONYMOUS, details={"is": one}) for one in (1, True, 1.0)]

    written = [json.loads(entry_of(act).text)["protoPayload"]["metadata"] for act in acts]

    assert [repr(one["is"]) for one in written] == ["1", "True", "1.0"]
