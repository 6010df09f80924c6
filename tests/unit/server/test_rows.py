"""The rows that owners make: what an operator sees of each record, and what nobody ever sees."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rspp.contract.surface import TEXT_CHARACTERS_MAX, Level, Row, is_bounded
from rspp.control.authority.leases import Lease, LeaseState
from rspp.control.authority.members import Member, MemberState
from rspp.control.config.documents import Document, Move, Pointer
from rspp.control.config.rollout import Rollout
from rspp.control.config.rollouts import Change as RolloutChange
from rspp.control.config.rollouts import Record
from rspp.control.fleet.provider_board import Circuits
from rspp.control.fleet.provider_health import ProviderReport, ProviderState
from rspp.control.fleet.regions import Region, RegionMode
from rspp.control.fleet.status import SessionWord, Status
from rspp.control.intake.limits import QuotaRecord, use_row
from rspp.control.intake.quotas import Limit, TenantLimits, Usage
from rspp.control.names import key
from rspp.control.security.approvals import Change, Proposal, ProposalState
from rspp.ops.actions import actions_of
from rspp.ops.health import health_of
from rspp.server.surfaces import SURFACES, surfaces
from tests.unit.ops.owners import OWNERS

ALL = surfaces()
SECRET = "5ec2e7-of-the-caller"


def row(surface: str, where: str, record: Any) -> Row:
    made = read(surface, where, msgspec.json.encode(record))
    assert made is not None
    return made


def read(surface: str, where: str, value: bytes) -> Row | None:
    reader = ALL.named(surface).row
    assert reader is not None
    return reader(where, value)


def worker(**more: Any) -> Row:
    value = Member(**{"id": "w1", "kind": "worker", "ttl_ms": 15_000, "ready": True, **more})
    return row("workers", key("w1"), value)


def test_a_worker_is_as_well_as_it_says() -> None:
    told = [
        worker(),
        worker(ready=False, reasons=("provider:llm", "full")),
        worker(state=MemberState.DRAINING, ready=False),
        worker(state=MemberState.LOST, reason="its process has ended"),
        worker(state=MemberState.LEFT, reason="stopped"),
        worker(kind="control", ready=False),
    ]
    assert [(one.level, one.reason) for one in told] == [
        (Level.OK, ""),
        (Level.DEGRADED, "worker_unready"),
        (Level.NOTICE, "worker_draining"),
        (Level.FAILED, "worker_lost"),
        (Level.OK, ""),
        (Level.OK, ""),
    ]
    assert "provider:llm" in told[1].message
    assert [one.over for one in told] == [False, False, False, False, True, False]


def test_a_beat_is_no_change_and_a_session_more_is() -> None:
    assert worker(beat=1).digest() == worker(beat=900).digest()
    assert worker(sessions=1).digest() != worker().digest()
    assert worker(load=0.501).digest() == worker(load=0.502).digest()


def test_a_lease_tells_who_owns_and_never_what_opens_the_line() -> None:
    lease = Lease(
        tenant_id="acme",
        session_id="s",
        owner="w1",
        resume_hash=SECRET,
        token_id=SECRET,
        write=SECRET,
        epoch=4,
    )
    made = row("leases", key("acme", "s"), lease)
    assert (made.tenant_id, made.state, made.facts["owner"], made.facts["epoch"]) == ("acme", "held", "w1", 4)
    assert SECRET.encode() not in msgspec.json.encode(made)
    again = row("leases", key("acme", "s"), msgspec.structs.replace(lease, write="other", resume_hash=""))
    assert again.digest() == made.digest()
    revoked = msgspec.structs.replace(lease, state=LeaseState.REVOKED, reason="an operator said so")
    assert row("leases", key("acme", "s"), revoked).reason == "lease_revoked"
    assert read("leases", key("zeta", "s"), msgspec.json.encode(lease)) is None


def test_a_session_that_lacks_something_is_degraded_and_says_what() -> None:
    status = Status(
        tenant="acme",
        session="s",
        state=SessionWord.DEGRADED,
        since_ms=5,
        opened_ms=1,
        epoch=2,
        owner="w1",
        turns=3,
        missing=("tts",),
        reason="provider_failure",
    )
    made = row("sessions", key("acme", "s"), status)
    assert (made.level, made.reason, made.since_ms) == (Level.DEGRADED, "session_degraded", 5)
    assert "tts" in made.message
    assert (
        row("sessions", key("acme", "s"), msgspec.structs.replace(status, changes=99)).digest()
        == made.digest()
    )
    ended = msgspec.structs.replace(status, state=SessionWord.ENDED)
    assert row("sessions", key("acme", "s"), ended).over


def test_a_frozen_rollout_says_by_whom() -> None:
    change = RolloutChange(what="freeze", base="v1", canary="v2", percent=5, author="ann", reason="", at_ms=9)
    rollout = Rollout(pipeline="desk", base="v1", canary="v2", percent=5, frozen=True, frozen_by="ann")
    made = row("rollouts", key("rollout", "desk"), Record(rollout=rollout, number=1, changes=(change,)))
    assert (made.state, made.level, made.reason, made.since_ms) == (
        "frozen",
        Level.NOTICE,
        "rollout_frozen",
        9,
    )
    burned = msgspec.structs.replace(rollout, frozen_by="error_budget", frozen_reason="burned")
    assert row("rollouts", key("rollout", "desk"), Record(rollout=burned, number=1)).level is Level.DEGRADED


def test_a_region_that_takes_nobody_is_told_of_worse_where_no_person_turned_it() -> None:
    shut = Region(name="eu", mode=RegionMode.DRAIN, author="ann", reason="patching")
    made = row("routing_view", key("region", "eu"), shut)
    assert (made.level, made.reason) == (Level.NOTICE, "region_shut")
    automatic = msgspec.structs.replace(shut, automatic=True)
    assert row("routing_view", key("region", "eu"), automatic).level is Level.DEGRADED
    unreadable = read("routing_view", key("region", "eu"), b"\xff")
    assert unreadable is not None
    assert (unreadable.state, unreadable.level) == ("closed", Level.DEGRADED)


def test_a_providers_row_moves_with_its_state_and_not_with_every_call() -> None:
    def report(**more: Any) -> Row:
        value = ProviderReport(
            **{
                "provider": "llm",
                "member": "w1",
                "region": "eu",
                "state": ProviderState.HEALTHY,
                "at_ms": 1,
                "availability": 95,
                "calls": 20,
                **more,
            }
        )
        return row("provider_health", key("provider", "llm", "w1"), value)

    quiet = report()
    assert report(at_ms=9, calls=21, availability=97, beat=8, latency_p95_ms=401).digest() == quiet.digest()
    ill = report(state=ProviderState.UNHEALTHY, availability=20)
    assert (ill.level, ill.reason, ill.facts["provider"]) == (Level.DEGRADED, "provider_unhealthy", "llm")


def test_a_proposal_waits_until_it_is_decided_and_its_seal_is_not_told() -> None:
    change = Change(kind="rollout.change", target="desk", digest="0" * 64, tenant_id="acme")
    waits = Proposal(id="p1", change=change, author="ann", reason="why", created_at_ms=1, expires_at_ms=9)
    made = row("approvals", "p1", waits)
    assert (made.level, made.reason, made.tenant_id, made.until_ms) == (
        Level.NOTICE,
        "approval_waiting",
        "acme",
        9,
    )
    used = msgspec.structs.replace(waits, state=ProposalState.USED, decided_by="bob", used_by="ann")
    assert row("approvals", "p1", used).over


def test_a_quota_that_is_nearly_and_then_wholly_used_up_is_told() -> None:
    limits = TenantLimits(sessions=Limit(most=10), tokens_per_minute=Limit(most=1_000))
    assert use_row("acme", limits, Usage(sessions=8, tokens_minute=899)) is None
    nearly = use_row("acme", limits, Usage(sessions=9, tokens_minute=10))
    used_up = use_row("acme", limits, Usage(sessions=9, tokens_minute=1_000))
    assert nearly is not None
    assert used_up is not None
    assert (nearly.level, nearly.reason, nearly.facts["quota"]) == (
        Level.NOTICE,
        "quota_nearly_used_up",
        "sessions",
    )
    assert (used_up.level, used_up.reason) == (Level.DEGRADED, "quota_used_up")
    assert used_up.facts["quota"] == "tokens_per_minute"
    assert use_row(None, TenantLimits(), Usage(sessions=99)) is None


def test_what_was_set_is_a_row_of_its_own_beside_what_is_used_up() -> None:
    record = QuotaRecord(
        tenant="acme", limits=TenantLimits(sessions=Limit(most=10)), author="ann", reason="why", at_ms=3
    )
    made = row("admission_quotas", key("quota", "acme"), record)
    assert (made.aggregate_id, made.tenant_id, made.facts["sessions"]) == ("acme", "acme", 10)


def test_a_published_version_and_what_is_in_force_are_rows_without_their_text() -> None:
    text = f"pipeline: desk # {SECRET}"
    document = Document(
        kind="spec", name="desk", version="v1", text=text, sha256="ab", author="ann", created_at_ms=1
    )
    made = row("pipelines", key("spec", "desk", "v1"), document)
    assert made.aggregate_id == "desk@v1"
    assert SECRET.encode() not in msgspec.json.encode(made)
    move = Move(what="set", before=None, after="v2", author="ann", reason="", at_ms=4)
    pointer = Pointer(kind="policy", name="acme", stack=("v1", "v2"), at=1, number=2, moves=(move,))
    force = row("policies", key("pointer", "policy", "acme"), pointer)
    assert (force.facts["version"], force.facts["former"], force.tenant_id) == ("v2", "v1", "acme")


def test_a_work_session_that_stopped_says_where() -> None:
    work = {"id": "r1", "state": "stopped", "step": "replay", "reason": "a divergence", "more": [1]}
    made = row("runtime_work_session", "r1", work)
    assert (made.level, made.reason) == (Level.DEGRADED, "work_stopped")
    assert "replay" in made.message
    assert read("runtime_work_session", "r2", msgspec.json.encode(work)) is None


def test_a_work_session_is_offered_to_go_on_exactly_when_it_waits() -> None:
    """Waiting, with nothing open, at a step that has a name; whoever else says so needs something first, or nothing."""
    met, unmet = {"what": "mend the gate", "ref": "a.txt"}, {"what": "mend the gate", "ref": ""}
    stands: list[tuple[dict[str, Any], str, bool]] = [
        ({"state": "waiting", "next_goal": "publish"}, "work_waiting", True),
        ({"state": "waiting", "requirements": [met]}, "work_waiting", True),
        ({"state": "waiting", "requirements": [met, unmet]}, "work_stopped", False),
        ({"state": "failed", "requirements": [unmet]}, "work_stopped", False),
        ({"state": "stopped", "requirements": [unmet]}, "work_stopped", False),
        ({"state": "running"}, "", False),
        ({"state": "blank"}, "", False),
        ({"state": "done"}, "", False),
    ]
    for fields, code, offered in stands:
        made = row("runtime_work_session", "r1", {"id": "r1", "step": "2", "line": 4, **fields})
        assert made.reason == code, fields
        reasons = health_of({"runtime_work_session": [made]}, ALL, as_of_ms=1, sequence=1, stale=False)
        assert ["continue_work"] * offered == [one.kind for one in actions_of(reasons)]
        assert ("mend the gate" in made.message) is (code == "work_stopped")
    assert row("runtime_work_session", "r1", {"id": "r1", "state": "done"}).over


def test_each_line_of_a_work_session_is_a_change_of_its_row() -> None:
    def at(line: int) -> str:
        return row("runtime_work_session", "r%2F1", {"id": "r/1", "state": "running", "line": line}).digest()

    assert at(4) == at(4) != at(5)


def test_since_when_is_told_where_the_record_says_so_and_nowhere_else() -> None:
    assert worker(joined_wall_ms=7).since_ms == 7
    for more in ({"ready": False}, {"state": MemberState.DRAINING}, {"state": MemberState.LOST}):
        assert worker(joined_wall_ms=7, **more).since_ms == 0
    lease = Lease(tenant_id="acme", session_id="s", owner="w1", opened_wall_ms=7)
    assert row("leases", key("acme", "s"), lease).since_ms == 7
    for change in ({"taken": 1}, {"state": LeaseState.REVOKED}):
        changed = msgspec.structs.replace(lease, **change)
        assert row("leases", key("acme", "s"), changed).since_ms == 0


def is_a_page(made: Row) -> None:
    assert is_bounded(made)
    assert bool(made.reason) is (made.level is not Level.OK) is bool(made.message)


@pytest.mark.parametrize("one", [one for one in SURFACES if one.row is not None], ids=lambda one: one.name)
@given(where=st.text(max_size=40), value=st.binary(max_size=200))
def test_bytes_that_are_no_record_are_no_row_and_never_raise(one: Any, where: str, value: bytes) -> None:
    for place in one.places:
        made = one.row(place.prefix + where, value)
        assert made is None or one.name == "routing_view"  # a region that cannot be read is closed


# What a record may hold and its owner never meant.
HOSTILE: tuple[Any, ...] = (
    2**64 - 1,
    -(2**63),
    1e308,
    -1,
    0,
    "",
    "x" * 10_000,
    "\ud800",
    "a\nb\x00",
    [],
    {},
    None,
    True,
)


def places_in(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if at:
        yield at
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, one in inner:
        yield from places_in(one, (*at, name))


def hostile(draw: random.Random, record: bytes) -> bytes:
    """The record with something else in one or two places."""
    value = json.loads(record)
    for _ in range(draw.randrange(1, 3)):
        *path, last = draw.choice(list(places_in(value)))
        place = value
        for name in path:
            if not isinstance(place, dict | list):
                break
            place = place[name]
        if isinstance(place, dict | list):
            place[last] = deepcopy(draw.choice(HOSTILE))
    return json.dumps(value).encode()


def test_records_with_something_hostile_in_them_are_rows_that_fit_or_none() -> None:
    draw, made = random.Random(11), 0
    written = [draw.choice(OWNERS[:-1])(draw, beat) for beat in range(100)]
    document = Document(
        kind="spec", name="d", version="v1", text="", sha256="ab", author="ann", created_at_ms=1
    )
    pointer = Pointer(kind="policy", name="acme", stack=("v1", "v2"), at=1, number=2, moves=())
    change = Change(kind="rollout.change", target="desk", digest="0" * 64, tenant_id="acme")
    proposal = Proposal(id="p1", change=change, author="a", reason="", created_at_ms=1, expires_at_ms=9)
    written += [
        ("config", key("spec", "d", "v1"), msgspec.json.encode(document)),
        ("config", key("pointer", "policy", "acme"), msgspec.json.encode(pointer)),
        ("config", key("region", "eu"), msgspec.json.encode(Region(name="eu", mode=RegionMode.DRAIN))),
        ("approvals", "p1", msgspec.json.encode(proposal)),
        ("work", "r1", b'{"id":"r1","state":"stopped","step":"replay","reason":"a divergence"}'),
        ("audit", "w1", b'{"count":3,"digest":"abcd"}'),
    ]
    for _ in range(2_000):
        bucket, where, value = draw.choice(written)
        for surface in ALL.at(bucket, where):
            assert surface.row is not None
            found = surface.row(where, hostile(draw, value))
            if found is not None:
                made += 1
                assert is_bounded(found), (surface.name, found)
                assert len(found.aggregate_id) <= TEXT_CHARACTERS_MAX
                found.digest()
    assert made > 100


def test_what_simulated_owners_write_makes_rows_of_bounded_size_that_say_why() -> None:
    draw = random.Random(7)
    for beat in range(2_000):
        bucket, where, value = draw.choice(OWNERS[:-2])(draw, beat)
        for surface in ALL.at(bucket, where):
            assert surface.row is not None
            made = surface.row(where, value)
            if made is not None:
                is_a_page(made)


def test_the_longest_record_makes_a_row_of_bounded_size() -> None:
    long = "x" * 5_000
    is_a_page(
        worker(ready=False, reasons=(long,) * 20, versions={f"v{n}": long for n in range(40)}, zone=long)
    )


def test_a_provider_is_told_of_while_sessions_have_cut_it_off() -> None:
    circuits = Circuits()
    assert circuits.rows() == []
    for session in ("s1", "s2"):
        circuits.changed(session, "llm", "opened")
    (made,) = circuits.rows()
    assert (made.level, made.reason, made.facts) == (
        Level.DEGRADED,
        "circuit_open",
        {"provider": "llm", "sessions": 2},
    )
    is_a_page(made)
    circuits.changed("s1", "llm", "closed")
    circuits.over("s2", "closed")
    assert circuits.rows() == []
