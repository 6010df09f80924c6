"""Neighbouring releases read each other's records, so a record that changes its shape is another schema."""

from __future__ import annotations

from typing import Any

import msgspec

from rspp.contract.words import CORE_SCHEMA_VERSION
from tests.features.stored import BY_RECORDS, KEPT, _shape, shapes, told_to_records

WHY = (
    "Releases of one window read and write these records beside each other. An older one refuses a field that it does not "
    "know, and a newer one misses a field that must be there. Raise CORE_SCHEMA_VERSION with the change, so that the two do "
    "not meet; or, if no release has this shape yet: python -m tests.features.stored > tests/features/stored_records.json"
)


def test_no_record_of_the_shared_store_changes_its_shape_within_a_schema() -> None:
    kept: dict[str, Any] = msgspec.json.decode(KEPT.read_bytes())
    now = shapes()
    if kept["schema"] == CORE_SCHEMA_VERSION:
        changed = [name for name in {*kept["records"], *now} if kept["records"].get(name) != now.get(name)]
        assert sorted(changed) == [], WHY
    assert kept["schema"] == CORE_SCHEMA_VERSION, WHY


def test_every_kind_of_record_is_among_them() -> None:
    assert {one.__name__ for one in BY_RECORDS} | {"Proposal"} == told_to_records()
    assert {"Lease", "Member", "Document", "Pointer", "Proposal"} <= {
        name.rpartition(":")[2] for name in shapes()
    }


def test_a_field_more_a_field_less_and_another_type_are_other_shapes() -> None:
    def shape(fields: list[Any]) -> str:
        return _shape(msgspec.defstruct("Lease", fields, kw_only=True))

    plain: list[Any] = [("owner", str), ("epoch", int, 0)]
    others = [
        [*plain, ("zone", str, "")],
        plain[:1],
        [("owner", str), ("epoch", str, "")],
        [("owner", str), ("epoch", int)],
    ]
    assert len({shape(one) for one in [plain, *others]}) == 5
