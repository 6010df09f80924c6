"""What a spec says under `provider_settings` is checked when the provider is made, before any caller is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from rspp.contract.errors import MisuseError

SettingsT = TypeVar("SettingsT", bound=msgspec.Struct)


def settings_of(name: str, given: Mapping[str, object], kind: type[SettingsT]) -> SettingsT:
    try:
        return msgspec.convert(dict(given), kind)
    except msgspec.ValidationError as error:
        raise MisuseError(
            "provider_settings_invalid", f"{name}: {error}", f"provider_settings.{name}"
        ) from None
