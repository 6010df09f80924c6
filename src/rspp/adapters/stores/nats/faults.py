"""What the server and the client's library say, in the words of the contract. Nothing of theirs leaves this room untranslated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rspp.contract.errors import LimitReached, PeerFault, RsppError

# By JetStream's error code. What is not here and says 503 may pass by itself.
WRONG_LAST: Final = frozenset({10071, 10164})
NO_MESSAGE: Final = 10037
NO_STREAM: Final = 10059
NO_CONSUMER: Final = 10014
OTHER_STREAM: Final = 10058  # a stream of that name with other settings
NO_REPLICAS: Final = 10074  # the server is alone
# No leader yet, not enough peers yet, a write of ours under way.
_PASSING: Final = frozenset({10005, 10008, 10009, 10118, 10158})
_FAULTS: Final[Mapping[int, tuple[type[RsppError], str]]] = {
    10002: (LimitReached, "store_full"),
    10023: (LimitReached, "store_full"),
    10028: (LimitReached, "store_full"),
    10047: (LimitReached, "store_full"),
    10077: (LimitReached, "store_full"),
    10026: (LimitReached, "store_overloaded"),  # consumers: each watcher is one
    10054: (LimitReached, "payload_too_large"),
    10035: (PeerFault, "store_unusable"),
    10039: (PeerFault, "store_unusable"),
    10076: (PeerFault, "store_unusable"),
}


class UnansweredError(Exception):
    """One attempt came to nothing. `sent`: the server may have done it all the same."""

    def __init__(self, why: str, *, sent: bool) -> None:
        super().__init__(why)
        self.sent = sent


class Told(Exception):  # noqa: N818 - an answer, of which its caller makes what it means
    """The server has an error to tell, by its own number."""

    def __init__(self, status: int, code: int, description: str) -> None:
        super().__init__(f"{description} ({code})")
        self.status = status
        self.code = code
        self.description = description

    @property
    def passes(self) -> bool:
        return self.code in _PASSING or (self.status == 503 and self.code not in _FAULTS)

    def as_fault(self) -> RsppError:
        kind, code = _FAULTS.get(self.code, (PeerFault, "store_unusable"))
        return kind(code, f"the server says: {self.description} ({self.code})")


def unreachable(why: str, within_s: float, *, sent: bool) -> PeerFault:
    known = "it may have been done all the same" if sent else "it was not done"
    return PeerFault("store_unreachable", f"no answer within {within_s:g} s: {why}; {known}")


def of_connecting(error: Exception | None) -> RsppError | None:
    """What no further attempt mends: the server does not know us, or its certificate is not one that we trust."""
    text = str(error).lower()
    if "authorization" in text or "authentication" in text:
        return PeerFault("store_unauthorized", "the server refuses the user or the password")
    if "certificate" in text or "tlsv1" in text or "ssl" in text:
        return PeerFault("store_unauthorized", f"no trust between us and the server: {error}")
    return None
