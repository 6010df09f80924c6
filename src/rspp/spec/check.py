"""A tree of positions becomes typed values, and every field that does not fit is reported where it stands.

msgspec's own decoder stops at the first fault and knows no lines, so only its description of types is used: one table
maps each kind of type to the function that reads it. A field that fails is reported and then treated as not given;
a record that lacks a required field is left out of its collection.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches
from enum import Enum
from typing import Any, Final

import msgspec
from msgspec import UNSET, inspect

from rspp.spec.problem import Findings, Path, did_you_mean, nearest, shown
from rspp.spec.source import Mapping, Node, Scalar, Sequence, plain

# What a value of each kind is called in a message.
NAMES: Final[dict[type, str]] = {
    inspect.IntType: "an integer",
    inspect.FloatType: "a number",
    inspect.StrType: "text",
    inspect.BoolType: "true or false",
    inspect.VarTupleType: "a list",
    inspect.ListType: "a list",
    inspect.DictType: "a mapping",
    inspect.StructType: "a mapping",
    inspect.NoneType: "nothing",
}


def read(node: Node, kind: inspect.Type, path: Path, findings: Findings) -> Any:
    """The value of `node` as `kind`, or UNSET when it does not fit; the findings then say why."""
    if isinstance(node, Scalar) and node.refused:
        return UNSET
    if isinstance(kind, inspect.Metadata):
        overlay = (kind.extra or {}).get("overlay")
        return (
            read_overlay(node, overlay, path, findings) if overlay else read(node, kind.type, path, findings)
        )
    reader = _READERS.get(type(kind))
    assert reader is not None, f"no reader for {type(kind).__name__}: add it to the table"
    return reader(node, kind, path, findings)


def is_readable(kind: inspect.Type) -> bool:
    """Can a value of this type be read from a spec, at any depth?"""
    kind = bare(kind)
    if isinstance(kind, inspect.NoneType):
        return True
    if type(kind) not in _READERS:
        return False
    if isinstance(kind, inspect.StructType):
        return all(is_readable(field.type) for field in kind.fields)
    if isinstance(kind, inspect.UnionType):
        return all(map(is_readable, kind.types))
    if isinstance(kind, inspect.DictType):
        return is_readable(kind.key_type) and is_readable(kind.value_type)
    return not isinstance(kind, inspect.VarTupleType) or is_readable(kind.item_type)


def read_overlay(node: Node, struct: type[msgspec.Struct], path: Path, findings: Findings) -> Any:
    """Some of a record's fields, at any depth, as a flat table of dotted name to value. Nothing is required."""
    flat: dict[str, object] = {}
    _overlay(node, inspect.type_info(struct), path, "", flat, findings)
    return flat


def _overlay(
    node: Node, kind: inspect.Type, path: Path, name: str, flat: dict[str, object], findings: Findings
) -> None:
    kind = without_none(bare(kind))
    if isinstance(kind, inspect.StructType):
        fields = {field.encode_name: field.type for field in kind.fields}
    elif isinstance(kind, inspect.DictType) and isinstance(kind.key_type, inspect.EnumType):
        fields = {str(member.value): kind.value_type for member in kind.key_type.cls}
    else:
        value = read(node, kind, path, findings)
        if value is not UNSET:
            flat[name] = value
        return
    if not isinstance(node, Mapping):
        _mismatch(node, "a mapping", path, findings)
        return
    for key, item in node.entries.items():
        if key in fields:
            _overlay(item, fields[key], (*path, key), f"{name}.{key}".lstrip("."), flat, findings)
        else:
            unknown_key(key, fields, path, findings)


def unknown_key(key: str, known: Any, path: Path, findings: Findings) -> None:
    hint = did_you_mean(key, known)
    findings.error("unknown_key", (*path, key), f"there is no field '{key}' here", hint, at_key=True)


def bare(kind: inspect.Type) -> inspect.Type:
    return kind.type if isinstance(kind, inspect.Metadata) else kind


def without_none(kind: inspect.Type) -> inspect.Type:
    """The one other type of an optional; a wider union as it stands."""
    if isinstance(kind, inspect.UnionType):
        rest = [member for member in kind.types if not isinstance(bare(member), inspect.NoneType)]
        return bare(rest[0]) if len(rest) == 1 else kind
    return kind


def describe(node: Node) -> str:
    """What was found, in the words of who wrote it."""
    if isinstance(node, Mapping):
        return "a mapping"
    if isinstance(node, Sequence):
        return "a list"
    if node.value is None:
        return "nothing"
    if isinstance(node.value, str):
        return f"the text {node.value[:40]!r}"
    return f"{node.raw[:40]}"


def _mismatch(node: Node, wanted: str, path: Path, findings: Findings, hint: str = "") -> Any:
    if not hint and wanted == "text" and isinstance(node, Scalar) and node.value is not None:
        hint = f'Quote it: "{node.raw[:40]}"'
    findings.error("wrong_type", path, f"expected {wanted}, found {describe(node)}", hint)
    return UNSET


def _read_struct(node: Node, kind: inspect.StructType, path: Path, findings: Findings) -> Any:
    if not isinstance(node, Mapping):
        return _mismatch(node, "a mapping", path, findings)
    fields = {field.encode_name: field for field in kind.fields}
    strangers = [key for key in node.entries if key not in fields]
    for key in strangers:
        unknown_key(key, fields, path, findings)
    values: dict[str, object] = {}
    complete = True
    for key, field in fields.items():
        if key in node.entries:
            value = read(node.entries[key], field.type, (*path, key), findings)
            if value is not UNSET:
                values[field.name] = value
            complete &= value is not UNSET or not field.required
        elif field.required:
            complete = False
            # A misspelt field is one fault, not two.
            if not get_close_matches(key, strangers, n=1, cutoff=0.6):
                findings.error("missing_field", path, f"the field '{key}' is missing")
    return kind.cls(**values) if complete else UNSET


def _read_dict(node: Node, kind: inspect.DictType, path: Path, findings: Findings) -> Any:
    if not isinstance(node, Mapping):
        return _mismatch(node, "a mapping", path, findings)
    values: dict[object, object] = {}
    for key, item in node.entries.items():
        at = (*path, key)
        name = read(Scalar(key, key, item.at), kind.key_type, at, findings)
        value = read(item, kind.value_type, at, findings)
        if name is not UNSET and value is not UNSET:
            values[name] = value
    return values


def _read_list(node: Node, kind: inspect.VarTupleType, path: Path, findings: Findings) -> Any:
    if not isinstance(node, Sequence):
        return _mismatch(node, "a list", path, findings)
    if kind.min_length and len(node.items) < kind.min_length:
        findings.error("too_few", path, f"at least {kind.min_length} needed, found {len(node.items)}")
        return UNSET
    if kind.max_length is not None and len(node.items) > kind.max_length:
        findings.error("too_many", path, f"at most {kind.max_length} allowed, found {len(node.items)}")
        return UNSET
    values = [read(item, kind.item_type, (*path, index), findings) for index, item in enumerate(node.items)]
    return tuple(value for value in values if value is not UNSET)


def _read_union(node: Node, kind: inspect.UnionType, path: Path, findings: Findings) -> Any:
    members = [bare(member) for member in kind.types]
    if (
        isinstance(node, Scalar)
        and node.value is None
        and any(isinstance(m, inspect.NoneType) for m in members)
    ):
        return None
    options = [m for m in kind.types if not isinstance(bare(m), inspect.NoneType)]
    fitting = [m for m in options if _shape_fits(node, bare(m))]
    if len(options) == 1 or fitting:
        return read(node, (fitting or options)[0], path, findings)
    wanted = " or ".join(dict.fromkeys(NAMES.get(type(bare(m)), "a word") for m in options))
    return _mismatch(node, wanted, path, findings)


def _shape_fits(node: Node, kind: inspect.Type) -> bool:
    if isinstance(node, Mapping):
        return isinstance(kind, (inspect.StructType, inspect.DictType))
    if isinstance(node, Sequence):
        return isinstance(kind, (inspect.VarTupleType, inspect.ListType))
    exact = {str: inspect.StrType, bool: inspect.BoolType, int: inspect.IntType, float: inspect.FloatType}
    wanted = exact.get(type(node.value))
    return wanted is not None and isinstance(kind, wanted)


def _read_word(node: Node, words: list[str], path: Path, findings: Findings) -> Any:
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        return _mismatch(node, f"one of {', '.join(words)}", path, findings)
    if node.value not in words:
        hint = nearest(node.value, words)
        findings.error("unknown_word", path, f"'{node.value[:40]}' is not one of {', '.join(words)}", hint)
        return UNSET
    return node.value


def _read_enum(node: Node, kind: inspect.EnumType, path: Path, findings: Findings) -> Any:
    cls: type[Enum] = kind.cls
    word = _read_word(node, [str(member.value) for member in cls], path, findings)
    return word if word is UNSET else cls(word)


def _read_literal(node: Node, kind: inspect.LiteralType, path: Path, findings: Findings) -> Any:
    return _read_word(node, [str(value) for value in kind.values], path, findings)


def _read_number(
    node: Node, kind: inspect.IntType | inspect.FloatType, path: Path, findings: Findings
) -> Any:
    whole = isinstance(kind, inspect.IntType)
    value = node.value if isinstance(node, Scalar) else None
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        return _mismatch(node, NAMES[type(kind)], path, findings)
    if kind.ge is not None and value < kind.ge:
        findings.error("out_of_range", path, f"{value} is below the least allowed, {shown(kind.ge)}")
        return UNSET
    if kind.le is not None and value > kind.le:
        findings.error("out_of_range", path, f"{value} is above the most allowed, {shown(kind.le)}")
        return UNSET
    return value if whole else float(value)


def _read_text(node: Node, kind: inspect.StrType, path: Path, findings: Findings) -> Any:
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        return _mismatch(node, "text", path, findings)
    if kind.min_length and len(node.value) < kind.min_length:
        findings.error("empty_text", path, "the text may not be empty")
        return UNSET
    if kind.max_length is not None and len(node.value) > kind.max_length:
        findings.error("too_long", path, f"the text is longer than {kind.max_length} characters")
        return UNSET
    if kind.pattern is not None and not re.fullmatch(kind.pattern, node.value):
        findings.error("bad_name", path, f"'{node.value[:60]}' does not have the form {kind.pattern}")
        return UNSET
    return node.value


def _read_bool(node: Node, _kind: inspect.Type, path: Path, findings: Findings) -> Any:
    if not isinstance(node, Scalar) or not isinstance(node.value, bool):
        return _mismatch(node, "true or false", path, findings)
    return node.value


def _read_any(node: Node, _kind: inspect.Type, _path: Path, _findings: Findings) -> Any:
    return plain(node)


_READERS: Final[dict[type, Callable[..., Any]]] = {
    inspect.StructType: _read_struct,
    inspect.DictType: _read_dict,
    inspect.VarTupleType: _read_list,
    inspect.UnionType: _read_union,
    inspect.EnumType: _read_enum,
    inspect.LiteralType: _read_literal,
    inspect.IntType: _read_number,
    inspect.FloatType: _read_number,
    inspect.StrType: _read_text,
    inspect.BoolType: _read_bool,
    inspect.AnyType: _read_any,
}
