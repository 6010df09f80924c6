"""A planted bug is found, and reported so that anybody can see it again: seed, knobs, shortest prefix, one command."""

from __future__ import annotations

from pathlib import Path

import pytest

from rspp.contract.event import Audio
from rspp.kernel import effects as fx
from rspp.kernel.journal import Encoding, read
from rspp.kernel.session import SessionKernel
from rspp.sim.nodes import factories
from rspp.sim.prefix import fed
from rspp.sim.run import Report, run_sessions
from rspp.sim.scenario import draw
from rspp.sim.session import Session, run_session, verify_sessions

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs


class Talkative(SessionKernel):
    """A kernel that repeats the last frame of a turn that it has just stopped."""

    last: fx.Send | None = None

    def drain(self) -> list[fx.Effect]:
        effects = super().drain()
        for effect in effects:
            if isinstance(effect, fx.Send) and isinstance(effect.event.payload, Audio):
                self.last = effect
        if self.last is not None and any(isinstance(effect, fx.StopPlayback) for effect in effects):
            return [*effects, self.last]
        return effects


class Forgetful(SessionKernel):
    """A kernel that raises when a client is unknown to it."""

    def receive(self, now: int, received: object) -> None:
        if type(received).__name__ == "MalformedReceived":
            raise KeyError("client")
        super().receive(now, received)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("findings")
    return run_sessions(1, range(6), "none", kernel_class=Talkative, save=folder)


def test_a_planted_bug_is_found_from_inside_and_from_the_world(found: Report) -> None:
    checkers = {finding.checker for finding in found.violations}
    assert "silence_after_stop" in checkers
    assert "output_before_fence" in checkers


def test_a_finding_says_how_to_see_it_again(found: Report) -> None:
    finding = found.violations[0]
    assert finding.repeat == f"rspp sim run --seed 1 --session {finding.session} --faults none"
    assert finding.knobs == draw(1, finding.session, "none").knobs
    assert finding.shortest_prefix > 0
    again = run_session(draw(1, finding.session, "none"), Talkative)
    assert finding.checker in {violation.checker for violation in again.violations}


def test_the_shortest_prefix_shows_the_bug_and_one_input_less_does_not(found: Report) -> None:
    finding = next(one for one in found.violations if one.checker == "output_before_fence" and one.saved)
    recorded = read(Path(finding.saved or "").read_bytes(), Encoding.JSON)
    assert len(recorded.inputs) == finding.shortest_prefix
    nodes = factories(draw(1, finding.session, "none"), lambda _: None)

    def checkers(count: int) -> set[str]:
        inputs = recorded.inputs[:count]
        return {one.checker for one in fed(recorded.request, recorded.graph, nodes, Talkative, inputs)}

    assert finding.checker in checkers(finding.shortest_prefix)
    assert finding.checker not in checkers(finding.shortest_prefix - 1)


def test_an_exception_that_escapes_the_kernel_is_a_finding_and_ends_only_that_session() -> None:
    tried, violations = verify_sessions(1, 40, Forgetful, wish="none")
    assert violations[0].checker == "no_exception_escapes"
    report = run_sessions(1, [tried - 1], "none", kernel_class=Forgetful)
    assert report.violations[0].checker == "no_exception_escapes"
    # The input that raises is the last one of the shortest prefix.
    assert report.violations[0].shortest_prefix == violations[0].inputs


def test_recorded_inputs_do_in_a_fresh_kernel_what_they_did_in_the_session() -> None:
    session = Session(draw(2, 3))
    session.run()
    seat = session.world.seats[0]
    nodes = factories(session.world.scenario, lambda _: None)
    kernel = SessionKernel(seat.request, seat.graph, nodes)
    again = Session(draw(2, 3))
    again.run()
    kernel.drain()
    for now, received in seat.inputs:
        if type(received).__name__ == "Woken":
            kernel.wake(now)
        else:
            kernel.receive(now, received)
        kernel.drain()
    assert kernel.desk.sequence == seat.kernel.desk.sequence == again.world.seats[0].kernel.desk.sequence
    assert seat.digest() == again.world.seats[0].digest()


@pytest.mark.slow
def test_a_hundred_sessions_with_all_faults_break_nothing() -> None:
    assert verify_sessions(2, 100) == (100, [])
