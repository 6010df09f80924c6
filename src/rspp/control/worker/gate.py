"""Who comes in: the bearer of a route token for this very door, or in a loopback dev mode whoever is on this machine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from rspp.contract.errors import PeerFault
from rspp.control.security.tokens import ROUTE, TokenRefused, Verifier
from rspp.control.worker.ports import Admitted
from rspp.host.ports import Bootstrap, Refused

log = logging.getLogger("rspp.control.gate")

REFUSED: Final = "token_refused"


class RouteGate:
    """Takes the route tokens that were signed for one of this process's endpoints."""

    def __init__(
        self,
        verifier: Verifier,
        audiences: Sequence[str],
        wall_ms: Callable[[], int],
        denied: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._verifier = verifier
        self._audiences = tuple(audience for audience in audiences if audience)
        self._wall_ms = wall_ms
        self._denied = denied

    def admit(self, bootstrap: Bootstrap) -> Admitted:
        """What the token says, if the caller says nothing else of itself. All refusals look alike from outside."""
        code = "token_missing"
        for audience in self._audiences:
            try:
                claims = self._verifier.verify(
                    bootstrap.token, kind=ROUTE, audience=audience, now_ms=self._wall_ms()
                )
            except TokenRefused as error:
                code = error.code
                if code != "token_audience_wrong":
                    break
                continue
            except PeerFault as error:  # the keys are not known well enough to say yes
                code = error.code
                break
            if claims.transport_kind not in ("", bootstrap.transport_kind):
                code = "token_transport_wrong"
                break
            # A caller who says that they are another tenant's has the wrong token, or the wrong idea: neither is served.
            if claims.tenant_id != bootstrap.tenant_id:
                code = "token_tenant_wrong"
                break
            return Admitted(
                tenant_id=claims.tenant_id,
                session_id=claims.session_id,
                pipeline=claims.pipeline_version or None,
                token_id=claims.jti,
            )
        log.info("a caller was turned away: %s", code)
        self._denied(code)  # and not of which tenant: that is the word of a stranger
        raise Refused(REFUSED, "the token does not open this door")


class OpenGate:
    """Believes what callers say of themselves. Only for a process that nobody but its own machine can reach."""

    def admit(self, bootstrap: Bootstrap) -> Admitted:
        return Admitted(
            tenant_id=bootstrap.tenant_id,
            session_id=bootstrap.session_id,
            pipeline=bootstrap.pipeline_version,
        )
