"""An answer is made in small pieces, one at a time whoever asks: whatever else this loop carries, a call's frames too, goes between.

    scan a surface's rows | 32 entries of a list | frames, requests, notices | the next 32 | ...

Where calls and console share a loop, the longest stretch of a question is then its longest piece, however many entries
are asked for at once and by however many people.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from graphql import get_named_type, is_leaf_type
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

# Entries of a list that are completed in one piece: some milliseconds of an entry's ten or twenty fields.
LOT: Final = 32


class Turns:
    """Whoever took a turn works until it waits for something; nobody else's turn is in the same round of the loop."""

    def __init__(self) -> None:
        self._door = asyncio.Lock()

    async def take(self) -> None:
        async with self._door:
            await asyncio.sleep(0)


class InPieces(StrawberryGraphQLCoreExecutionContext):
    """Execution as the library does it, but that long lists of objects are completed in lots, each in a turn of its own."""

    def complete_list_value(
        self, return_type: Any, fields: Any, info: Any, path: Any, result: Any, *rest: Any
    ) -> Any:
        is_long = isinstance(result, list | tuple) and len(result) > LOT
        if is_long and not is_leaf_type(get_named_type(return_type)):
            result = _in_lots(result, info.context.turns)
        return super().complete_list_value(return_type, fields, info, path, result, *rest)


async def _in_lots(items: Sequence[Any], turns: Turns) -> AsyncIterator[Any]:
    for number, one in enumerate(items):
        if number % LOT == 0:
            await turns.take()
        yield one
