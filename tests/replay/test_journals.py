"""Recordings of earlier days are decided today as they were then: for ever.

If this fails, the kernel (or a node) decides otherwise than it did. The recordings are right and stay as they are:

1. If the change was not meant, take it back: the message says in which line of which call it shows.
2. If it was, add a flag to `kernel/flags.py`, keep the old path for sessions without it, and add a recording that shows the
   new one: give it a name in `make.py` and run that.

What changed nothing that is decided, but the file format, is a reader's fault: fields are only ever added.
"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from rspp.cli.regress import told
from rspp.kernel.hosting import NodeFactory
from rspp.nodes import factories
from rspp.spec.graph import GraphDefinition
from rspp.timeline.recording import assemble
from rspp.timeline.records import unframe
from rspp.timeline.regress import Job, check
from rspp.timeline.regress_rules import rules_in

JOURNALS = Path(__file__).parent / "journals"
NAMES = sorted(path.name for path in JOURNALS.glob("*.rspp"))
COUNT_LEAST = 12


def ours(graph: GraphDefinition) -> dict[str, NodeFactory]:
    return factories()


def digests() -> dict[str, str]:
    return msgspec.json.decode((JOURNALS / "digests.json").read_bytes(), type=dict[str, str])


def test_the_corpus_is_there_whole() -> None:
    assert len(NAMES) >= COUNT_LEAST
    assert sorted(digests()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_what_was_recorded_once_is_decided_the_same_for_ever(name: str) -> None:
    checked = check(Job(JOURNALS, rules_in(JOURNALS), ours), name)
    assert checked.ok, f"{__doc__}\n{name}: " + "\n".join(told(one) for one in checked.failures[:5])
    recording = assemble([unframe((JOURNALS / name).read_bytes())])
    assert checked.digest_recorded == digests()[name], "the file is not the one that was put there"
    # Where a recording fell to L0 there is no digest over the rest: what there is was compared above.
    if recording.whole:
        assert checked.digest_replayed == digests()[name]


def test_the_digests_are_of_these_files() -> None:
    assert json.loads((JOURNALS / "digests.json").read_text()) == digests()
