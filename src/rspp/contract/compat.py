"""A new version of a schema must not break who speaks the old one, unless its major version says so.

`compare` walks two schemas side by side and names every difference by field and rule. Breaking is: a field that is gone
or newly due, a type or a set of words that got smaller, a bound that got tighter, an object that closed, a condition
that was added. Additions are fine. The walk knows the parts of JSON Schema that `contract.schema` writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from rspp.contract.errors import MisuseError

Schema = Mapping[str, Any]

# Keyword -> +1 when a larger value is tighter, -1 when a smaller one is.
_BOUNDS: Final[Mapping[str, int]] = {
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"), 1),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"), -1),
}
# Keywords of which only "the same" and "gone" are known to be no tighter.
_OPAQUE: Final = ("pattern", "not", "propertyNames", "uniqueItems", "multipleOf", "format", "contentEncoding")
_ANY: Final = "any"
# Set beside what a reference was replaced by; no keyword of JSON Schema.
_FROM: Final = "$from"
REFERENCE_CHAIN_MAX: Final = 16


class Change(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One difference: what kind it is, where, by which rule, whether it breaks peers, and in words."""

    kind: str
    path: str
    rule: str
    breaking: bool
    message: str


def compare(old: Schema, new: Schema) -> list[Change]:
    """Every difference, in the order of the old schema. With a raised major version none of them is breaking."""
    bumped = major(new) > major(old)
    found = _Comparison(old, new).walk(old, new, "")
    return [
        msgspec.structs.replace(change, breaking=False, message=f"{change.message} (a new major version)")
        if bumped and change.breaking
        else change
        for change in found
    ]


def compare_all(old: Mapping[str, Schema], new: Mapping[str, Schema]) -> dict[str, list[Change]]:
    """The differences of each schema by name; a schema that is gone breaks whoever reads it."""
    found = {}
    for name in sorted({*old, *new}):
        if name not in new:
            found[name] = [_change("removed", "", "schema_removed", f"the schema {name} is gone")]
        elif name not in old:
            found[name] = [_change("added", "", "schema_added", f"the schema {name} is new", breaking=False)]
        else:
            found[name] = compare(old[name], new[name])
    return found


def major(schema: Schema) -> int:
    """The major version in a schema's `$id`; 0 when it has none."""
    version = str(schema.get("$id", "")).rpartition(":")[2]
    digits = version.removeprefix("v").partition(".")[0]
    return int(digits) if digits.isdecimal() else 0


def _change(kind: str, path: str, rule: str, message: str, *, breaking: bool = True) -> Change:
    return Change(kind=kind, path=path, rule=rule, breaking=breaking, message=message)


class _Comparison:
    """Two documents, for their references, and the pairs of definitions that were compared already."""

    def __init__(self, old: Schema, new: Schema) -> None:
        self._old = old
        self._new = new
        self._compared: set[tuple[str, str]] = set()

    def walk(self, old: Schema, new: Schema, path: str) -> Iterator[Change]:
        olds, news = _options(old, self._old), _options(new, self._new)
        for key, option in olds.items():
            if key in news:
                yield from self._one(option, news[key], path)
            elif _ANY in news or (key == "integer" and "number" in news):
                yield _change("widened", path, "type_widened", f"{key} became wider", breaking=False)
            else:
                message = f"{key} is no longer allowed; {', '.join(news)} is"
                yield _change("narrowed", path, "type_narrowed", message)
        for key in news:
            if key not in olds and _ANY not in olds and not (key == "number" and "integer" in olds):
                yield _change("widened", path, "type_widened", f"{key} is allowed as well", breaking=False)

    def _one(self, old: Schema, new: Schema, path: str) -> Iterator[Change]:
        pair = (str(old.get(_FROM, "")), str(new.get(_FROM, "")))
        if all(pair):
            # A definition is compared once, where it is met first; so one that holds itself ends too.
            if pair in self._compared:
                return
            self._compared.add(pair)
        yield from _words(old, new, path)
        yield from _bounds(old, new, path)
        yield from self._properties(old, new, path)
        yield from self._rest(old, new, path)
        if "items" in old and "items" in new:
            yield from self.walk(old["items"], new["items"], f"{path}[]")
        yield from self._conditions(old, new, path)
        yield from _rows(old, new, path)

    def _properties(self, old: Schema, new: Schema, path: str) -> Iterator[Change]:
        before, after = old.get("properties", {}), new.get("properties", {})
        due_before, due_after = old.get("required", ()), new.get("required", ())
        for name, schema in before.items():
            where = f"{path}.{name}" if path else name
            if name not in after:
                rule = "required_field_removed" if name in due_before else "property_removed"
                yield _change("removed", where, rule, f"{name} is gone")
            else:
                yield from self.walk(schema, after[name], where)
        for name in after:
            if name not in before and name not in due_after:
                where = f"{path}.{name}" if path else name
                yield _change("added", where, "optional_field_added", f"{name} is new", breaking=False)
        yield from _due(due_before, due_after, after, path)

    def _rest(self, old: Schema, new: Schema, path: str) -> Iterator[Change]:
        """What holds for properties without a name of their own."""
        before, after = old.get("additionalProperties", True), new.get("additionalProperties", True)
        if before is not False and after is False:
            message = "fields that are not named are now refused"
            yield _change("closed", path, "additional_properties_closed", message)
        elif before is False and after is not False:
            message = "fields that are not named are now allowed"
            yield _change("opened", path, "additional_properties_opened", message, breaking=False)
        elif isinstance(after, Mapping):
            yield from self.walk(before if isinstance(before, Mapping) else {}, after, f"{path}.*")

    def _conditions(self, old: Schema, new: Schema, path: str) -> Iterator[Change]:
        before, after = _rules_of(old), _rules_of(new)
        for key, rule in before.items():
            if key not in after:
                yield _change("loosened", path, "condition_removed", f"no longer: {key}", breaking=False)
                continue
            for branch in ("then", "else"):
                yield from self.walk(rule.get(branch, {}), after[key].get(branch, {}), path)
        for key, rule in after.items():
            if key not in before:
                breaking = not self._only_new_words(rule, old)
                yield _change("tightened", path, "condition_added", f"now: {key}", breaking=breaking)

    def _only_new_words(self, rule: Schema, old: Schema) -> bool:
        """A condition on a word that did not exist before binds nobody who speaks the old version."""
        for name, test in rule.get("if", {}).get("properties", {}).items():
            known: set[str] = set()
            for option in _options(old.get("properties", {}).get(name, {}), self._old).values():
                known.update(_shown(word) for word in _enum(option) or ())
            if known and "const" in test and _shown(test["const"]) not in known:
                return True
        return False


def _options(schema: Schema, document: Schema) -> dict[str, Schema]:
    """What a value may be: kind of value -> its schema. Alternatives and references are opened."""
    schema = _resolved(schema, document)
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    # Alternatives beside properties are conditions on an object, not other types.
    if alternatives and "properties" not in schema:
        found: dict[str, Schema] = {}
        for one in alternatives:
            found.update(_options(one, document))
        return found
    kinds = schema.get("type")
    if isinstance(kinds, list):
        return dict.fromkeys(kinds, schema)
    tag = schema.get("properties", {}).get("type", {})
    if kinds == "object" and _enum(tag):
        return {f"object {'|'.join(map(str, _enum(tag) or ()))}": schema}
    if kinds is None and (words := _enum(schema)) is not None:
        return {_kind_of(word): schema for word in words}
    return {kinds or _ANY: schema}


def _resolved(schema: Schema, document: Schema) -> Schema:
    """What a reference stands for, with a note of where it came from."""
    for _ in range(REFERENCE_CHAIN_MAX):
        reference = schema.get("$ref")
        if reference is None:
            return schema
        target: Any = document
        for step in str(reference).removeprefix("#/").split("/"):
            target = target.get(step) if isinstance(target, Mapping) else None
        if not isinstance(target, Mapping):
            break
        schema = {_FROM: reference, **target}
    raise MisuseError(
        "schema_reference_broken", "it leads to no definition of this document", str(schema["$ref"])
    )


def _kind_of(word: object) -> str:
    names: Mapping[type, str] = {
        str: "string",
        bool: "boolean",
        int: "integer",
        float: "number",
        type(None): "null",
    }
    return names.get(type(word), _ANY)


def _enum(schema: Schema) -> Sequence[Any] | None:
    if "const" in schema:
        return (schema["const"],)
    words: Sequence[Any] | None = schema.get("enum")
    return words


def _shown(value: object) -> str:
    return msgspec.json.encode(value, order="sorted").decode()


def _words(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    before, after = _enum(old), _enum(new)
    if after is None:
        if before is not None:
            yield _change("widened", path, "enum_widened", "any word is allowed", breaking=False)
        return
    if before is None:
        yield _change("narrowed", path, "enum_narrowed", f"only {_shown(after)} are allowed")
        return
    gone = [word for word in before if word not in after]
    if gone:
        yield _change("narrowed", path, "enum_narrowed", f"no longer allowed: {_shown(gone)}")
    fresh = [word for word in after if word not in before]
    if fresh:
        yield _change("widened", path, "enum_widened", f"also allowed: {_shown(fresh)}", breaking=False)


def _bounds(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    for keyword in (*_BOUNDS, *_OPAQUE):
        before, after = old.get(keyword), new.get(keyword)
        if before == after:
            continue
        message = f"{keyword} was {_shown(before)} and is {_shown(after)}"
        if after is None:
            tighter = False
        elif before is None or keyword in _OPAQUE:
            tighter = True
        else:
            tighter = (after - before) * _BOUNDS[keyword] > 0
        kind, rule = ("tightened", "bound_tightened") if tighter else ("loosened", "bound_loosened")
        yield _change(kind, path, rule, message, breaking=tighter)


def _due(before: Sequence[str], after: Sequence[str], properties: Schema, path: str) -> Iterator[Change]:
    for name in after:
        if name not in before:
            where = f"{path}.{name}" if path else name
            yield _change("added", where, "required_field_added", f"{name} is now due")
    for name in before:
        if name not in after and name in properties:
            where = f"{path}.{name}" if path else name
            yield _change("loosened", where, "required_dropped", f"{name} is no longer due", breaking=False)


def _rules_of(schema: Schema) -> dict[str, Schema]:
    """The conditions on an object, each under the text of what it asks."""
    found: dict[str, Schema] = {}
    for rule in schema.get("allOf", ()):
        found[f"if {_shown(rule['if'])}" if "if" in rule else f"always {_shown(rule)}"] = rule
    if "oneOf" in schema and "properties" in schema:
        found[f"exactly one of {_shown(schema['oneOf'])}"] = {}
    return found


def _rows(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    """Alternatives of one object are the rows of a table: one more is room, one less is a refusal."""
    if "properties" not in old or not ("anyOf" in old or "anyOf" in new):
        return
    before = [_shown(row) for row in old.get("anyOf", ())]
    after = [_shown(row) for row in new.get("anyOf", ())]
    if not before:
        yield _change("tightened", path, "condition_added", "only some combinations are allowed")
    elif not after:
        yield _change("loosened", path, "condition_removed", "any combination is allowed", breaking=False)
    else:
        for row in before:
            if row not in after:
                yield _change("narrowed", path, "row_removed", f"no longer allowed: {row}")
        for row in after:
            if row not in before:
                yield _change("widened", path, "row_added", f"also allowed: {row}", breaking=False)
