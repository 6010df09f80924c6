from __future__ import annotations

from typing import Any

import pytest

from rspp.contract.errors import PeerFault
from rspp.control.security.tokens import Verifier
from rspp.control.worker.gate import OpenGate, RouteGate
from rspp.host.ports import Refused
from tests.unit.control.signed import AUDIENCE, NOW_MS, Keys, Pair, claims
from tests.unit.host.stage import bootstrap_of

PAIR = Pair()


def gate_of(
    denied: list[str], now_ms: int = NOW_MS, audiences: tuple[str, ...] = ("ws://me", AUDIENCE)
) -> Any:
    return RouteGate(Verifier(Keys(PAIR.record)), audiences, lambda: now_ms, denied.append)


def shown(token: str | None, tenant: str = "acme", transport: str = "websocket") -> Any:
    return bootstrap_of(
        tenant, token=token, transport_kind=transport, session_id="mine", pipeline_version="mine"
    )


def test_who_shows_a_route_token_for_this_door_comes_in_as_what_it_says() -> None:
    denied: list[str] = []
    admitted = gate_of(denied).admit(shown(PAIR.signer.sign(claims())))

    assert (admitted.tenant_id, admitted.session_id, admitted.pipeline) == ("acme", "s-1", "v3")
    assert admitted.token_id == "j" * 24
    assert denied == []


@pytest.mark.parametrize(
    ("token", "more", "code"),
    [
        (None, {}, "token_missing"),
        ("", {}, "token_missing"),
        ("not a token", {}, "token_malformed"),
        (PAIR.signer.sign(claims())[:-2] + "AA", {}, "token_signature_invalid"),
        (Pair(2).signer.sign(claims()), {}, "token_key_unknown"),
        (PAIR.signer.sign(claims(aud="ws://another")), {}, "token_audience_wrong"),
        (PAIR.signer.sign(claims(exp_ms=NOW_MS + 1)), {"now_ms": NOW_MS + 1}, "token_expired"),
        (PAIR.signer.sign(claims(kind="principal")), {}, "token_kind_wrong"),
        (PAIR.signer.sign(claims(transport_kind="webrtc")), {}, "token_transport_wrong"),
        (PAIR.signer.sign(claims(tenant_id="another")), {}, "token_tenant_wrong"),
        (PAIR.signer.sign(claims()), {"audiences": ("", "ws://me")}, "token_audience_wrong"),
        (PAIR.signer.sign(claims()), {"audiences": ("",)}, "token_missing"),
    ],
)
def test_all_others_hear_one_and_the_same_word_and_the_log_hears_why(
    token: str | None, more: dict[str, Any], code: str
) -> None:
    denied: list[str] = []
    with pytest.raises(Refused) as refusal:
        gate_of(denied, **more).admit(shown(token))

    assert (refusal.value.code, refusal.value.message) == (
        "token_refused",
        "the token does not open this door",
    )
    assert (refusal.value.retry_after_ms, refusal.value.endpoint) == (None, None)
    assert denied == [code]


def test_while_the_keys_are_not_known_nobody_comes_in() -> None:
    class Away:
        def key(self, kid: str) -> None:
            raise PeerFault("keys_unknown", "the keys were not read for too long")

    denied: list[str] = []
    gate = RouteGate(Verifier(Away()), (AUDIENCE,), lambda: NOW_MS, denied.append)
    with pytest.raises(Refused, match="token_refused"):
        gate.admit(shown(PAIR.signer.sign(claims())))
    assert denied


def test_an_open_door_believes_what_it_is_told() -> None:
    admitted = OpenGate().admit(shown(None))

    assert (admitted.tenant_id, admitted.session_id, admitted.pipeline) == ("acme", "mine", "mine")
    assert admitted.token_id == ""
