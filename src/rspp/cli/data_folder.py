"""Where the commands find what is kept here. Alone in its file: who asks for the folder needs nothing that is in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

DATA_VARIABLE: Final = "RSPP_DATA"
DATA_DEFAULT: Final = Path(".rspp")


def data_folder(given: Path | None) -> Path:
    """The folder that was named, else $RSPP_DATA, else `.rspp` here."""
    return given or Path(os.environ.get(DATA_VARIABLE) or DATA_DEFAULT)
