"""Which versions may work together is a list; what is not on it does not, and the error names the versions.

Three things have versions of their own: the runtime that serves calls, the control plane that decides about them, and the
schema in which both write. A window of one minor version on either side is allowed where the schema is read by both.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

import rspp
from rspp.contract.codec import SUPPORTED_SCHEMA_VERSIONS
from rspp.contract.errors import PeerFault
from rspp.contract.words import CORE_SCHEMA_VERSION

RELEASE: Final = re.compile(r"(\d{1,4})\.(\d{1,4})(\.\d{1,6})?([-+.a-z0-9]{0,32})")


class Versions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one combination consists of. Releases count as `major.minor`: patches change nothing that others see."""

    runtime: str
    control: str
    schema: str

    def __str__(self) -> str:
        return f"runtime {self.runtime}, control plane {self.control}, schema {self.schema}"


class SkewPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The combinations that are allowed; `version` is the list's own."""

    version: str
    allowed: tuple[Versions, ...]

    @property
    def ref(self) -> str:
        return f"skew/{self.version}"


def own() -> Versions:
    """The versions of this build, whichever part of it runs."""
    return Versions(runtime=rspp.__version__, control=rspp.__version__, schema=CORE_SCHEMA_VERSION)


def minor_of(release: str) -> str:
    """`0.1` of `0.1.7`; raises PeerFault for what is no release."""
    found = RELEASE.fullmatch(release)
    if found is None:
        raise PeerFault("version_skew_unsupported", f"{release[:40]!r} is no release, such as 0.1.0")
    return f"{int(found[1])}.{int(found[2])}"


def window(releases: tuple[str, ...], schemas: tuple[str, ...], version: str) -> SkewPolicy:
    """Each release (`major.minor`, oldest first) with itself and its neighbour, in the schemas that both read."""
    allowed = [
        Versions(runtime=runtime, control=control, schema=schema)
        for place, runtime in enumerate(releases)
        for control in releases[max(0, place - 1) : place + 2]
        for schema in schemas
    ]
    return SkewPolicy(version=version, allowed=tuple(allowed))


def around(release: str, schemas: tuple[str, ...], version: str) -> SkewPolicy:
    """This release with itself and with the minor before and after it, so that a fleet can be renewed piece by piece.

    The one after is not known yet. What the two write for each other must keep its shape as long as the schema is the same
    (a test holds every record of the store to that), and the later one has a list too: where it cannot go with this one it
    refuses by itself. A new major goes with none before it.
    """
    mine = minor_of(release)
    major, minor = map(int, mine.split("."))
    near = tuple(f"{major}.{one}" for one in range(max(0, minor - 1), minor + 2))
    known = window(near, schemas, version)
    allowed = tuple(one for one in known.allowed if mine in {one.runtime, one.control})
    return SkewPolicy(version=version, allowed=allowed)


POLICY: Final = around(rspp.__version__, SUPPORTED_SCHEMA_VERSIONS, "v1")


def is_allowed(policy: SkewPolicy, versions: Versions) -> bool:
    asked = Versions(
        runtime=minor_of(versions.runtime), control=minor_of(versions.control), schema=versions.schema
    )
    return asked in policy.allowed


def check(policy: SkewPolicy, versions: Versions) -> None:
    """Raises PeerFault `version_skew_unsupported`, which names what was asked and what there is."""
    if not is_allowed(policy, versions):
        known = "; ".join(map(str, policy.allowed)) or "nothing"
        raise PeerFault(
            "version_skew_unsupported", f"{versions} do not work together; {policy.ref} allows {known}"
        )


def check_peer(policy: SkewPolicy, peer: dict[str, str], *, is_control: bool) -> None:
    """A process that joins, or a client that asks, tells its release and schema: do they go with this build's?

    `peer` is a member's `versions`. One that does not say what it is does not join.
    """
    mine = own()
    missing = [name for name in ("release", "schema") if not peer.get(name)]
    if missing:
        raise PeerFault("version_skew_unsupported", f"the peer does not tell its {' and '.join(missing)}")
    runtime, control = (mine.runtime, peer["release"]) if is_control else (peer["release"], mine.control)
    check(policy, Versions(runtime=runtime, control=control, schema=peer["schema"]))


def told() -> dict[str, str]:
    """What this process writes about itself into its membership."""
    return {"release": rspp.__version__, "schema": CORE_SCHEMA_VERSION}
