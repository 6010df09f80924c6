"""How secrets are written: a table of shapes, each with what it must look like to count. A shape yields where the secret stands.

Every repetition has a limit, because a file may come from anywhere and a search must end.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from rspp.cli.verify.searched.drawn import bits, is_body, is_value, stands_in
from rspp.timeline.redaction.forms import formed
from rspp.timeline.redaction.keywords import names_a_digest, names_a_secret

Place = tuple[int, int]
KEY_CHARACTERS_MAX: Final = 16_384
KEY_CHARACTERS_MIN: Final = 40
PASSWORD_BITS_MIN: Final = 4.0  # a key's own digits have nearly six


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """One way to write a secret."""

    kind: str
    hint: str  # a text without these words, in small letters, has none of them; empty: always looked for
    find: Callable[[str], Iterator[Place]]
    anywhere: bool = True  # in files that are no text, too


def _by(
    pattern: str, judge: Callable[[re.Match[str]], bool], group: int | str = 0
) -> Callable[[str], Iterator[Place]]:
    compiled = re.compile(pattern)

    def find(text: str) -> Iterator[Place]:
        for match in compiled.finditer(text):
            if judge(match):
                yield match.span(group)

    return find


# --- keys ------------------------------------------------------------------------------------------------------


def _is_key(match: re.Match[str]) -> bool:
    """More than its first and last line: a test that only names the form has nothing between."""
    digits = re.sub(r"\\[rnt]|[^A-Za-z0-9+/]", "", match["body"])
    return len(digits) >= KEY_CHARACTERS_MIN and bits(digits) >= PASSWORD_BITS_MIN


def _is_wrapped_key(match: re.Match[str]) -> bool:
    digits = re.sub(r"\s|\\n", "", match[0])
    try:
        meant = base64.b64decode(digits[: len(digits) // 4 * 4])
    except (binascii.Error, ValueError):
        return False
    return b"PRIVATE KEY" in meant and len(meant) > KEY_CHARACTERS_MIN


_PEM: Final = (
    r"-----BEGIN (?:[A-Z0-9]{1,16} ){0,4}PRIVATE KEY(?: BLOCK)?-----"
    rf"(?P<body>[\sA-Za-z0-9+/=,:;\"'.()\\-]{{{KEY_CHARACTERS_MIN},{KEY_CHARACTERS_MAX}}}?)(?:-----END|\Z|(?=-----BEGIN))"
)
_JWK: Final = r"\"(?:d|k)\\?\"\s{0,4}:\s{0,4}\\?\"(?P<body>[A-Za-z0-9_-]{22,2048})\\?\""

# --- tokens of one maker ---------------------------------------------------------------------------------------

_TOKENS: Final = (
    r"(?<![A-Za-z0-9_])(?:"
    r"(?:AKIA|ASIA|ABIA|ACCA)(?P<a>[A-Z0-9]{16})(?![A-Z0-9])"
    r"|(?:gh[pousr]_|github_pat_|gl(?:pat|ptt|dt|rt|cbt|ft|soat|agent|imt)-|glsa_|glc_|hf_|r8_|gsk_|xai-|nvapi-|tvly-|fw_"
    r"|sk-(?:[a-z]{2,10}-){0,2}|[spr]k_(?:live_|test_|prod_)?|whsec_|npm_|pypi-|dckr_(?:pat|oat)_|do[opr]_v1_|shp(?:at|ss|ca|pa)_"
    r"|lin_api_|sntry[su]_|sbp_|NRAK-|PMAK-|HRKU-|CFPAT-|CLOJARS_|GOCSPX-|ya29\.|figd_|ntn_|secret_|rubygems_|pscale_tkn_"
    r"|dp\.(?:pt|st|ct|sa)\.|hv[sbr]\.|sq0[a-z]{3}-|shippo_(?:live|test)_|EZ[AT]K|FLWSECK_TEST-|PRIVATE-|ops_|tskey-[a-z]{2,12}-"
    r"|lsv2_(?:pt|sk)_|key-|pat-|co_|dapi|AIza|EAAC|AGE-SECRET-KEY-1|A3-|rnd_|atlasv1\.|xkeysib-|pul-|vercel_|sl\.)(?P<b>[A-Za-z0-9_.=-]{16,512})"
    r"|(?:xox[a-z]|xapp)-(?P<c>[A-Za-z0-9-]{16,256})"
    r"|SG\.(?P<d>[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,128})"
    r"|(?P<e>[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_-]{40,128})"
    r"|S[UAONC](?P<f>[A-Z2-7]{56})(?![A-Z0-9])"  # a seed of NATS
    r"|(?P<g>\d{8,10}:A[A-Za-z0-9_-]{34})(?![A-Za-z0-9_-])"
    r"|(?P<h>[MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,64})"
    r"|SK(?P<i>[0-9a-f]{32})(?![0-9a-f])"
    r"|(?P<j>[0-9a-f]{32}-us\d{1,2})(?![0-9a-z])"
    r"|(?P<k>pat[A-Za-z0-9]{14}\.[0-9a-f]{64})"
    r")"
)
_HOOKS: Final = (
    r"(?:hooks\.slack\.com/(?:services|workflows)/|discord(?:app)?\.com/api/webhooks/\d{5,32}/|webhook\.office\.com/webhookb2/)"
    r"(?P<body>[A-Za-z0-9_/@-]{20,256})"
)
_JWT: Final = (
    r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,2048}\.eyJ[A-Za-z0-9_-]{4,8192}\.(?P<body>[A-Za-z0-9_-]{16,1024})"
)


def _is_token(match: re.Match[str]) -> bool:
    body = match[match.lastgroup or 0]
    # A long name parted by signs has no stretch that was drawn.
    return is_body(body) and any(is_body(one) and len(one) >= 10 for one in re.split(r"[_.=-]", body))


# The forms of the platform's own logs are made for short lines; in a whole tree only these words can have one.
_CANDIDATE: Final = re.compile(r"(?<![A-Za-z0-9_])[A-Za-z0-9$][A-Za-z0-9_.:$@/+=-]{17,511}")
_DIGIT: Final = re.compile(r"\d")


def _formed(text: str) -> Iterator[Place]:
    """The forms that the platform keeps out of its own logs and recordings."""
    for match in _CANDIDATE.finditer(text):
        for start, end in formed(match[0]) if _DIGIT.search(match[0]) else ():
            if is_value(match[0][start:end]):
                yield match.start() + start, match.start() + end


# --- in addresses and headers ----------------------------------------------------------------------------------

_URL: Final = (
    r"(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]{1,20}://[^/\s:@\"'`<>{}$]{0,128}:"
    r"(?P<body>(?:[^/\s@\"'`<>{}$\\]|@(?=[^/\s@\"'`<>,]{1,128}@)){3,256})@[A-Za-z0-9\[_.-]"
)
_QUERY: Final = r"[?&;](?P<name>[A-Za-z][A-Za-z0-9_.-]{1,40})=(?P<body>[A-Za-z0-9._~+/%=-]{12,2048})"
_HEADER: Final = r"(?i:\b(?:bearer|token|apikey|dpop)[ :]{1,2})(?P<body>[A-Za-z0-9._~+/=-]{16,4096})"
_BASIC: Final = r"(?i:\bbasic )(?P<body>[A-Za-z0-9+/]{8,512}={0,2})(?![A-Za-z0-9+/=])"
_CONNECTION: Final = (
    r"(?i:\b(?:server|host|data source|accountname|endpoint|user id|uid)\s{0,2}=[^;\"'\n]{1,256};"
    r"[^\"'\n]{0,512}?\b(?:password|pwd|accountkey|sharedaccesskey)\s{0,2}=\s{0,2})(?P<body>[^;\"'\s]{4,256})"
)
# Passwords that nobody has: what a page shows where one would stand.
_SHOWN: Final = frozenset(
    {
        "password",
        "passwd",
        "pass",
        "pwd",
        "secret",
        "token",
        "key",
        "pw",
        "user",
        "xxx",
        "abc",
        "***",
        "foo",
        "bar",
        "port",
    }
)


def _is_password(match: re.Match[str]) -> bool:
    word = match["body"]
    return word.lower() not in _SHOWN and not stands_in(word) and not word.isdigit()


def _is_named(match: re.Match[str]) -> bool:
    return names_a_secret(match["name"], match["body"]) and is_value(match["body"].rstrip("%=."))


def _is_basic(match: re.Match[str]) -> bool:
    try:
        meant = base64.b64decode(match["body"], validate=True).decode()
    except (binascii.Error, ValueError):
        return False
    user, sign, word = meant.partition(":")
    return bool(sign and user and word) and meant.isprintable() and word not in _SHOWN and not stands_in(word)


# --- under a name ----------------------------------------------------------------------------------------------

_NAME: Final = r"(?<![\w.-])(?P<name>[A-Za-z_][\w.-]{1,63})"
_QUOTED: Final = _NAME + (
    r"\\?[\"'\]]{0,3}(?:: ?[A-Za-z][\w.\[\]| ]{0,40})?\s{0,4}(?::=|=>|[:=])\s{0,4}(?:\(\s{0,40})?[bruf]{0,2}\\?(?P<quote>[\"'`])(?P<body>[^\"'`\s\\]{8,1024})\\?(?P=quote)"
)
_PASSED: Final = r"[\"'](?P<name>[A-Za-z_][\w.-]{1,63})[\"'],\s{0,4}[\"'](?P<body>[^\"'\s\\]{8,1024})[\"']"
_PLAIN: Final = (
    r"(?m)^[ \t]{0,64}(?:(?:export|set|setx|ENV|ARG|-|#|//|;)[ \t]{1,4}){0,3}(?P<name>[A-Za-z_][\w.-]{1,63})[ \t]{0,4}[:=][ \t]{0,4}"
    r"(?P<body>[^\s\"'#,;(){}\[\]]{8,1024})[ \t]{0,8}(?:#.{0,200})?$"
)
# The value on a line of its own; after a name and a blank; in a header; in a default; in an attribute.
_BLOCK: Final = (
    r"(?m)^[ \t]{0,64}(?:-[ \t]{1,4})?[\"']?(?P<name>[A-Za-z_][\w.-]{1,63})[\"']?[ \t]?:[ \t]{0,4}[|>][+-]?\d?[ \t]{0,4}\r?\n"
    r"[ \t]{1,64}(?P<body>[^\s\"'#]{8,1024})[ \t]{0,8}\r?$"
)
_SPACED: Final = r"(?m)^[ \t]{0,16}(?:ENV|ARG|env|setenv|--env)[ \t]{1,4}(?P<name>[A-Za-z_][\w.-]{1,63})[ \t]{1,4}[\"']?(?P<body>[^\s\"'=]{8,1024})"
_HEADED: Final = r"[\"'](?P<name>[A-Za-z][\w-]{2,40}):[ ]{0,2}(?P<body>[^\s\"']{8,1024})[\"']"
_DEFAULT: Final = r"\bvariable\s{1,4}\"(?P<name>[A-Za-z_][\w.-]{1,63})\"\s{0,4}\{[^{}]{0,400}?\bdefault\s{0,16}=\s{0,4}\"(?P<body>[^\"\s]{8,1024})\""
_ATTRIBUTE: Final = r"\b(?:key|name)=[\"'](?P<name>[A-Za-z_][\w.-]{1,63})[\"']\s{1,16}(?:value|content)=[\"'](?P<body>[^\"'\s]{8,1024})[\"']"
_FLAG: Final = r"(?<![\w-])--?(?P<name>[A-Za-z][\w-]{1,40})[ =][\"']?(?P<body>[^\s\"'`]{8,1024})"
_LISTED: Final = r"name:\s{0,4}[\"']?(?P<name>[A-Za-z_][\w.-]{1,63})[\"']?\s{1,64}value:\s{0,4}[\"']?(?P<body>[^\s\"']{8,1024})"
_TAGGED: Final = r"<(?P<name>[A-Za-z_][\w.-]{1,63})>\s{0,4}(?P<body>[^<>\s]{8,1024})\s{0,4}</(?P=name)>"
_NETRC: Final = (
    r"\bmachine\s{1,4}\S{1,256}\s{1,4}login\s{1,4}\S{1,256}\s{1,4}password\s{1,4}(?P<body>\S{3,256})"
)
_USER: Final = (
    r"(?:^|\s)curl\b[^\n]{0,400}?\s(?:-u|--user)[ =][\"']?[A-Za-z0-9_.@-]{1,64}:(?P<body>[^\s\"'$]{4,256})"
)
_NPMRC: Final = r"(?m)(?:^|/:)_(?:authToken|password|auth)\s{0,2}=\s{0,2}[\"']?(?P<body>[^\s\"'$]{8,1024})"
_AUTHS: Final = r"\"auth\"\s{0,4}:\s{0,4}\"(?P<body>[A-Za-z0-9+/]{8,2048}={0,2})\""
_HASHED: Final = (
    r"(?m)(?<![\w$])[A-Za-z0-9_.-]{1,64}:(?P<body>\$(?:apr1|2[aby]|5|6|y|argon2id)\$[^\s:\"']{12,256})"
)
# In a recording the value comes right after its name, and what parts them is no text.
_PACKED: Final = r"(?P<name>[A-Za-z_][\w.-]{2,63})\n(?P<body>[^\s]{16,1024})"


def _is_hash(match: re.Match[str]) -> bool:
    return is_body(match["body"].rpartition("$")[2])


def _is_assigned(match: re.Match[str]) -> bool:
    name, value = match["name"], match["body"]
    return not names_a_digest(name) and names_a_secret(name, value) and is_value(value)


# The rows are looked for in this order; what one has found, the next does not find again.
SHAPES: Final[tuple[Shape, ...]] = (
    Shape(kind="private_key", hint="private key", find=_by(_PEM, _is_key)),
    Shape(kind="private_key", hint="private-lines", find=_by(r"Private-Lines: \d+\s+(?P<body>[A-Za-z0-9+/=\s]{40,16384})", _is_key)),
    Shape(kind="private_key", hint="b3blbnnzac1rzxktdje", find=_by(r"b3BlbnNzaC1rZXktdjE(?P<body>[A-Za-z0-9+/=\s]{40,16384})", _is_key)),
    Shape(kind="private_key", hint="ls0tls1crudjti", find=_by(r"LS0tLS1CRUdJTi(?:[A-Za-z0-9+/]|\s|\\n){50,32768}={0,2}", _is_wrapped_key)),
    Shape(kind="private_key", hint="kty", find=_by(_JWK, lambda match: is_value(match["body"]), "body")),
    Shape(kind="jwt", hint="eyj", find=_by(_JWT, lambda match: is_body(match["body"]))),
    Shape(kind="provider_token", hint="", find=_by(_TOKENS, _is_token)),
    Shape(kind="provider_token", hint="webhook|hooks.", find=_by(_HOOKS, lambda match: is_body(match["body"]), "body")),
    Shape(kind="provider_token", hint="", find=_formed),
    Shape(kind="url_password", hint="://", find=_by(_URL, _is_password, "body")),
    Shape(kind="url_token", hint="=", find=_by(_QUERY, _is_named, "body")),
    Shape(kind="bearer", hint="bearer|token|apikey|dpop", find=_by(_HEADER, lambda match: is_value(match["body"]), "body")),
    Shape(kind="bearer", hint="basic ", find=_by(_BASIC, _is_basic, "body")),
    Shape(kind="connection", hint=";", find=_by(_CONNECTION, _is_password, "body")),
    Shape(kind="password_hash", hint=":$", find=_by(_HASHED, _is_hash, "body")),
    Shape(kind="credentials", hint="machine", find=_by(_NETRC, _is_password, "body")),
    Shape(kind="credentials", hint="curl", find=_by(_USER, _is_password, "body")),
    Shape(kind="credentials", hint="_auth|_password", find=_by(_NPMRC, _is_password, "body")),
    Shape(kind="credentials", hint='"auth"', find=_by(_AUTHS, _is_basic, "body")),
    Shape(kind="assigned", hint="", find=_by(_QUOTED, _is_assigned, "body")),
    Shape(kind="assigned", hint="", find=_by(_PASSED, _is_assigned, "body")),
    Shape(kind="assigned", hint="", find=_by(_PLAIN, _is_assigned, "body")),
    Shape(kind="assigned", hint=":", find=_by(_BLOCK, _is_assigned, "body")),
    Shape(kind="assigned", hint="env |arg ", find=_by(_SPACED, _is_assigned, "body")),
    Shape(kind="assigned", hint=":", find=_by(_HEADED, _is_assigned, "body")),
    Shape(kind="assigned", hint="variable", find=_by(_DEFAULT, _is_assigned, "body")),
    Shape(kind="assigned", hint="value=|content=", find=_by(_ATTRIBUTE, _is_assigned, "body")),
    Shape(kind="assigned", hint="-", find=_by(_FLAG, _is_assigned, "body")),
    Shape(kind="assigned", hint="value:", find=_by(_LISTED, _is_assigned, "body")),
    Shape(kind="assigned", hint="</", find=_by(_TAGGED, _is_assigned, "body")),
)  # fmt: skip
PACKED: Final = Shape(kind="assigned", hint="", find=_by(_PACKED, _is_assigned, "body"))
# Where every value under a secret's name is one, however plain: files that exist to hold them.
_EVERY: Final = re.compile(
    r"(?m)^[ \t]{0,16}(?:export[ \t]{1,4})?(?P<name>[A-Za-z_][\w.]{1,63})[ \t]{0,4}=[ \t]{0,4}[\"']?(?P<body>[^\s\"'#]{3,1024})"
)


def kept_in(text: str) -> Iterator[Place]:
    """The secrets of a `.env` file."""
    for match in _EVERY.finditer(text):
        if names_a_secret(match["name"], match["body"]) and _is_password(match):
            yield match.span("body")
