"""A profile adds to what is mandatory and says how patient to be; of what is mandatory for everybody it can take nothing away."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from rspp.cli.conformance.ports import Port, names_of
from rspp.cli.conformance.trials import LIMITS
from rspp.contract.errors import MisuseError

PROFILE_BYTES_MAX: Final = 65_536


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file.

    profile: front-desk
    mandatory: [lifecycle, cancellation, shared]     # with it, all of the standard's; without it, the standard's alone
    limits: {cancel_ms_max: 50}
    """

    profile: Annotated[str, msgspec.Meta(pattern="^[A-Za-z][A-Za-z0-9_.-]{0,63}$")] = "standard"
    mandatory: tuple[str, ...] = ()
    limits: Mapping[str, float] = {}


def read(path: Path, port: Port) -> Profile:
    """The profile in this file, if it can be one of this port's; raises `MisuseError` that says what is wrong with it."""
    try:
        data = path.read_bytes()
        if len(data) > PROFILE_BYTES_MAX:
            raise _invalid(path, f"it has more than {PROFILE_BYTES_MAX} bytes")
        found = YAML(typ="safe", pure=True).load(data.decode("utf-8"))
        profile = msgspec.convert(found if found is not None else {}, Profile)
    except OSError as error:
        raise _invalid(path, error.strerror or "it cannot be read") from None
    except (YAMLError, UnicodeDecodeError, msgspec.ValidationError, RecursionError) as error:
        raise _invalid(path, str(error).splitlines()[0]) from None
    if fault := _fault(profile, port):
        raise _invalid(path, fault)
    return profile


def _fault(profile: Profile, port: Port) -> str:
    """Why it is none for this port; empty if it is one."""
    known = {category for category, _ in names_of(port.name, port.options)}
    strange = [name for name in profile.mandatory if name not in known]
    if strange:
        return f"there is no category {strange[0]!r} for {port.name}; there are {', '.join(sorted(known))}"
    lacking = [name for name in port.mandatory if profile.mandatory and name not in profile.mandatory]
    if lacking:
        return f"it leaves out {', '.join(lacking)}: these are mandatory for every {port.name}, and a profile only adds"
    limits = [name for name in profile.limits if name not in LIMITS]
    if limits:
        return f"there is no limit {limits[0]!r}; there are {', '.join(LIMITS)}"
    return ""


def _invalid(path: Path, why: str) -> MisuseError:
    return MisuseError("conformance_profile_invalid", f"{path.name}: {why}", "profile")
