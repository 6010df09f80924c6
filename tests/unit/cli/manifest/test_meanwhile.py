"""What somebody else did meanwhile: a word is for the step that its speaker saw, and an answer that nobody reads undoes nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from rspp.cli.manifest import engine as engines
from rspp.cli.manifest import ledgers, place, report, result, resume, route, running, step
from rspp.manifest import Manifest
from rspp.manifest.document import StepStatus
from rspp.manifest.updates import RequirementMet, Resulted, Routed, StepBegun
from tests.unit.cli.manifest.test_running import RSPP
from tests.unit.cli.manifest.working import BUILD, WORDS, Work

pytestmark = pytest.mark.slow  # whole sessions, and processes

WORDS_OF_A_STEP = (
    (ledgers, ("role", "QA", "--ran")),
    (ledgers, ("output", "GREETING", "--ref", "greeting.txt")),
    (engines, ("engine", BUILD, "--ran")),
    (running, ("engine", BUILD, "--run", "--", "touch", "it-ran")),
    (running, ("check", WORDS, "--", "touch", "it-ran")),
    (report, ("report",)),
    (result, ("result", "fail", "--code", "c", "--requirement", "r")),
    (route, ("route", "--role", "QA")),
    (resume, ("resume", "--met", "1", "--ref", "greeting.txt")),
    (step, ("step", "begin", "--goal", "mine", "--signal", "go")),
)


def goes_on(work: Work) -> None:
    """Another person ends the step that runs, and begins the next one."""
    other = Manifest(work.file)
    routing = other.document.ROUTING
    other.say(Resulted(status=StepStatus.FAIL, fail_code="c", requirements=("r",)))
    other.say(RequirementMet(requirement="1", ref=other.ref("greeting.txt")))
    other.say(StepBegun(goal="theirs", signal="go"))
    other.say(Routed(routing=routing))


@pytest.mark.parametrize(("module", "words"), WORDS_OF_A_STEP, ids=str)
def test_a_word_is_for_the_step_that_its_speaker_saw_and_for_no_other(
    work: Work, monkeypatch: pytest.MonkeyPatch, module: object, words: tuple[str, ...]
) -> None:
    work.begin()
    work.write("greeting.txt", "Good morning")
    seen: Callable[[Manifest], str] = place.step_seen

    def then_others_go_on(manifest: Manifest) -> str:
        step = seen(manifest)
        goes_on(work)
        return step

    monkeypatch.setattr(module, "step_seen", then_others_go_on)
    work.refused(*words, says=["step 1 is not the present one any more: 2 is"])
    lines = list(Manifest(work.file).trace())
    assert [one.what for one in lines[3:]] == ["result", "met", "step", "route"]
    assert not Path("it-ran").exists()


def test_an_answer_that_cannot_be_written_does_not_claim_that_nothing_was(work: Work) -> None:
    work.begin()
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            [*RSPP, "role", "QA", "--ran", "--no-journal"],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    assert done.returncode == 1
    assert b"No space left" in done.stderr
    assert b"rspp manifest show" in done.stderr
    assert b"othing was" not in done.stderr
    assert [one.what for one in Manifest(work.file).trace()][-1] == "role"


def test_whoever_reads_no_further_is_told_of_no_fault(work: Work) -> None:
    work.begin()
    with subprocess.Popen([*RSPP, "show"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        process.wait(60)
