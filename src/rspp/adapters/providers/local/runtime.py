"""The packages that run models are imported when a model is opened, and one that is missing is told in one line."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from rspp.contract.errors import MisuseError


def runtime(package: str) -> Any:
    """A package's module, which has no types of its own worth the name."""
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        raise missing(error) from error


def missing(error: ModuleNotFoundError) -> MisuseError:
    return MisuseError("package_missing", f"{error.name} is not installed; run `pip install 'rspp[local]'`")


def is_installed(package: str) -> bool:
    return find_spec(package) is not None
