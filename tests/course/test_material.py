"""No claim of the material is without a row, and no row without what it promises."""

from pathlib import Path

import pytest

from scaling.course.material import claims_table, questions_table

RESULTS = Path(__file__).parents[2] / "results"
COUNTS = {  # claims of the material by their subject
    "ARC": 16,
    "ICL": 3,
    "GEN": 5,
    "LIFE": 4,
    "MEM": 14,
    "FMT": 11,
    "SYS": 1,
    "DIST": 16,
    "SCL": 23,
    "DOM": 12,
    "HUB": 5,
    "QZ": 1,
}


@pytest.fixture(scope="module")
def claims(statements):
    return claims_table(statements).set_index("id")


def test_no_claim_of_the_material_is_without_a_row(claims):
    wanted = [f"{name}-{i:02}" for name, n in COUNTS.items() for i in range(1, n + 1)]
    assert sorted(claims.index) == sorted(wanted)
    assert claims.index.is_unique and (claims.claim != "").all()
    assert {*claims.outcome} == {"computed", "trained", "out of scope"}


def test_a_computed_claim_has_a_statement_and_a_trained_one_its_record(claims):
    computed = claims[claims.outcome == "computed"]
    assert (computed.reproduced + computed.differ > 0).all()
    assert ((computed.differ > 0) == (computed.right != "")).all()
    for row in claims[claims.outcome == "trained"].itertuples():
        assert (RESULTS / row.where / "README.md").is_file(), row
        assert row.note
    left_out = claims[claims.outcome == "out of scope"]
    assert (left_out.note != "").all() and (left_out["where"] == "").all()


def test_every_statement_belongs_to_a_claim(claims, statements):
    named = {name for names in statements.claim for name in names.split()}
    assert named and named <= {*claims.index}


@pytest.mark.parametrize(
    "claim, right",
    [
        ("DIST-13", "32 GB"),  # V100
        ("DOM-05", "51.27 %"),
        ("MEM-06", "12,000 GB"),  # "up to 500 times", 40,000 GB
        ("SCL-18", "4.667 x"),
        ("SCL-18", "1.167 x"),
        ("SCL-21", "0.04049 nats/token"),
        ("DOM-07", "4.774e+23 FLOPs"),
        ("MEM-08", "12 GB"),
        ("SCL-10", "2 x"),
    ],
)
def test_errors_of_the_material_are_named_with_the_right_value(claims, claim, right):
    assert right in claims.right[claim]


def test_questions_are_answered_by_statements(statements):
    found = questions_table(statements)
    assert len(found) >= 10 and (found.number != "-").all()
