"""Settings of a provider are laid over each other layer by layer, and none of them may be a secret.

A spec is stored, diffed, recorded and shown; what must stay unknown is named in it by a reference, `env://NAME` or
`file:///PATH`, and looked up by the host when the provider is made. What was written by mistake is refused here, and
no message repeats it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from rspp.spec.problem import Findings, Path

Settings = dict[str, object]

USE: Final = "use"  # the kind of provider that an id stands for; without it the id is a kind itself
REFERENCE: Final = re.compile(r"(env://[A-Za-z_][A-Za-z0-9_]{0,127}|file:///[^\x00-\x1f]{1,1023})")
# Last words of a key whose value is a secret; `tokens_max` and `key_count` are none.
SECRET_WORDS: Final = frozenset(
    {"apikey", "auth", "authorization", "bearer", "credential", "credentials", "key", "keys", "passphrase"}
    | {"passwd", "password", "pwd", "secret", "secrets", "token", "tokens"}
)
# A login, or a parameter that names a secret, inside an address.
LOGIN: Final = re.compile(r"://[^/?#\s]*@")
SECRET_PARAMETER: Final = re.compile(
    r"[?&][^=&#]*(key|token|secret|password|signature|sig)=[^&#]", re.IGNORECASE
)
HINT: Final = "Name where it is kept: env://NAME or file:///PATH"


def laid_over(below: Mapping[str, object] | None, above: Mapping[str, object]) -> Settings:
    """Field by field, the upper one wins; with another `use` it is another provider and nothing is taken over."""
    if below is None or above.get(USE, below.get(USE)) != below.get(USE):
        return dict(above)
    return {**below, **above}


def are_sound(settings: Mapping[str, object], path: Path, findings: Findings) -> bool:
    """Is `use` a name, and is there no secret in it? Every fault is told."""
    faults = list(literal_secrets(settings, path))
    for at, message in faults:
        findings.error("literal_secret", at, message, HINT)
    kind = settings.get(USE)
    if USE in settings and not (isinstance(kind, str) and kind.strip()):
        findings.error("wrong_type", (*path, USE), "expected text, the kind of the provider")
        return False
    return not faults


def literal_secrets(value: object, path: Path, named: bool = False) -> Iterator[tuple[Path, str]]:
    """Where a secret stands as it is. `named`: a key above says that this is one."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from literal_secrets(inner, (*path, str(key)), named or names_a_secret(str(key)))
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for index, inner in enumerate(value):
            yield from literal_secrets(inner, (*path, index), named)
    elif value is None or isinstance(value, bool):
        return
    elif named and not (isinstance(value, str) and REFERENCE.fullmatch(value)):
        yield path, "a secret may not stand in a spec"
    elif isinstance(value, str) and (LOGIN.search(value) or SECRET_PARAMETER.search(value)):
        yield path, "an address may not carry a login or a key"


def names_a_secret(key: str) -> bool:
    """`api_key`, `accessToken`, `X-Api-Key`, `Authorization` do; `tokens_max`, `keyboard` do not."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", key)
    return bool(words) and words[-1].lower() in SECRET_WORDS
