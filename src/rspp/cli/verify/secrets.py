"""No file of a project holds a secret. What is found is told by place, kind and digest, and never itself.

What looks like one and is none is said in `verify.yaml`, by its digest and with a reason; a digest that nothing has any
longer is found too. The history of a checkout is not looked through.
"""

from __future__ import annotations

import bisect
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec

from rspp.cli.verify.engine import OWN, Engine, Found, Ground, Outcome
from rspp.cli.verify.packages.settings import Allowed, settings_of
from rspp.cli.verify.searched.reading import Said, legible, said
from rspp.cli.verify.searched.shapes import PACKED, SHAPES, Place, kept_in
from rspp.cli.verify.searched.tree import Tree, tree_of

REPORT: Final = "secrets.json"
DIGEST_CHARACTERS: Final = 16
SHOWN_CHARACTERS_MAX: Final = 4
FOUND_IN_A_FILE_MAX: Final = 200
NAMES_TOLD_MAX: Final = 5
STORES: Final = frozenset({".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".bcfks"})
# They show which names a `.env` has, and hold nothing.
_SHOWING: Final = (".example", ".sample", ".template", ".dist")


class Hit(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """Where a text stands that looks like a secret. The text itself is not kept."""

    path: str
    line: int  # 0: the whole file, or no text
    kind: str
    digest: str
    shown: str


def hits_in(path: str, raw: bytes) -> list[Hit]:
    """What one file holds, each place once, in its order."""
    told = said(raw)
    places = _places(path, told)[:FOUND_IN_A_FILE_MAX]
    ends = [match.start() for match in re.finditer("\n", told.text)] if places and told.is_text else []
    hits = [
        Hit(
            path=path,
            line=bisect.bisect_left(ends, start) + 1 if told.is_text else 0,
            kind=kind,
            digest=_digest(told.text[start:end].encode("utf-8", "surrogatepass")),
            shown=_shown(told.text[start:end]),
        )
        for start, end, kind in places
    ]
    if PurePosixPath(path).suffix.lower() in STORES and raw:
        hits.append(Hit(path=path, line=0, kind="key_store", digest=_digest(raw), shown=""))
    return hits


def _places(path: str, told: Said) -> list[tuple[int, int, str]]:
    places: list[tuple[int, int, str]] = []
    small = told.text.lower()
    shapes = SHAPES if told.is_text else (*SHAPES, PACKED)
    for shape in shapes:
        if not shape.hint or any(one in small for one in shape.hint.split("|")):
            _add(places, shape.find(told.text), shape.kind)
    if _is_env(path):
        _add(places, kept_in(told.text), "env_file")
    return sorted(places)


def _add(places: list[tuple[int, int, str]], found: Iterator[Place], kind: str) -> None:
    taken = sorted((start, end) for start, end, _ in places)
    starts = [start for start, _ in taken]
    for start, end in found:
        at = bisect.bisect_right(starts, start)
        before = taken[at - 1][1] if at else 0
        after = taken[at][0] if at < len(taken) else end
        if before <= start and end <= after:
            places.append((start, end, kind))


def _is_env(path: str) -> bool:
    name = PurePosixPath(path).name.lower()
    is_one = name == ".env" or name.startswith(".env.") or name.endswith(".env")
    return is_one and not name.endswith(_SHOWING)


def _digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()[:DIGEST_CHARACTERS]


def _shown(text: str) -> str:
    """Enough to know it again by whoever owns it, and to nobody else: nothing of a short one."""
    return text[: min(SHOWN_CHARACTERS_MAX, len(text) // 8)].replace("\n", " ")


# --- the search ------------------------------------------------------------------------------------------------


def run(ground: Ground) -> Outcome:
    settings = settings_of(ground.folder)
    tree = tree_of(ground.folder, ground.out, tuple(ground.options.get(OWN, ())))
    hits, unread, packed = [], [], []  # bounded: by the tree
    size = 0
    for name in tree.files:
        try:
            raw = (ground.folder / name).read_bytes()
        except OSError:
            unread.append(name)
            continue
        size += len(raw)
        if said(raw[:64]).is_packed:
            packed.append(name)
        hits += hits_in(name, raw)
    found, allowed = _judged(hits, settings.secrets)
    found += [
        Found(
            where=legible(name),
            what=f"{legible(name)} cannot be read, so nobody knows what it holds.",
            fix="Make it readable.",
        )
        for name in unread
    ]
    facts = {
        "files": len(tree.files),
        "bytes": size,
        "by_git": tree.by_git,
        "links_not_followed": tree.links,
        "too_large": [legible(name) for name in tree.too_large],
        "checkouts_not_looked_at": [legible(name) for name in tree.checkouts],
        "archives_not_opened": [legible(name) for name in packed],
        "cut_short": tree.is_cut,
        "allowed": allowed,
    }
    return _outcome(ground, found, facts, tree)


def _judged(hits: Sequence[Hit], allowed: Sequence[Allowed]) -> tuple[list[Found], int]:
    """What nobody has allowed, and what was allowed and is not there."""
    used: set[tuple[int, str]] = set()
    found, spared = [], 0  # bounded: by the hits
    for hit in sorted(hits):
        which = next((key for key in _keys(hit, allowed)), None)
        if which is None:
            found.append(_told(hit))
        else:
            used.update(_keys(hit, allowed))
            spared += 1
    for number, one in enumerate(allowed):
        for digest in one.digests:
            if (number, digest) not in used:
                what = f"{digest} is allowed as {one.kind} in {one.path}, and stands nowhere there."
                found.append(Found(where="verify.yaml", what=what, fix="Take the digest out of the list."))
    return found, spared


def _keys(hit: Hit, allowed: Sequence[Allowed]) -> Iterator[tuple[int, str]]:
    for number, one in enumerate(allowed):
        if one.kind == hit.kind and matches(hit.path, one.path):
            for digest in one.digests:
                if hit.digest.startswith(digest[:DIGEST_CHARACTERS]):
                    yield number, digest


def matches(path: str, pattern: str) -> bool:
    """`*` stays within a folder, `**` goes through any number of them."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    meant = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.fullmatch("".join(meant.get(part, re.escape(part)) for part in parts), path) is not None


def _told(hit: Hit) -> Found:
    where = f"{legible(hit.path)}:{hit.line}" if hit.line else legible(hit.path)
    begins = f", begins with {hit.shown!r}" if hit.shown else ""
    fix = (
        "Take it out, change it wherever it is valid, and keep it in a secret store (`env://NAME`, `file://PATH`). "
        "If it is none, say so in `verify.yaml` under `secrets` with this kind and digest, and why."
    )
    return Found(where=where, what=f"{hit.kind} (sha256 {hit.digest}{begins}).", fix=fix)


def _outcome(ground: Ground, found: Sequence[Found], facts: Mapping[str, object], tree: Tree) -> Outcome:
    ground.out.mkdir(parents=True, exist_ok=True)
    report = ground.out / REPORT
    body = {"facts": facts, "found": list(found)}
    report.write_bytes(msgspec.json.format(msgspec.json.encode(body), indent=2) + b"\n")
    looked = f"{facts['files']} files looked through, {facts['allowed']} places allowed"
    if tree.too_large:
        names = ", ".join(map(legible, tree.too_large[:NAMES_TOLD_MAX]))
        looked += f"; too large to be looked at: {names}{', ...' if tree.too_large[NAMES_TOLD_MAX:] else ''}"
    if tree.checkouts:
        looked += f"; {len(tree.checkouts)} checkouts of others within it were not looked at"
    if tree.is_cut:
        looked += "; there are more files than are looked at"
    if found:
        summary = f"{len(found)} places found ({looked})"
        return Outcome(verdict="fail", summary=summary, found=tuple(found), facts=facts, files=(report,))
    return Outcome(verdict="pass", summary=looked, facts=facts, files=(report,))


def digest_of(file: Path) -> str:
    """The digest that a whole file is allowed by."""
    return _digest(file.read_bytes())


ENGINE: Final = Engine(
    key="KEY:ENG.SECRETS",
    name="secrets",
    summary="no file of the project holds a key, a token or a password",
    levels=frozenset({"quick", "full", "security"}),
    fail_code="secret_found",
    run=run,
)
