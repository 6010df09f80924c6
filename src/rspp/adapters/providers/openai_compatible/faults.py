"""What goes wrong on the way to a server becomes one of the contract's outcomes, by table and never by guess.

Statuses follow the HTTP map of the contract, in one table; exceptions of the HTTP library in another, which names each
of its classes. No message repeats what a server, a library or a setting said: it could hold a key or a caller's words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final, NamedTuple

import httpx

from rspp.contract.words import OutcomeClass
from rspp.host.ports import ProviderError

BACKOFF_MS: Final = 500  # contract §7: of an overload that names no time
RETRY_AFTER: Final = re.compile(r"[0-9]{1,6}(\.[0-9]{1,3})?")


class Fault(NamedTuple):
    """How a call ended, but for success."""

    outcome: OutcomeClass
    reason: str
    retryable: bool = False
    circuit: bool = False

    def error(self, message: str, retry_after_ms: int | None = None) -> ProviderError:
        return ProviderError(
            self.outcome,
            self.reason,
            message,
            retryable=self.retryable,
            circuit=self.circuit,
            retry_after_ms=retry_after_ms if self.retryable else None,
        )


_INFRA: Final = OutcomeClass.INFRASTRUCTURE_FAILURE

OVERLOAD: Final = Fault(OutcomeClass.OVERLOAD, "provider_overload", retryable=True, circuit=True)
TIMEOUT: Final = Fault(OutcomeClass.TIMEOUT, "provider_timeout", retryable=True)
UNAUTHORISED: Final = Fault(OutcomeClass.BLOCKED, "provider_unauthorised")
REFUSED: Final = Fault(OutcomeClass.BLOCKED, "provider_request_refused")
NO_ENDPOINT: Final = Fault(OutcomeClass.BLOCKED, "provider_no_endpoint")
CONTENT_REFUSED: Final = Fault(OutcomeClass.BLOCKED, "provider_content_refused")
SERVER_ERROR: Final = Fault(_INFRA, "provider_server_error", retryable=True, circuit=True)
STATUS_UNEXPECTED: Final = Fault(_INFRA, "provider_status_unexpected", retryable=True)
UNREACHABLE: Final = Fault(_INFRA, "provider_unreachable", retryable=True)
PROTOCOL: Final = Fault(_INFRA, "provider_protocol_error", retryable=True)
TRUNCATED: Final = Fault(_INFRA, "provider_stream_truncated", retryable=True)
STREAM_ERROR: Final = Fault(_INFRA, "provider_stream_error", retryable=True)
NOT_CALLED: Final = Fault(OutcomeClass.CANCELLED, "cancel_requested_before_invoke")
ADAPTER: Final = Fault(_INFRA, "adapter_invoke_error", retryable=True)

# The HTTP map of contract §7: statuses from and to, and what they mean; the first row that fits counts.
STATUSES: Final[tuple[tuple[int, int, Fault | None], ...]] = (
    (200, 299, None),
    (429, 429, OVERLOAD),
    (408, 408, TIMEOUT),
    (504, 504, TIMEOUT),
    (401, 401, UNAUTHORISED),
    (403, 403, UNAUTHORISED),
    (400, 499, REFUSED),
    (500, 999, SERVER_ERROR),
    (0, 399, STATUS_UNEXPECTED),
)

EXCEPTIONS: Final[Mapping[type[Exception], Fault]] = {
    httpx.TimeoutException: TIMEOUT,
    httpx.ConnectTimeout: TIMEOUT,
    httpx.ReadTimeout: TIMEOUT,
    httpx.WriteTimeout: TIMEOUT,
    httpx.PoolTimeout: TIMEOUT,
    TimeoutError: TIMEOUT,
    httpx.NetworkError: UNREACHABLE,
    httpx.ConnectError: UNREACHABLE,
    httpx.ReadError: UNREACHABLE,
    httpx.WriteError: UNREACHABLE,
    httpx.CloseError: UNREACHABLE,
    httpx.ProxyError: UNREACHABLE,
    httpx.TransportError: UNREACHABLE,
    httpx.RequestError: UNREACHABLE,
    httpx.HTTPError: UNREACHABLE,
    OSError: UNREACHABLE,
    httpx.ProtocolError: PROTOCOL,
    httpx.RemoteProtocolError: TRUNCATED,  # the peer hung up before its answer was whole
    httpx.LocalProtocolError: REFUSED,  # what we would send is not HTTP: a header with a line break in it
    httpx.DecodingError: PROTOCOL,
    httpx.TooManyRedirects: STATUS_UNEXPECTED,
    httpx.HTTPStatusError: STATUS_UNEXPECTED,
    httpx.UnsupportedProtocol: NO_ENDPOINT,
    httpx.InvalidURL: NO_ENDPOINT,
    httpx.CookieConflict: ADAPTER,
    httpx.StreamError: ADAPTER,
    httpx.StreamConsumed: ADAPTER,
    httpx.StreamClosed: ADAPTER,
    httpx.ResponseNotRead: ADAPTER,
    httpx.RequestNotRead: ADAPTER,
}


def fault_of_status(status: int) -> Fault | None:
    """None where the call was taken."""
    return next((fault for low, high, fault in STATUSES if low <= status <= high), STATUS_UNEXPECTED)


def fault_of(error: Exception) -> Fault:
    """That of the nearest class which the table names."""
    return next((EXCEPTIONS[cls] for cls in type(error).__mro__ if cls in EXCEPTIONS), ADAPTER)


def retry_after_ms(fault: Fault, header: str | None) -> int | None:
    """What the server asks for, in seconds; a date or nonsense asks for nothing. An overload has a default."""
    if header is not None and RETRY_AFTER.fullmatch(header.strip()):
        return round(float(header) * 1000)
    return BACKOFF_MS if fault is OVERLOAD else None


def check_status(provider: str, response: httpx.Response) -> None:
    fault = fault_of_status(response.status_code)
    if fault is not None:
        wait = retry_after_ms(fault, response.headers.get("retry-after"))
        raise fault.error(f"{provider}: HTTP {response.status_code}", wait)


@contextmanager
def translated(provider: str) -> Iterator[None]:
    """Inside, only `ProviderError` and a cancellation get out."""
    try:
        yield
    except (*EXCEPTIONS,) as error:
        fault = fault_of(error)
        # The name alone: the text of an HTTP library's error may quote a header or an address.
        raise fault.error(f"{provider}: {type(error).__name__}") from None
