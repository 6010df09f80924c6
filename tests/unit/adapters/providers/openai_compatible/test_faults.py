"""The contract's HTTP map holds whole: every status and every exception has one outcome, and none repeats a word."""

from __future__ import annotations

import asyncio
import inspect

import httpx
import pytest

from rspp.adapters.providers.openai_compatible.faults import (
    BACKOFF_MS,
    EXCEPTIONS,
    OVERLOAD,
    SERVER_ERROR,
    check_status,
    fault_of,
    fault_of_status,
    retry_after_ms,
    translated,
)
from rspp.contract.codes import CODES
from rspp.contract.words import OutcomeClass
from rspp.host.ports import ProviderError

INFRA = OutcomeClass.INFRASTRUCTURE_FAILURE
# Contract §7, written out again: (outcome, retryable, flags the circuit).
MAP = {
    429: (OutcomeClass.OVERLOAD, True, True),
    408: (OutcomeClass.TIMEOUT, True, False),
    504: (OutcomeClass.TIMEOUT, True, False),
}


def test_every_status_has_the_outcome_of_the_map() -> None:
    for status in range(1000):
        fault = fault_of_status(status)
        if 200 <= status <= 299:
            assert fault is None
            continue
        if status in MAP:
            expected = MAP[status]
        elif 400 <= status <= 499:
            expected = (OutcomeClass.BLOCKED, False, False)
        else:
            expected = (INFRA, True, status >= 500)
        assert fault is not None
        assert (fault.outcome, fault.retryable, fault.circuit) == expected, status
        assert fault.reason in CODES


def test_every_exception_of_the_library_stands_in_the_table() -> None:
    classes = {
        value
        for module in (httpx, httpx._exceptions)
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Exception) and value.__module__.startswith("httpx")
    }
    assert len(classes) > 25
    assert classes - set(EXCEPTIONS) == set()


def test_exceptions_have_the_outcome_of_the_map() -> None:
    for cls, fault in EXCEPTIONS.items():
        if issubclass(cls, httpx.TimeoutException | TimeoutError):
            assert (fault.outcome, fault.retryable) == (OutcomeClass.TIMEOUT, True)
        elif issubclass(cls, httpx.NetworkError | httpx.RemoteProtocolError):
            assert (fault.outcome, fault.retryable, fault.circuit) == (INFRA, True, False)
        elif issubclass(cls, httpx.InvalidURL | httpx.UnsupportedProtocol):
            assert (fault.outcome, fault.retryable) == (OutcomeClass.BLOCKED, False)
        assert fault.reason == "adapter_invoke_error" or fault.reason in CODES


def test_a_class_that_is_new_to_the_table_is_taken_for_its_nearest_ancestor() -> None:
    class Novel(httpx.ReadTimeout):
        pass

    assert fault_of(Novel("x")) == EXCEPTIONS[httpx.ReadTimeout]
    assert fault_of(ValueError("x")).reason == "adapter_invoke_error"


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("2", 2000),
        ("0", 0),
        (" 3 ", 3000),
        ("1.5", 1500),
        (None, BACKOFF_MS),
        ("", BACKOFF_MS),
        ("-1", BACKOFF_MS),
        ("Wed, 21 Oct 2026 07:28:00 GMT", BACKOFF_MS),
        ("1e9", BACKOFF_MS),
        ("9" * 400, BACKOFF_MS),
        ("nan", BACKOFF_MS),
        ("٣", BACKOFF_MS),
    ],
)
def test_an_overload_waits_as_it_is_told_or_by_default(header: str | None, wait: int) -> None:
    assert retry_after_ms(OVERLOAD, header) == wait
    assert retry_after_ms(SERVER_ERROR, header) == (wait if wait != BACKOFF_MS else None)


def test_a_refusal_that_is_final_names_no_time() -> None:
    response = httpx.Response(401, headers={"retry-after": "5"})
    with pytest.raises(ProviderError) as caught:
        check_status("p", response)
    assert caught.value.retry_after_ms is None


def test_nothing_that_a_library_says_is_repeated_and_nothing_is_chained() -> None:
    with pytest.raises(ProviderError) as caught, translated("p"):
        raise httpx.LocalProtocolError("Illegal header value b'Bearer sk-planted'")
    assert "planted" not in str(caught.value)
    assert caught.value.__suppress_context__
    assert caught.value.outcome is OutcomeClass.BLOCKED


def test_a_cancellation_and_our_own_errors_pass_through() -> None:
    with pytest.raises(asyncio.CancelledError), translated("p"):
        raise asyncio.CancelledError
    with pytest.raises(ZeroDivisionError), translated("p"):
        raise ZeroDivisionError
