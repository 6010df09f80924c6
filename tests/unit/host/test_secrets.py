"""A secret is found where its reference says or refused in words; nothing that is written holds it."""

from __future__ import annotations

import base64
import copy
import io
import json
import logging
import os
import pickle
from pathlib import Path
from urllib.parse import quote, quote_plus

import msgspec
import pytest

from rspp.contract.codes import CODES
from rspp.contract.errors import MisuseError
from rspp.host.secrets import (
    REDACTED,
    REMEMBERED_MAX,
    SECRET_BYTES_MAX,
    LogFilter,
    Secret,
    Secrets,
    resolve,
    scrub,
)

VALUE = 's3cr3t/with+odd=chars & "quotes" é'


def refused(reference: str, environment: dict[str, str] | None = None) -> MisuseError:
    with pytest.raises(MisuseError) as caught:
        resolve(reference, environment or {})
    assert caught.value.code in CODES
    assert caught.value.__cause__ is None
    return caught.value


def test_a_variable_and_a_file_are_resolved(tmp_path: Path) -> None:
    assert resolve("env://KEY", {"KEY": VALUE}).reveal() == VALUE
    file = tmp_path / "with space"
    file.write_text(VALUE, encoding="utf-8")
    assert resolve(f"file://{file}").reveal() == VALUE


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSPP_TEST_SECRET", "abcd")
    assert resolve("env://RSPP_TEST_SECRET").reveal() == "abcd"


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n"])
def test_a_line_break_at_the_end_is_not_of_the_secret_and_everything_else_is(
    tmp_path: Path, end: str
) -> None:
    file = tmp_path / "key"
    file.write_bytes((" two\nlines " + end).encode())
    assert resolve(f"file://{file}").reveal() == " two\nlines "
    assert resolve("env://KEY", {"KEY": " two\nlines " + end}).reveal() == " two\nlines "


def test_a_rotated_file_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("first")
    link = tmp_path / "link"
    link.symlink_to(file)
    assert resolve(f"file://{link}").reveal() == "first"
    file.write_text("second")
    assert resolve(f"file://{link}").reveal() == "second"


@pytest.mark.parametrize("value", ["", " ", "\n", " \t\r\n", "a\0b", "x" * (SECRET_BYTES_MAX + 1)])
def test_a_value_that_can_be_no_secret_is_refused(value: str) -> None:
    error = refused("env://KEY", {"KEY": value})
    assert error.code == "secret_unusable"
    assert "env://KEY" in str(error)
    assert len(str(error)) < 200


def test_what_is_not_there_is_missing(tmp_path: Path) -> None:
    assert refused("env://NO_SUCH").code == "secret_missing"
    error = refused(f"file://{tmp_path}/nothing")
    assert error.code == "secret_missing"
    assert str(tmp_path) in str(error)


def test_what_is_no_readable_file_of_text_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00secret")
    with (tmp_path / "huge").open("wb") as huge:
        huge.truncate(1 << 33)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "plain").write_text("x")
    for name in (".", "binary", "huge", "pipe", "loop", "plain/inner"):
        error = refused(f"file://{tmp_path}/{name}")
        assert error.code == "secret_unusable", name
        assert "secret" not in error.message.partition(": ")[2]
    assert refused("file:///dev/zero").code == "secret_unusable"


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_args: object) -> int:
        raise PermissionError(13, "secret words of the system")

    monkeypatch.setattr("rspp.host.secrets.os.open", denied)
    error = refused(f"file://{tmp_path}/key")
    assert error.code == "secret_unusable"
    assert "Permission denied" in str(error)


@pytest.mark.parametrize(
    "literal", ["sk-planted", "", "env:/KEY", "file://sk-planted", "env://sk planted", "env://K\n"]
)
def test_what_is_no_reference_is_never_repeated(literal: str) -> None:
    error = refused(literal)
    assert error.code == "secret_reference_malformed"
    assert "planted" not in str(error)


def test_a_secret_shows_itself_to_nobody_who_does_not_ask() -> None:
    secret = Secret(VALUE, "env://KEY")
    for shown in (str(secret), repr(secret), f"{secret}", f"{secret:>40}", "%s" % secret, repr([secret])):  # noqa: UP031
        assert "s3cr3t" not in shown
        assert "env://KEY" in shown
    for write in (pickle.dumps, json.dumps, msgspec.json.encode, msgspec.msgpack.encode):
        with pytest.raises(TypeError) as caught:
            write(secret)
        assert "s3cr3t" not in str(caught.value)
    with pytest.raises(TypeError):
        vars(secret)
    assert copy.deepcopy([secret])[0] is secret
    assert copy.copy(secret) == Secret(VALUE, "file:///other")
    assert secret != Secret("other", "env://KEY")
    assert secret != VALUE


FORMS = [
    VALUE,
    quote(VALUE),
    quote(VALUE, safe=""),
    quote_plus(VALUE),
    quote(VALUE, safe="").lower(),
    json.dumps(VALUE),
    json.dumps(VALUE, ensure_ascii=False),
    repr(VALUE),
    repr({"key": VALUE}),
    base64.b64encode(VALUE.encode()).decode(),
    base64.urlsafe_b64encode(VALUE.encode()).decode(),
    *(base64.b64encode(b"u" * n + b":" + VALUE.encode() + b"@x").decode() for n in range(6)),
]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_secret_is_scrubbed(form: str) -> None:
    scrubbed = scrub(f"before {form} after {form}", [Secret(VALUE, "env://KEY")])
    assert REDACTED in scrubbed
    assert scrubbed.startswith("before ")
    core = base64.b64encode(VALUE.encode()).decode()[4:12]
    assert "s3cr3t" not in scrubbed.lower()
    assert core not in scrubbed
    # Of a longer Base64 text no more is left than what mixes with its neighbours.
    longest = max((len(word) for word in scrubbed.replace(REDACTED, " ").split()), default=0)
    assert longest <= 24


def test_text_without_a_secret_is_left_as_it_is_and_one_too_short_is_not_looked_for() -> None:
    text = "a banana and a key"
    assert scrub(text, [Secret(VALUE, "env://KEY"), Secret("an", "env://SHORT")]) == text
    assert scrub(text, []) == text


def test_one_secret_inside_another_leaves_no_piece() -> None:
    both = [Secret("abcd", "env://A"), Secret("abcdefgh", "env://B")]
    assert scrub("abcdefgh abcd", both) == f"{REDACTED} {REDACTED}"
    keep = Secrets({"A": "abcd", "B": "abcdefgh"})
    keep.resolve("env://A")
    keep.resolve("env://B")
    assert keep.scrub("abcdefgh abcd") == f"{REDACTED} {REDACTED}"


def test_secrets_remembers_what_was_rotated_and_never_more_than_its_bound() -> None:
    environment = {"KEY": "first-value"}
    secrets = Secrets(environment)
    secrets.resolve("env://KEY")
    environment["KEY"] = "second-value"
    assert secrets.resolve("env://KEY").reveal() == "second-value"
    assert secrets.scrub("first-value second-value") == f"{REDACTED} {REDACTED}"
    for number in range(REMEMBERED_MAX):
        environment["KEY"] = f"value-number-{number}-of-many"
        secrets.resolve("env://KEY")
    assert secrets.scrub("second-value") == "second-value"
    assert secrets.scrub("value-number-0-of-many") == REDACTED


def lines_of(filtered: bool) -> str:
    secrets = Secrets({"KEY": VALUE})
    secret = secrets.resolve("env://KEY")
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter("%(message)s %(request)s"))
    if filtered:
        handler.addFilter(LogFilter(secrets))
    log = logging.Logger("test")  # noqa: LOG001 - of its own, so that the process's is left alone
    log.addHandler(handler)
    extra = {"request": f"key={quote(secret.reveal())}"}
    log.warning("plain %s", secret.reveal(), extra=extra)
    log.warning("args %s", {"authorization": f"Bearer {secret.reveal()}"}, extra=extra)
    log.warning("wrong %d", secret.reveal(), extra=extra) if filtered else None
    try:
        raise ValueError(f"the key {secret.reveal()} is not accepted")
    except ValueError:
        log.exception("failed", extra=extra)
    return out.getvalue()


def test_a_log_handler_with_the_filter_writes_no_secret_and_without_it_does() -> None:
    assert "s3cr3t" not in lines_of(filtered=True)
    assert lines_of(filtered=True).count(REDACTED) >= 6
    assert lines_of(filtered=False).count("s3cr3t") >= 5
