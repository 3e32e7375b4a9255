"""Every invalid resource of the table is refused, with an error at exactly the expected field."""

from __future__ import annotations

import pytest

from egressd.api.parse import parse_text
from egressd.api.resource import Severity
from tests.api.invalid.bases import BASES
from tests.api.invalid.mutate import as_text
from tests.api.invalid_resources import INVALID, InvalidCase


@pytest.mark.parametrize("invalid", INVALID, ids=lambda c: c.name[:90])
def test_an_invalid_resource_is_refused_with_its_field_path(invalid: InvalidCase) -> None:
    parsed = parse_text(invalid.text, "bad.yaml")
    assert parsed.resources == ()
    at_field = [problem for problem in parsed.errors if problem.field == invalid.field]
    assert any(invalid.fragment in str(problem) for problem in at_field), parsed.errors
    for problem in at_field:
        assert problem.place.file == "bad.yaml"
        assert 1 <= problem.place.line <= invalid.text.count("\n") + 1
        assert problem.found
        assert problem.expected


@pytest.mark.parametrize("base", BASES, ids=lambda b: b["metadata"]["name"])
def test_the_resources_that_the_table_changes_are_valid(base: dict[str, object]) -> None:
    parsed = parse_text(as_text(base), "good.yaml")
    assert parsed.errors == ()
    assert len(parsed.resources) == 1


def test_the_table_holds_at_least_500_resources_each_under_its_own_name() -> None:
    assert len({case.name for case in INVALID}) == len(INVALID) >= 500
    assert len({(case.field, case.text) for case in INVALID}) == len(INVALID)


def test_one_reading_finds_all_problems_of_all_documents() -> None:
    documents = [case.text for case in INVALID if case.field.startswith("spec.")][::40]
    parsed = parse_text("---\n".join(documents), "bad.yaml")
    assert parsed.resources == ()
    assert len(parsed.errors) >= len(documents) > 20
    assert all(problem.severity is Severity.ERROR for problem in parsed.errors)
