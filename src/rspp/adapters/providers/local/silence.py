"""`silence`: an end of turn that never says anything, so that the kernel's own silence timeouts decide."""

from __future__ import annotations

from collections.abc import Mapping

from rspp.contract.event import Event
from rspp.contract.words import CancelMode, CancelReason
from rspp.host.ports import Answer, CallRequest, ProviderInfo


class Silence:
    """The provider."""

    def __init__(self, name: str, settings: Mapping[str, object]) -> None:
        del settings  # it has none
        self.info = ProviderInfo(name=name, modality="end_of_turn", version="1")

    async def open(self) -> None: ...
    async def close(self) -> None: ...

    def begin(self, request: CallRequest, answer: Answer) -> SilentCall:
        del request
        answer.accepted()
        return SilentCall(answer)


class SilentCall:
    """Hears everything, says nothing, ends when it is told."""

    __slots__ = ("_answer", "_over")

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._over = False

    def feed(self, event: Event) -> None: ...

    def end(self, last: bool) -> None:
        if last and not self._over:
            self._over = True
            self._answer.finish()

    def throttle(self, on: bool) -> None: ...

    def cancel(self, reason: CancelReason, mode: CancelMode) -> None:
        del reason, mode
        if not self._over:
            self._over = True
            self._answer.stopped()

    def kill(self) -> None:
        self._over = True
