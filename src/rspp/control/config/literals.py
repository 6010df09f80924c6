"""No secret is published with a spec by mistake: metadata that holds one is refused, and any other line that seems to is named.

Settings are refused by the spec's own check, which knows them by their names. Metadata alters nothing, so it can always be
written in another way; a prompt that speaks of passwords has a right to its words, and is only warned of. No message repeats
what was found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from rspp.spec.model import PipelineSpec
from rspp.spec.problem import Problem, Severity
from rspp.spec.provider_settings import HINT
from rspp.timeline.redaction.forms import Kind, without_secrets
from rspp.timeline.redaction.keywords import names_a_digest, names_a_secret, plain

CODE: Final = "literal_secret"
# Of a text with more of them, the first ones.
WARNED_MAX: Final = 20


def in_metadata(spec: PipelineSpec, text: str, file: str) -> list[Problem]:
    """Everything in its metadata that is a secret, or looks like one."""
    places: list[tuple[str, Mapping[str, object]]] = [("metadata", spec.metadata)]
    places += [(f"nodes.{name}.metadata", node.metadata) for name, node in spec.nodes.items()]
    return [
        Problem(
            code=CODE,
            severity=Severity.ERROR,
            file=file,
            line=_line_of(text, key),
            column=1,
            path=path,  # and not the key, which may be the secret itself
            message="metadata may hold no secret, and something in it looks like one",
            hint="Leave it out: everybody who may read the pipeline reads its metadata",
        )
        for path, metadata in places
        for key, value in metadata.items()
        if _is_secret(key, value)
    ]


def elsewhere(text: str, file: str) -> list[Problem]:
    """Lines that look as if they held one."""
    return [
        Problem(
            code=CODE,
            severity=Severity.WARNING,
            file=file,
            line=line,
            column=1,
            path="",
            message="this line looks as if a secret stood in it",
            hint=HINT,
        )
        for line, _ in zip(_lines(text), range(WARNED_MAX), strict=False)
    ]


def _lines(text: str) -> Iterator[int]:
    for number, line in enumerate(text.splitlines(), 1):
        if without_secrets(line, Kind.DIGEST) != plain(line):
            yield number


def _is_secret(key: str, value: object) -> bool:
    if names_a_secret(key, value) or without_secrets(key) != plain(key):
        return True
    kind = Kind.DIGEST if names_a_digest(key) else Kind.FREE
    said = str(value)
    return without_secrets(said, kind) != plain(said)


def _line_of(text: str, key: str) -> int:
    return next((number for number, line in enumerate(text.splitlines(), 1) if key in line), 1)
