"""Every error leaves as one shape: a stable code, a sentence, the field, when to try again. Nothing of the inside is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from starlette.responses import Response

from rspp.contract.errors import LimitReached, MisuseError, RsppError
from rspp.control.operations.operation import Conflict, Denied, NotFound, Unanswered
from rspp.host.ports import Refused

JSON: Final = "application/json"
INTERNAL: Final = "runtime_internal_error"
# Retry-After counts whole seconds; who wants it exactly reads the body.
MS_PER_S: Final = 1_000


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What a refused or failed request answers."""

    code: str
    message: str
    path: str | None = None
    retry_after_ms: int | None = None


# What the code alone decides; a code that ends in * stands for all that begin so.
STATUS_OF_CODE: Final[Mapping[str, int]] = {
    **dict.fromkeys(("malformed", "truncated", "trailing_bytes", "text_not_utf8", "nesting_too_deep", "key_repeated"), 400),
    **dict.fromkeys(("query_invalid", "query_too_deep", "query_too_large"), 400),
    **dict.fromkeys(("unauthenticated", "token_*"), 401),
    **dict.fromkeys(("permission_denied", "approval_self"), 403),
    **dict.fromkeys(("cross_tenant_denied", "policy_tenant_scope_missing", "requested_fidelity_not_authorized"), 403),
    **dict.fromkeys(("role_not_authorized", "purpose_not_authorized"), 403),
    **dict.fromkeys(("document_missing", "rollout_missing", "pipeline_unknown", "principal_unknown"), 404),
    "method_not_allowed": 405,
    **dict.fromkeys(("approval_missing", "approval_closed", "approval_signature_invalid"), 409),
    **dict.fromkeys(("version_exists", "rollout_exists", "rollout_frozen", "rollback_target_missing"), 409),
    **dict.fromkeys(("principal_exists", "principal_last_admin", "backup_store_not_empty"), 409),
    **dict.fromkeys(("store_contended", "record_changed_meanwhile", "revision_conflict"), 409),
    "payload_too_large": 413,
    "media_type_unsupported": 415,
    "host_foreign": 421,
    "queries_full": 429,
    "query_late": 504,
    **dict.fromkeys(("document_corrupt", INTERNAL), 500),
    "recording_unanswered": 504,
    **dict.fromkeys(("store_*", "audit_*", "key_missing", "key_over_age", "routing_view_stale"), 503),
    **dict.fromkeys(("snapshot_*", "pipeline_missing", "route_no_workers", "fleet_full", "regions_closed"), 503),
}  # fmt: skip
# Then what kind of error it is, the first that fits.
STATUS_OF_KIND: Final = (
    (NotFound, 404),
    (Denied, 403),
    (Conflict, 409),
    (Unanswered, 504),
    (LimitReached, 429),
    (MisuseError, 422),
)
REFUSED_LATER: Final = 429
REFUSED: Final = 409
UNPROCESSABLE: Final = 422
REASONS_TO_SIGN_IN: Final = 401


def status_of(error: RsppError) -> int:
    status = _by_code(error.code)
    if status is not None:
        return status
    for kind, kind_status in STATUS_OF_KIND:
        if isinstance(error, kind):
            return kind_status
    if isinstance(error, Refused):
        return REFUSED if error.retry_after_ms is None else REFUSED_LATER
    return UNPROCESSABLE


def _by_code(code: str) -> int | None:
    if code in STATUS_OF_CODE:
        return STATUS_OF_CODE[code]
    for pattern, status in STATUS_OF_CODE.items():
        if pattern.endswith("*") and code.startswith(pattern[:-1]):
            return status
    return None


def fault_of(error: RsppError) -> Fault:
    return Fault(
        code=error.code,
        message=error.message,
        path=error.path or None,
        retry_after_ms=getattr(error, "retry_after_ms", None),
    )


def answer(error: RsppError) -> Response:
    """The response to a request that came to nothing."""
    return Response(
        msgspec.json.encode(fault_of(error)), status_of(error), headers_of(error), media_type=JSON
    )


def headers_of(error: RsppError) -> dict[str, str]:
    """What the refusal says beside its body: how to sign in, when to come again."""
    headers = {}
    if status_of(error) == REASONS_TO_SIGN_IN:
        headers["www-authenticate"] = "Bearer"
    retry_after_ms = fault_of(error).retry_after_ms
    if retry_after_ms is not None:
        headers["retry-after"] = str(-(-retry_after_ms // MS_PER_S))
    return headers


def internal() -> Response:
    """Something broke that is no answer to anything: the log knows what, the caller that it did."""
    fault = Fault(code=INTERNAL, message="the control plane failed; its log has the request's id")
    return Response(msgspec.json.encode(fault), 500, media_type=JSON)
