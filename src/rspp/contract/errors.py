"""Errors by who must act.

    RsppError
      +- MisuseError       the caller of our API must change the call
      +- PeerFault         a peer broke its word: it becomes an input or an outcome, never a stray exception
      |    +- CodecError   (contract.codec) bytes that are not what they should be
      +- LimitReached      a bound was reached: a decision, with what to do about it
      +- InvariantBreach   our bug: that session stops, its inputs are kept
      +- Divergence        a replay differed: where, what was expected, what came

Each carries a stable code. `contract.codes` says what every code means and what to do. Beside the tree stand the five
error classes that a session may meet while it runs, and what the platform does about each by itself.

The names say who must act, so most of them are no "...Error": a limit that was reached is no mistake of anybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from rspp.contract.code_rule import CodeRule
from rspp.contract.codes import CODES


class RsppError(Exception):
    """The root: a stable code, a sentence for people, and the path of the field it is about."""

    def __init__(self, code: str, message: str, path: str | None = None) -> None:
        super().__init__(f"{code}: {message}" if path is None else f"{code} at {path}: {message}")
        self.code = code
        self.message = message
        self.path = path


class MisuseError(RsppError):
    """The call was wrong; nothing has changed."""


class PeerFault(RsppError):  # noqa: N818
    """What came from outside is not what was agreed."""


class LimitReached(RsppError):  # noqa: N818
    """A named bound was reached."""


class InvariantBreach(RsppError):  # noqa: N818
    """What must hold did not: a defect of ours."""


class Divergence(RsppError):  # noqa: N818
    """A replay did not do what its recording says."""

    def __init__(self, position: int, expected: str, got: str) -> None:
        super().__init__("replay_diverged", f"at {position}: expected {expected}, got {got}")
        self.position = position
        self.expected = expected
        self.got = got


class ErrorClassName(StrEnum):
    SCHEMA_VALIDATION_ERROR = "schema_validation_error"
    AUTHORITY_EPOCH_MISMATCH = "authority_epoch_mismatch"
    PROVIDER_TIMEOUT = "provider_timeout"
    PROVIDER_OVERLOAD = "provider_overload"
    RUNTIME_INTERNAL_ERROR = "runtime_internal_error"


class Retry(StrEnum):
    """Whether trying again makes sense."""

    NO = "no"
    CONDITIONAL = (
        "conditional"  # when the action is allowed, attempts are left and the budget outlasts the wait
    )


class ErrorClass(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What the platform does about one class of error, and what of it must be on record."""

    name: ErrorClassName
    default_action: str
    retry: Retry
    evidence: tuple[str, ...]


_CLASSES: Final = (
    ErrorClass(
        name=ErrorClassName.SCHEMA_VALIDATION_ERROR,
        default_action="refuse the event or the session request",
        retry=Retry.NO,
        evidence=("validation code", "field path"),
    ),
    ErrorClass(
        name=ErrorClassName.AUTHORITY_EPOCH_MISMATCH,
        default_action="refuse at ingress or at egress",
        retry=Retry.NO,
        evidence=("stale_epoch_reject",),
    ),
    ErrorClass(
        name=ErrorClassName.PROVIDER_TIMEOUT,
        default_action="retry inside the budget that is left, then fall back or degrade",
        retry=Retry.CONDITIONAL,
        evidence=("timeout code", "budget left at the failure"),
    ),
    ErrorClass(
        name=ErrorClassName.PROVIDER_OVERLOAD,
        default_action="switch the provider or degrade, as the policy says",
        retry=Retry.CONDITIONAL,
        evidence=("switch or degrade marker",),
    ),
    ErrorClass(
        name=ErrorClassName.RUNTIME_INTERNAL_ERROR,
        default_action="isolate the path; abort the turn when nothing else is left",
        retry=Retry.NO,
        evidence=("normalised code", "terminal reason"),
    ),
)

ERROR_CLASSES: Final[Mapping[ErrorClassName, ErrorClass]] = {entry.name: entry for entry in _CLASSES}

__all__ = [
    "CODES",
    "ERROR_CLASSES",
    "CodeRule",
    "Divergence",
    "ErrorClass",
    "ErrorClassName",
    "InvariantBreach",
    "LimitReached",
    "MisuseError",
    "PeerFault",
    "Retry",
    "RsppError",
]
