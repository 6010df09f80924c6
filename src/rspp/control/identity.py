"""A control plane has one name for good, whatever address it is reached by: what was begun with it is not continued with another.

bucket `plane`, key `identity`    drawn by whoever asks first; not in a backup, so a copy made of one is another
"""

from __future__ import annotations

from secrets import token_hex
from typing import Final

import msgspec

from rspp.control.records import Records
from rspp.host.ports import Store

BUCKET: Final = "plane"
KEY: Final = "identity"


class Drawn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str


class Identity:
    """Of the control plane over this store. It is no secret, and says nothing of where the store is."""

    def __init__(self, store: Store) -> None:
        self._records = Records(store, BUCKET)
        self._known = ""

    async def name(self) -> str:
        if not self._known:
            new = Drawn(name=f"plane-{token_hex(8)}")
            self._known = (await self._records.change(KEY, Drawn, lambda old: old or new)).name
        return self._known
