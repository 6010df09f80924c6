"""A table as a Parquet file, written as it comes, a group of rows at a time: pyarrow knows the format, this knows our columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from types import ModuleType, TracebackType
from typing import Any, BinaryIO, Final, Literal, NamedTuple, Self

from rspp.contract.errors import MisuseError

GROUP_ROWS: Final = 20_000

Kind = Literal["text", "integer", "number"]
_TYPES: Final[Mapping[Kind, str]] = {"text": "string", "integer": "int64", "number": "float64"}


class Column(NamedTuple):
    """A column's name and what its values are; a value may be missing where `optional`."""

    name: str
    kind: Kind
    optional: bool = False


def _pyarrow() -> ModuleType:
    """The library, which is the extra `parquet`: most who export want JSON lines, and it is the largest of all."""
    try:
        import_module("pyarrow.parquet")
        return import_module("pyarrow")
    except ModuleNotFoundError as error:
        raise MisuseError(
            "package_missing",
            "Parquet needs pyarrow: install it with `pip install 'rspp[parquet]'`, or export JSON lines",
        ) from error


class ParquetWriter:
    """Writes rows to an open file; what it holds in memory is at most one group of them."""

    def __init__(
        self, file: BinaryIO, columns: Sequence[Column], said: Mapping[str, str] | None = None
    ) -> None:
        self._arrow: Any = _pyarrow()
        self._columns = tuple(columns)
        self._schema = self._arrow.schema(
            [
                self._arrow.field(column.name, getattr(self._arrow, _TYPES[column.kind])(), column.optional)
                for column in columns
            ]
        )
        self._writer = self._arrow.parquet.ParquetWriter(
            file, self._schema, compression="zstd", store_schema=False
        )
        self._said = dict(said or {})
        self._rows: list[Sequence[object]] = []  # bounded: GROUP_ROWS

    def write(self, rows: Iterable[Sequence[object]]) -> None:
        """Add rows: values in the order of the columns."""
        for row in rows:
            self._rows.append(row)
            if len(self._rows) >= GROUP_ROWS:
                self._group()

    def say(self, key: str, value: str) -> None:
        """Something about the whole file, for whoever reads it."""
        self._said[key] = value

    def close(self) -> None:
        """Write what is left, and where everything is: before this it is no Parquet file."""
        if self._rows:
            self._group()
        self._writer.add_key_value_metadata(self._said)
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()

    def _group(self) -> None:
        values = [
            self._arrow.array(_plain(column, [row[number] for row in self._rows]), field.type)
            for number, (column, field) in enumerate(zip(self._columns, self._schema, strict=True))
        ]
        self._writer.write_table(self._arrow.Table.from_arrays(values, schema=self._schema), GROUP_ROWS)
        self._rows = []


def _plain(column: Column, values: list[object]) -> list[object]:
    """Values that Arrow takes: a text that no encoding has is written with a mark in its place."""
    if not column.optional and None in values:
        raise ValueError(f"column {column.name} has a missing value")
    if column.kind != "text":
        return values
    return [None if one is None else str(one).encode(errors="replace").decode() for one in values]
