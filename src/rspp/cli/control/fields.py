"""A field of a request as an option or argument of a command: its type, its words and whether it is due come from the struct."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import click
import msgspec
from msgspec import inspect

from rspp.contract.errors import RsppError
from rspp.control.operations.operation import TENANT_FIELD, Operation
from rspp.timeline.declared import bytes_of

TENANT_VARIABLE: Final = "RSPP_TENANT"
# Marks a field in its Meta: the text of a file that is named on the command line.
FROM_FILE: Final = "file"


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One field, as far as the command line has to know."""

    name: str
    kind: Any  # of msgspec.inspect, without its wrapping
    required: bool
    description: str = ""
    file: bool = False

    @property
    def repeated(self) -> bool:
        return isinstance(self.kind, inspect.VarTupleType | inspect.ListType | inspect.DictType)


def fields_of(operation: Operation) -> list[Field]:
    info = inspect.type_info(operation.request)
    assert isinstance(info, inspect.StructType)
    return [_field(one) for one in info.fields]


def _field(one: inspect.Field) -> Field:
    kind, words, extra = _plain(one.type)
    return Field(
        name=one.encode_name,
        kind=kind,
        required=one.required,
        description=words,
        file=bool(extra.get(FROM_FILE)),
    )


def _plain(kind: Any) -> tuple[Any, str, Mapping[str, Any]]:
    """The type itself, and what was said about it on the way."""
    words = ""
    extra: Mapping[str, Any] = {}
    while True:
        if isinstance(kind, inspect.Metadata):
            words = words or str((kind.extra_json_schema or {}).get("description", ""))
            extra = {**(kind.extra or {}), **extra}
            kind = kind.type
        elif isinstance(kind, inspect.UnionType):
            kind = next(one for one in kind.types if not isinstance(one, inspect.NoneType))
        else:
            return kind, words, extra


def parameter(field: Field, *, positional: bool) -> click.Parameter:
    """The field on the command line. A due tenant may come from the environment."""
    if field.file:
        return click.Argument([f"{field.name}"], type=click.Path(exists=True, dir_okay=False, path_type=Path))
    if positional:
        return click.Argument([field.name])
    flag = f"--{field.name.replace('_', '-')}"
    words = field.description or None
    if isinstance(field.kind, inspect.BoolType):
        return click.Option([flag, field.name], is_flag=True, default=None, help=words)
    tenant = field.name == TENANT_FIELD
    return click.Option(
        [flag, field.name],
        type=_click_type(field.kind),
        required=field.required,
        multiple=field.repeated,
        envvar=TENANT_VARIABLE if tenant else None,
        show_envvar=tenant,
        help=words,
        metavar="KEY=VALUE" if isinstance(field.kind, inspect.DictType) else None,
    )


def _click_type(kind: Any) -> Any:
    if isinstance(kind, inspect.IntType):
        return click.INT
    if isinstance(kind, inspect.FloatType):
        return click.FLOAT
    if isinstance(kind, inspect.EnumType):
        return click.Choice([one.value for one in kind.cls])
    if isinstance(kind, inspect.VarTupleType | inspect.ListType):
        return _click_type(_plain(kind.item_type)[0])
    return click.STRING


def value_of(field: Field, given: Any) -> Any:
    """What was given, as the request takes it; None if nothing was."""
    if given is None or (field.repeated and not given):
        return None
    if field.file:
        return _text(given, field.kind.max_length)
    if isinstance(field.kind, inspect.DictType):
        return dict(_pair(field, one) for one in given)
    if isinstance(field.kind, inspect.StructType | inspect.AnyType):
        return _json(field, given)
    if field.repeated:
        return list(given)
    return given


def _pair(field: Field, text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise click.UsageError(f"--{field.name.replace('_', '-')} takes KEY=VALUE, not {text!r}.")
    return name, _number_or_text(value, _plain(field.kind.value_type)[0])


def _number_or_text(value: str, kind: Any) -> Any:
    convert: Callable[[str], Any] = str
    if isinstance(kind, inspect.AnyType):
        return _as_json(value)
    if isinstance(kind, inspect.IntType):
        convert = int
    elif isinstance(kind, inspect.FloatType):
        convert = float
    try:
        return convert(value)
    except ValueError as error:
        raise click.UsageError(f"{value!r} is no number.") from error


def _as_json(value: str) -> Any:
    """Numbers, lists and the like as JSON has them; everything else is text."""
    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError:
        return value


def _json(field: Field, text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise click.UsageError(f"--{field.name.replace('_', '-')} takes JSON: {error}.") from error


def _text(path: Path, bytes_max: int) -> str:
    try:
        return bytes_of(path, "malformed", bytes_max).decode()
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{path} is not UTF-8.") from error
    except RsppError as error:
        raise click.UsageError(error.message) from error
