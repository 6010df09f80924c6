"""Keys are rotated before they are too old, so that no token that was genuine when it was made is ever refused for its key."""

from __future__ import annotations

import asyncio
import itertools
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rspp.contract.errors import MisuseError, PeerFault
from rspp.control.security.key_folder import KeyFolder, first_key, how_to_start, is_loopback
from rspp.control.security.keyring import KEYS, Keyring, KeyRotation
from rspp.control.security.keys import (
    KeyPolicy,
    KeyRecord,
    KeyState,
    alarms,
    checked,
    is_due,
    kid_of,
    rotates_at_ms,
    signing,
    unbase64,
)
from rspp.control.security.seals import seal_holds
from rspp.control.security.tokens import Signer, TokenRefused, Verifier
from rspp.host.secrets import Secrets
from rspp.testing.clock import ManualClock
from rspp.testing.store import MemoryStore
from tests.unit.control.ruled import SHORT, Ruled, until
from tests.unit.control.signed import AUDIENCE, NOW_MS, Pair, claims


def code_of(error: pytest.ExceptionInfo[PeerFault] | pytest.ExceptionInfo[MisuseError]) -> str:
    return error.value.code


def token_of(ruled: Ruled, life_ms: int = SHORT.tokens_ms_max) -> str:
    return ruled.signer.sign(claims(iat_ms=ruled.now_ms, exp_ms=ruled.now_ms + life_ms))


def takes(ring: Keyring, token: str, now_ms: int) -> None:
    Verifier(ring).verify(token, kind="route", audience=AUDIENCE, now_ms=now_ms)


# ---- the folder -------------------------------------------------------------------------------------------------------


def test_a_private_key_is_readable_by_its_owner_alone_and_nothing_else_is_left(tmp_path: Path) -> None:
    os.umask(0)
    folder = KeyFolder(tmp_path / "deep" / "keys")
    made = first_key(folder, NOW_MS)
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    files = sorted(path.name for path in folder.path.iterdir())
    assert files == [f"{NOW_MS}-{made.kid}.pem", "holder"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.path.iterdir()} == {0o600}
    public = unbase64(made.public)
    assert public is not None
    assert kid_of(public) == made.kid
    assert folder.public(made.kid) == made.public
    assert made.reference.startswith("file:///")
    with pytest.raises(MisuseError) as error:
        first_key(folder, NOW_MS)
    assert code_of(error) == "control_already_begun"


@pytest.mark.parametrize("whole", [True, False], ids=["folder", "file"])
def test_a_folder_that_others_can_read_is_not_used(tmp_path: Path, whole: bool) -> None:
    folder = KeyFolder(tmp_path / "keys")
    made = first_key(folder, NOW_MS)
    (folder.path if whole else Path(made.reference.removeprefix("file://"))).chmod(0o740)
    with pytest.raises(MisuseError) as error:
        folder.held()
    assert code_of(error) == "key_folder_open"


def test_a_key_that_another_process_discards_meanwhile_is_not_there(tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path / "keys")
    made = first_key(folder, NOW_MS)
    (folder.path / f"1-{'a' * 32}.pem").symlink_to(tmp_path / "gone")  # listed, and not there any more
    assert list(folder.held()) == [made.kid]


def test_there_is_no_key_unless_somebody_made_it(tmp_path: Path) -> None:
    assert KeyFolder(tmp_path / "none").held() == {}
    with pytest.raises(MisuseError) as error:
        KeyFolder(tmp_path / "none").create_key(NOW_MS)
    assert code_of(error) == "key_folder_unusable"


@pytest.mark.parametrize(
    ("bind", "keys_held", "dev", "code"),
    [
        ("0.0.0.0", 0, False, "control_key_missing"),
        ("127.0.0.1", 0, False, "control_key_missing"),
        ("0.0.0.0", 0, True, "control_dev_not_loopback"),
        ("0.0.0.0", 1, True, "control_dev_not_loopback"),
        ("::", 0, True, "control_dev_not_loopback"),
        ("10.0.0.1", 0, True, "control_dev_not_loopback"),
        ("localhost.example.org", 0, True, "control_dev_not_loopback"),
        ("", 0, True, "control_dev_not_loopback"),
        ("::ffff:10.0.0.1", 0, True, "control_dev_not_loopback"),
    ],
)
def test_without_a_key_nothing_starts_that_others_could_reach(
    bind: str, keys_held: int, dev: bool, code: str
) -> None:
    with pytest.raises(MisuseError) as error:
        how_to_start(bind=bind, keys_held=keys_held, dev=dev)
    assert code_of(error) == code


def test_dev_mode_on_loopback_says_so_and_a_key_needs_no_mode() -> None:
    assert "not for production" in how_to_start(bind="127.0.0.1", keys_held=0, dev=True).notice
    assert "not for production" in how_to_start(bind="[::1]", keys_held=1, dev=True).notice
    assert how_to_start(bind="0.0.0.0", keys_held=1, dev=False).notice == ""
    assert is_loopback("127.8.8.8")


# ---- the rules --------------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 10**9), st.integers(0, 10**7), st.integers(1, 10**9), st.integers(0, 10**9))
def test_a_policy_that_is_taken_leaves_time_for_every_token_of_a_key(
    age: int, propagation: int, tokens: int, notice: int
) -> None:
    policy = KeyPolicy(age_ms_max=age, propagation_ms=propagation, tokens_ms_max=tokens, notice_ms=notice)
    try:
        checked(policy)
    except MisuseError as error:
        assert error.code == "key_policy_invalid"  # noqa: PT017
        return
    record = Pair(1, created_at_ms=0, activates_at_ms=0, age_ms_max=age).record
    at = rotates_at_ms(record, policy)
    # Rotated then, its successor signs after the propagation, and the last token of the old key still runs out in time.
    assert at > 0
    assert at + propagation + tokens <= record.over_age_at_ms
    assert not is_due([record], "h", policy, at - 1)
    assert is_due([record], "h", policy, at)


def test_the_newest_key_that_is_active_held_and_young_enough_signs() -> None:
    def pair(seed: int, **times: object) -> KeyRecord:
        return Pair(seed, **{"created_at_ms": 0, "activates_at_ms": 0, "age_ms_max": 100, **times}).record

    old, new = pair(1), pair(2, created_at_ms=40, activates_at_ms=50)
    both = frozenset({old.kid, new.kid})
    assert signing([old, new], both, 49) == old
    assert signing([new, old], both, 50) == new
    assert signing([old, new], frozenset({old.kid}), 60) == old
    retiring = pair(1, state=KeyState.RETIRING, retires_at_ms=50)
    assert signing([retiring, new], both, 49) == retiring
    revoked = pair(2, created_at_ms=40, activates_at_ms=50, state=KeyState.REVOKED)
    assert signing([old, revoked], both, 60) == old
    for records, held, now, code in (
        ([old], both, 100, "key_over_age"),
        ([new], both, 49, "key_missing"),
        ([old], frozenset[str](), 1, "key_missing"),
        ([revoked], both, 60, "key_missing"),
    ):
        with pytest.raises(PeerFault) as error:
            signing(records, held, now)
        assert code_of(error) == code


# ---- rotation ---------------------------------------------------------------------------------------------------------


def test_where_keys_can_only_be_read_what_was_put_there_is_published_and_nothing_is_made_or_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a secret that a cluster mounts: whoever keeps it rotates it."""

    async def main() -> None:
        ruled = await Ruled(tmp_path).begin()
        first = ruled.rotation.list()[0]
        ruled.clock.advance(rotates_at_ms(first, SHORT) - ruled.now_ms)
        second = ruled.folder.create_key(ruled.now_ms)
        put_aside = (ruled.folder.path / f"{second.created_at_ms}-{second.kid}.pem").rename(
            tmp_path / "later"
        )
        monkeypatch.setattr(KeyFolder, "is_writable", False)
        assert await ruled.rotation.tend() == ()
        assert [one.kid for one in ruled.rotation.list()] == [first.kid]
        assert not (ruled.folder.path / "lock").exists()
        with pytest.raises(MisuseError, match="rotate them where their folder is kept"):
            await ruled.rotation.rotate("ann")
        put_aside.rename(ruled.folder.path / f"{second.created_at_ms}-{second.kid}.pem")
        await ruled.rotation.tend()
        states = {one.kid: one.state for one in ruled.rotation.list()}
        assert states == {first.kid: KeyState.RETIRING, second.kid: KeyState.ACTIVE}
        await ruled.rotation.revoke(first.kid, "ann", "stolen")
        assert set(ruled.folder.held()) == {first.kid, second.kid}

    asyncio.run(main())


@pytest.mark.proves("NF-035")
def test_a_key_is_rotated_before_its_maximum_age_on_record_and_a_rotator_that_stopped_is_alarmed_and_refused(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        ruled = await Ruled(tmp_path).begin()
        workers = Keyring(ruled.store, ruled.clock)
        first = ruled.rotation.list()[0]
        young: list[str] = []
        for _ in range(200):  # four times the maximum age
            assert await ruled.rotation.tend() == ()
            await workers.load()
            # Nobody ever holds a token that its reader refuses, from the moment it was signed until it runs out.
            for token in (token_of(ruled), *young):
                takes(workers, token, ruled.now_ms)
            young = [token_of(ruled), *young][:4]
            ruled.clock.advance(2_000)
        keys = ruled.rotation.list()
        assert len(keys) >= 5
        for before, after in itertools.pairwise(keys):
            assert after.activates_at_ms < before.over_age_at_ms
            assert after.activates_at_ms == after.created_at_ms + SHORT.propagation_ms
        assert [key.state for key in keys] == [KeyState.RETIRING] * (len(keys) - 1) + [KeyState.ACTIVE]
        # Of the private halves only those are left that sign.
        assert len(ruled.folder.held()) <= 2
        done = [entry.record for entry in await ruled.on_record("keys.rotate")]
        done = [record for record in done if record.decision == "done"]
        assert [record.facts["kid"] for record in done] == [key.kid for key in keys]
        assert {record.principal_id for record in done[1:]} == {"system:rotation"}
        assert first.kid == keys[0].kid

        # The rotator stops: first an alarm, while all goes on; then its key is refused.
        last = keys[-1]
        token = token_of(ruled, 10_000)
        ruled.clock.advance(rotates_at_ms(last, SHORT) + SHORT.notice_ms // 2 - ruled.now_ms)
        assert "should have been rotated" in ruled.rotation.alarms()[0]
        token = token_of(ruled)
        ruled.clock.advance(last.over_age_at_ms - ruled.now_ms - 1)
        token = token_of(ruled)
        await workers.load()
        takes(workers, token, ruled.now_ms)
        ruled.clock.advance(1)
        assert "is over its maximum age and is refused" in ruled.rotation.alarms()[0]
        await workers.load()
        with pytest.raises(TokenRefused) as refused:
            takes(workers, token, ruled.now_ms)
        assert refused.value.code == "token_key_over_age"
        with pytest.raises(PeerFault) as error:
            token_of(ruled)
        assert code_of(error) == "key_over_age"
        # And when it comes back, it mends this by itself.
        await ruled.rotation.tend()
        ruled.clock.advance(SHORT.propagation_ms)
        assert await ruled.rotation.tend() == ()
        await workers.load()
        takes(workers, token_of(ruled), ruled.now_ms)

    asyncio.run(main())


def test_a_revoked_key_is_refused_at_once_and_its_private_half_is_gone(tmp_path: Path) -> None:
    async def main() -> None:
        ruled = await Ruled(tmp_path).begin()
        kid = ruled.rotation.list()[0].kid
        token = token_of(ruled)
        seal = ruled.signer.seal("p", b"data", ruled.now_ms)
        assert seal_holds(ruled.ring, "p", b"data", seal)
        await ruled.rotation.revoke(kid, "alice", "leaked")
        with pytest.raises(TokenRefused) as refused:
            takes(ruled.ring, token, ruled.now_ms)
        assert refused.value.code == "token_key_revoked"
        assert not seal_holds(ruled.ring, "p", b"data", seal)
        assert kid not in ruled.folder.held()
        # Signing goes on with a new one.
        takes(ruled.ring, token_of(ruled), ruled.now_ms)
        assert await ruled.said("keys.revoke") == [
            ("allow", "alice", "leaked"),
            ("done", "alice", "leaked"),
        ]
        with pytest.raises(PeerFault) as error:
            await ruled.rotation.revoke("f" * 32, "alice", "typo")
        assert code_of(error) == "key_unknown"

    asyncio.run(main())


def test_a_rotation_that_was_cut_short_is_ended_by_the_next_round(tmp_path: Path) -> None:
    async def main() -> None:
        ruled = await Ruled(tmp_path).begin()
        ruled.clock.advance(5_000)
        lost = ruled.folder.create_key(ruled.now_ms)  # and the process died before it was published
        ruled.clock.advance(5_000)
        await ruled.rotation.tend()
        states = {key.kid: key for key in ruled.rotation.list()}
        assert states[lost.kid].state is KeyState.ACTIVE
        assert states[lost.kid].created_at_ms == ruled.now_ms - 5_000  # it has not become younger
        assert [key.state for key in states.values()].count(KeyState.RETIRING) == 1

    asyncio.run(main())


def test_two_processes_with_one_folder_rotate_once(tmp_path: Path) -> None:
    async def main() -> None:
        ruled = await Ruled(tmp_path).begin()
        other = Keyring(ruled.store, ruled.clock)
        twin = KeyRotation(
            ruled.store, KeyFolder(ruled.folder.path), other, ruled.audit, policy=SHORT, clock=ruled.clock
        )
        ruled.clock.advance(80_000)
        await asyncio.gather(*(one.tend() for one in (ruled.rotation, twin) for _ in range(3)))
        await other.load()
        assert len(other.records) == 2
        ruled.clock.advance(SHORT.propagation_ms)
        takes(other, token_of(ruled), ruled.now_ms)
        signed = Signer(twin, Secrets()).sign(claims(iat_ms=ruled.now_ms, exp_ms=ruled.now_ms + 1))
        takes(ruled.ring, signed, ruled.now_ms)

    asyncio.run(main())


def test_another_key_under_a_known_name_and_a_record_that_is_none_are_left_out() -> None:
    async def main() -> None:
        store, clock = MemoryStore(), ManualClock()
        ring = Keyring(store, clock)
        with pytest.raises(PeerFault) as error:
            ring.key("any")
        assert code_of(error) == "token_keys_stale"
        good, evil = Pair(1).record, Pair(2).record
        import msgspec

        forged = msgspec.structs.replace(evil, kid=good.kid)
        for key, value in [
            (good.kid, msgspec.json.encode(forged)),
            (evil.kid, msgspec.json.encode(good)),
            ("x", b"{"),
            ("y", b'{"\xff'),
        ]:
            await store.put(KEYS, key, value)
        await ring.load()
        assert ring.records == ()
        await store.put(KEYS, good.kid, msgspec.json.encode(good))
        await ring.load()
        assert ring.key(good.kid) == good
        await store.delete(KEYS, good.kid)
        await ring.load()
        assert ring.key(good.kid) is None
        clock.advance(300_001)
        with pytest.raises(PeerFault) as error:
            ring.key(good.kid)
        assert code_of(error) == "token_keys_stale"

    asyncio.run(main())


def test_a_verifier_hears_of_a_revocation_by_the_watch(tmp_path: Path) -> None:
    async def main() -> None:
        ruled = await Ruled(tmp_path).begin()
        worker = Keyring(ruled.store, ruled.clock)
        following = asyncio.create_task(worker.run())
        kid = ruled.rotation.list()[0].kid
        await until(lambda: bool(worker.records))
        await ruled.rotation.revoke(kid, "alice", "leaked")
        await until(lambda: (found := worker.key(kid)) is not None and found.state is KeyState.REVOKED)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    asyncio.run(main())


def test_no_alarm_is_raised_for_keys_that_are_in_time() -> None:
    record = Pair(1, created_at_ms=0, activates_at_ms=0, age_ms_max=100_000).record
    assert alarms([record], SHORT, rotates_at_ms(record, SHORT)) == ()
