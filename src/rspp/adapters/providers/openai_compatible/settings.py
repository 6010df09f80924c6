"""The settings of each kind, checked when the provider is made: an unknown or ill-typed field is refused by its name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import httpx
import msgspec
from msgspec import Meta

from rspp.contract.errors import MisuseError
from rspp.spec.provider_settings import REFERENCE, names_a_secret

Word = Annotated[str, Meta(min_length=1, max_length=256)]
Ms = Annotated[int, Meta(ge=1, le=600_000)]

# What the adapter itself says in a request; `extra` may not say it again.
OWN_FIELDS: Final = frozenset(["messages", "stream", "input", "file", "response_format"])


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of a server: where it is, how to be let in, and how long to wait for it."""

    model: Word | None = None  # goes before the model, or voice, of the node
    base_url: Word  # up to and including its version, as in http://127.0.0.1:8000/v1
    api_key: Word | None = None  # a reference; sent as a bearer token
    headers: dict[Word, Word] = {}  # added to each request; a value may be a reference
    connect_ms: Ms = 2_000
    read_ms: Ms = 15_000  # without a byte, or without a whole event
    connections_max: Annotated[int, Meta(ge=1, le=10_000)] = 128
    proxy: Word | None = None
    ca_file: Word | None = None  # certificates to trust instead of the system's
    extra: dict[Word, Any] = {}  # further fields of the request, as the server knows them


class LlmSettings(Settings, frozen=True):
    tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    usage: bool = True  # ask for the count of tokens; a few servers refuse to be asked


class SttSettings(Settings, frozen=True):
    stream: bool = False  # words while the server still listens, where it can
    utterance_ms_max: Annotated[int, Meta(ge=1_000, le=600_000)] = 60_000  # the oldest audio goes
    gate_dbfs: Annotated[float, Meta(ge=-96, le=0)] = -50.0  # quieter than this is no speech
    speech_ms_min: Annotated[int, Meta(ge=0, le=5_000)] = 60  # less above the gate is a click
    lead_in_ms: Annotated[int, Meta(ge=0, le=5_000)] = 400  # kept from before the gate opened


class TtsSettings(Settings, frozen=True):
    voice: Word | None = None
    rate: Literal[8000, 16000, 22050, 24000, 44100, 48000] = 24000  # of the `pcm` that the server sends


SettingsT = TypeVar("SettingsT", bound=Settings)


def settings_of(kind: type[SettingsT], name: str, given: Mapping[str, object]) -> SettingsT:
    """The checked settings of a provider id; raises `MisuseError` that names the field and repeats no value."""
    try:
        settings = msgspec.convert(dict(given), kind, strict=True)
    except msgspec.ValidationError as error:
        raise _invalid(name, str(error)) from None
    _check_address(name, settings.base_url, "base_url")
    if settings.proxy is not None:
        _check_address(name, settings.proxy, "proxy")
    if settings.api_key is not None and not REFERENCE.fullmatch(settings.api_key):
        raise _invalid(name, "api_key: a secret is named by env://NAME or file:///PATH")
    for header, value in settings.headers.items():
        if names_a_secret(header) and not REFERENCE.fullmatch(value):
            raise _invalid(name, f"headers.{header}: a secret is named by env://NAME or file:///PATH")
    for field in sorted(OWN_FIELDS.intersection(settings.extra)):
        raise _invalid(name, f"extra.{field}: this is the adapter's to say")
    if settings.ca_file is not None and not Path(settings.ca_file).is_file():
        raise _invalid(name, "ca_file: there is no such file")
    return settings


def _check_address(name: str, address: str, field: str) -> None:
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL:
        raise _invalid(name, f"{field}: this is no address") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise _invalid(name, f"{field}: expected http://host or https://host")
    if url.userinfo or url.query or url.fragment:
        raise _invalid(name, f"{field}: an address has no login, query or fragment here")


def _invalid(name: str, what: str) -> MisuseError:
    return MisuseError("provider_settings_invalid", what, f"provider_settings.{name}")
