"""A token is taken as it was signed, by whom it is meant for, while it is in force; everything else is refused alike."""

from __future__ import annotations

import hmac
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from rspp.contract.codes import CODES
from rspp.contract.errors import MisuseError
from rspp.control.security.keys import KeyState
from rspp.control.security.tokens import (
    OUTWARD,
    TOKEN_CHARACTERS_MAX,
    Claims,
    KeyRef,
    OneKey,
    Signer,
    TokenRefused,
    Verifier,
)
from rspp.host.secrets import Secrets
from tests.unit.control.signed import AUDIENCE, NOW_MS, Keys, Pair, b64, by_hand, claims, unb64

OURS = Pair(1)
THEIRS = Pair(2)
GENUINE = OURS.signer.sign(claims())
BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def verified(token: Any, *, keys: Keys | None = None, now_ms: int = NOW_MS, **asked: Any) -> Claims:
    given: dict[str, Any] = {"kind": "route", "audience": AUDIENCE, **asked}
    return Verifier(keys or Keys(OURS.record)).verify(token, now_ms=now_ms, **given)


def refusal(token: Any, **asked: Any) -> str:
    with pytest.raises(TokenRefused) as caught:
        verified(token, **asked)
    error = caught.value
    assert error.code in CODES
    # From outside all refusals are one.
    assert (error.outward, error.message) == (OUTWARD, "the token is refused")
    assert error.__cause__ is None
    return error.code


def test_a_genuine_token_gives_back_its_claims_and_its_header_is_these_bytes() -> None:
    assert verified(GENUINE) == claims()
    header = f'{{"alg":"EdDSA","kid":"{OURS.record.kid}","typ":"JWT"}}'
    assert unb64(GENUINE.split(".")[0]) == header.encode()
    assert verified(by_hand(OURS)) == claims()


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(GENUINE) - 1), st.characters(codec="utf-8"))
def test_any_changed_character_of_a_token_is_refused(place: int, put: str) -> None:
    changed = GENUINE[:place] + put + GENUINE[place + 1 :]
    if changed != GENUINE:
        refusal(changed)


def test_no_character_of_a_token_can_stand_for_another() -> None:
    """Every place, with the neighbours that lax Base64 would take for the same."""
    for place, has in enumerate(GENUINE):
        if has in BASE64:
            for step in (1, 2, 4, 8, 16, 32):
                put = BASE64[BASE64.index(has) ^ step]
                refusal(GENUINE[:place] + put + GENUINE[place + 1 :])


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200))
def test_what_is_no_token_is_refused_and_breaks_nothing(text: str) -> None:
    refusal(text)
    refusal(f"{GENUINE}{text}" if text else "")


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=120), st.binary(max_size=300))
def test_whatever_stands_in_a_part_that_is_signed_truly_is_refused_unless_it_is_ours(
    head: bytes, body: bytes
) -> None:
    refusal(by_hand(OURS, header=head))
    refusal(by_hand(OURS, body=body))


@pytest.mark.parametrize("end", [0, 1, 20, len(GENUINE) - 1])
def test_a_truncated_token_is_refused(end: int) -> None:
    refusal(GENUINE[:end])


@pytest.mark.proves("F-119")
def test_claims_that_were_altered_a_swapped_key_alg_none_and_a_passed_time_are_refused() -> None:
    head, body, signature = GENUINE.split(".")
    said = json.loads(unb64(body))
    assert set(said) == set(Claims.__struct_fields__)
    for name, value in said.items():
        other = value + 1 if isinstance(value, int) else "principal" if name == "kind" else f"{value}x"
        altered = msgspec.json.encode(said | {name: other})
        assert refusal(f"{head}.{b64(altered)}.{signature}") == "token_signature_invalid"
    # the key
    assert refusal(by_hand(THEIRS)) == "token_key_unknown"
    own = unb64(head)
    assert refusal(by_hand(THEIRS, header=own)) == "token_signature_invalid"
    assert refusal(GENUINE, keys=Keys(THEIRS.record)) == "token_key_unknown"
    # the algorithm
    none = b64(f'{{"alg":"none","kid":"{OURS.record.kid}","typ":"JWT"}}')
    assert refusal(f"{none}.{body}.") == "token_unsigned"
    # the time
    assert verified(GENUINE, now_ms=NOW_MS + 59_999) == claims()
    assert refusal(GENUINE, now_ms=NOW_MS + 60_000) == "token_expired"


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "HS256", "RS256", "EdDSA ", "eddsa", ""])
def test_no_other_algorithm_is_taken_even_with_a_signature_that_its_rules_would_accept(alg: str) -> None:
    header = json.dumps({"alg": alg, "kid": OURS.record.kid, "typ": "JWT"}, separators=(",", ":"))
    assert refusal(by_hand(OURS, header=header)) == "token_unsigned"
    body = f"{b64(header)}.{GENUINE.split('.')[1]}"
    # The old trick: the public key as the secret of an HMAC.
    mac = hmac.digest(OURS.record.public_bytes, body.encode(), "sha256")
    assert refusal(f"{body}.{b64(mac)}") == "token_unsigned"
    bare = b64('{"alg":"none"}')
    assert refusal(f"{bare}.{GENUINE.split('.')[1]}.") == "token_unsigned"


KID = OURS.record.kid


@pytest.mark.parametrize(
    "header",
    [
        f'{{"alg":"EdDSA","typ":"JWT","kid":"{KID}"}}',
        f'{{"alg":"EdDSA", "kid":"{KID}","typ":"JWT"}}',
        f'{{"alg":"EdDSA","kid":"{KID}","typ":"JWT","crit":["x"]}}',
        f'{{"alg":"EdDSA","kid":"{KID}","typ":"JWT","jwk":{{}}}}',
        f'{{"alg":"EdDSA","alg":"EdDSA","kid":"{KID}","typ":"JWT"}}',
        f'{{"alg":"EdDSA","kid":"x","kid":"{KID}","typ":"JWT"}}',
        f'{{"alg":"EdDSA","kid":"{KID}","typ":"jwt"}}',
        f'{{"alg":"EdDSA","kid":"{KID}"}}',
        f'{{"alg":"EdDSA","kid":"\\u{ord(KID[0]):04x}{KID[1:]}","typ":"JWT"}}',
        f'{{"alg":"EdDSA","kid":["{KID}"],"typ":"JWT"}}',
        "[]",
        "null",
        "",
        "\ufeff{}",
        '{"alg":' * 500,
    ],
)
def test_a_header_that_is_not_byte_for_byte_ours_is_refused_though_it_is_signed(header: str) -> None:
    assert refusal(by_hand(OURS, header=header)) == "token_malformed"


def bodies() -> list[str]:
    body = unb64(GENUINE.split(".")[1]).decode()
    said = json.loads(body)
    return [
        body.replace('"sub"', '"sub":"x","sub"'),  # a key twice
        body[:-1] + ',"admin":true}',
        body[:-1] + ',"region":"us"}',
        body.replace(",", ", ", 1),
        body.replace('"caller"', '"c\\u0061ller"'),
        body.replace("60000", "60000.0"),
        body.replace(str(NOW_MS), f"{NOW_MS}e0", 1),
        body.replace('"authority_epoch":7', '"authority_epoch":-7'),
        body.replace('"authority_epoch":7', '"authority_epoch":true'),
        body.replace('"authority_epoch":7', f'"authority_epoch":{2**63}'),
        body.replace("acme", "ac\\ud800me"),
        body.replace("acme", "ac\\u0000me"),
        body.replace("acme", "é" * 201),
        body.replace('"acme"', '""'),
        body.replace('"acme"', "null"),
        body.replace('"route"', '"root"'),
        json.dumps(said, sort_keys=True, separators=(",", ":")),
        json.dumps({name: value for name, value in said.items() if name != "region"}, separators=(",", ":")),
        json.dumps(said | {"exp_ms": NOW_MS}, separators=(",", ":")),
        json.dumps(said | {"jti": ""}, separators=(",", ":")),
        f"[{body}]",
        f"{body} ",
    ]


@pytest.mark.parametrize("number", range(len(bodies())))
def test_claims_that_are_not_written_as_we_write_them_are_refused_though_they_are_signed(number: int) -> None:
    assert refusal(by_hand(OURS, body=bodies()[number])) == "token_malformed"


@pytest.mark.parametrize(
    ("token", "code"),
    [
        (None, "token_missing"),
        ("", "token_missing"),
        (GENUINE.encode(), "token_malformed"),
        (GENUINE + ".", "token_malformed"),
        (GENUINE + "=", "token_malformed"),
        (GENUINE + "\n", "token_malformed"),
        (" " + GENUINE, "token_malformed"),
        (GENUINE.replace(".", ".\u200b", 1), "token_malformed"),
        (GENUINE.replace(".", "\uff0e", 1), "token_malformed"),
        ("A" * (TOKEN_CHARACTERS_MAX + 1), "token_malformed"),
        (GENUINE + "A" * TOKEN_CHARACTERS_MAX, "token_malformed"),
        ("..", "token_malformed"),
        (b64(b'{"alg":' + b"[" * 2_900) + ".e30.AA", "token_malformed"),
        (b64(b"[" * 2_900) + ".e30.AA", "token_malformed"),
        (GENUINE.rpartition(".")[0] + ".", "token_signature_invalid"),
    ],
)
def test_what_has_not_the_form_of_a_token_is_refused_before_it_is_read(token: Any, code: str) -> None:
    assert refusal(token) == code


def test_kind_audience_future_and_length_of_life_are_held_against_what_is_asked() -> None:
    def signed(**changes: Any) -> str:
        return OURS.signer.sign(claims(**changes))

    assert refusal(GENUINE, kind="principal") == "token_kind_wrong"
    assert refusal(signed(kind="principal"), kind="route") == "token_kind_wrong"
    for audience in ("", "rspp", AUDIENCE + "x", AUDIENCE.upper()):
        assert refusal(GENUINE, audience=audience) == "token_audience_wrong"
    ahead = signed(iat_ms=NOW_MS + 5_000, exp_ms=NOW_MS + 9_000)
    assert verified(ahead).iat_ms == NOW_MS + 5_000
    assert refusal(ahead, now_ms=NOW_MS - 1) == "token_not_yet_valid"
    assert verified(signed(exp_ms=NOW_MS + 300_000)).exp_ms == NOW_MS + 300_000
    assert refusal(signed(exp_ms=NOW_MS + 300_001)) == "token_lifetime_too_long"


def test_a_key_that_is_revoked_or_over_its_age_vouches_for_nothing() -> None:
    revoked = Pair(1, state=KeyState.REVOKED, revoked_at_ms=NOW_MS)
    assert refusal(GENUINE, keys=Keys(revoked.record)) == "token_key_revoked"
    retiring = Pair(1, state=KeyState.RETIRING)
    assert verified(GENUINE, keys=Keys(retiring.record)) == claims()
    old = Pair(1, created_at_ms=NOW_MS - 1_000, age_ms_max=2_000)
    assert verified(GENUINE, keys=Keys(old.record), now_ms=NOW_MS + 999) == claims()
    assert refusal(GENUINE, keys=Keys(old.record), now_ms=NOW_MS + 1_000) == "token_key_over_age"


def test_no_token_is_signed_with_claims_that_would_be_refused() -> None:
    for name, value in [
        ("sub", ""),
        ("tenant_id", ""),
        ("jti", "a\nb"),
        ("exp_ms", NOW_MS),
        ("region", "x" * 201),
    ]:
        with pytest.raises(MisuseError) as caught:
            OURS.signer.sign(claims(**{name: value}))
        assert (caught.value.code, caught.value.path) == ("token_claims_invalid", name)


def test_a_private_key_is_named_by_reference_and_is_shown_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text(OURS.pem)
    secrets = Secrets()
    signer = Signer(OneKey(KeyRef(KID, f"file://{path}")), secrets)
    assert verified(signer.sign(claims())) == claims()
    assert "PRIVATE" not in repr(signer)
    assert OURS.pem not in secrets.scrub(f"a log line with {OURS.pem.strip()}")
    elliptic = ec.generate_private_key(ec.SECP256R1())
    wrong = elliptic.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    for pem in (wrong, "not a key", OURS.pem.replace("M", "N", 3), THEIRS.pem):
        bad = Signer(OneKey(KeyRef(KID, "env://KEY")), Secrets({"KEY": pem}))
        with pytest.raises(MisuseError) as caught:
            bad.sign(claims())
        assert caught.value.code == "key_unusable"
        assert pem[30:60] not in str(caught.value) or len(pem) < 30
