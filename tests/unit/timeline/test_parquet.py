"""A table that is written here is read by somebody else's reader, value by value."""

from __future__ import annotations

import io
from typing import Any

import pyarrow.parquet  # type: ignore[import-untyped]
import pytest

from rspp.timeline import parquet
from rspp.timeline.parquet import Column, ParquetWriter

COLUMNS = (
    Column("id", "integer"),
    Column("share", "number", optional=True),
    Column("said", "text", optional=True),
)
Values = list[tuple[int, float | None, str | None]]


def read(values: Values, said: dict[str, str] | None = None) -> Any:
    file = io.BytesIO()
    with ParquetWriter(file, COLUMNS, said) as writer:
        writer.write(values)
    return pyarrow.parquet.read_table(io.BytesIO(file.getvalue()))


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([], id="no rows"),
        pytest.param([(1, 0.5, "a")], id="one"),
        pytest.param([(1, None, None), (2, None, None)], id="nothing there"),
        pytest.param(
            [(n, None if n % 3 else n / 7, None if n % 2 else "x" * n) for n in range(500)], id="holes"
        ),
        pytest.param(
            [
                (-(2**63), float("inf"), "grüß \U0001f600\0\n\"'"),
                (2**63 - 1, -0.0, ""),
                (0, 1e-300, "\u2028"),
            ],
            id="edges",
        ),
        pytest.param([(n, 1.0, "same") for n in range(70_000)], id="long runs"),
    ],
)
def test_every_value_comes_back(values: Values) -> None:
    table = read(values)
    assert table.column_names == ["id", "share", "said"]
    assert table.num_rows == len(values)
    assert [tuple(row.values()) for row in table.to_pylist()] == values


def test_rows_are_written_in_groups_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "GROUP_ROWS", 10)
    file = io.BytesIO()
    with ParquetWriter(file, COLUMNS) as writer:
        writer.write([(n, None, "x") for n in range(25)])
        assert len(file.getvalue()) > 4  # two groups are out already
    found = pyarrow.parquet.ParquetFile(io.BytesIO(file.getvalue()))
    assert [found.metadata.row_group(n).num_rows for n in range(found.num_row_groups)] == [10, 10, 5]
    assert found.read().column("id").to_pylist() == list(range(25))


def test_what_is_said_of_the_whole_file_is_in_it() -> None:
    assert read([], {"format": "v1", "täg": "ü"}).schema.metadata == {
        b"format": b"v1",
        "täg".encode(): "ü".encode(),
    }


def test_a_value_that_must_be_there_and_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="id"):
        read([(None, 1.0, "x")])  # type: ignore[list-item]


def test_a_text_that_no_encoding_has_is_written_with_a_mark_in_its_place() -> None:
    assert read([(1, None, "a\ud800b")]).column("said").to_pylist() == ["a?b"]
