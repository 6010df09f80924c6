"""No sequence of calls of a manifest on a disk reaches PASS without its proofs, with files that come, change and go."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rspp.contract.errors import RsppError
from rspp.manifest import Manifest, form
from rspp.manifest import updates as u
from rspp.manifest.document import Document, digest
from rspp.manifest.refused import Missing
from tests.unit.manifest.player import Player
from tests.unit.manifest.work import Work

NAME = "RUNTIME_MANIFEST.yaml"


class OnDisk(Work):
    """The same work, said to a real manifest. What the judge knows of the files is kept apart from it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.manifest = Manifest(folder / NAME)
        self.written: dict[str, bytes] = {}

    def decided(self, update: u.Update, **_: Any) -> Document:
        self.put_files()
        return self.manifest.say(update)

    def forge(self, document: Document, update: u.Update) -> tuple[Missing, ...]:
        self.put_files()
        left_by_a_crash = digest(document) == self.manifest._trace.folded().state_before
        before = (self.folder / NAME).read_bytes()
        (self.folder / NAME).write_text(form.write(before.decode(), document, NAME), encoding="utf-8")
        if left_by_a_crash:  # what was said last is taken back by hand: it is said again, out of the trace
            lacking = self.manifest.missing()
            assert self.manifest.mended() == self.document
            return lacking
        with pytest.raises(RsppError):
            self.manifest.say(update)
        assert not self.manifest.validate().ok
        lacking = self.manifest.missing()
        assert self.manifest.restore() == self.document
        assert self.manifest.validate().faults == ()
        return lacking

    def put_files(self) -> None:
        for path in {*self.files, *self.written}:
            if self.files.get(path) == self.written.get(path):
                continue
            if path in self.files:
                (self.folder / path).parent.mkdir(exist_ok=True)
                (self.folder / path).write_bytes(self.files[path])
            else:
                (self.folder / path).unlink()
        self.written = dict(self.files)


def played(seeds: range, moves: int, folder: Path) -> Counter[str]:
    count: Counter[str] = Counter()
    for seed in seeds:
        place = folder / str(seed)
        place.mkdir()
        try:
            count += Player(seed, OnDisk(place)).play(moves)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        shutil.rmtree(place)
    return count


@pytest.mark.slow
def test_no_sequence_of_calls_reaches_pass_without_its_proofs(tmp_path: Path) -> None:
    count = played(range(8), 40, tmp_path)
    assert count["Resulted PASS"] > 5
    assert count["by hand"] > 3


@pytest.mark.slow
@pytest.mark.long
def test_no_sequence_of_calls_reaches_pass_without_its_proofs_in_very_many(tmp_path: Path) -> None:
    count = played(range(1_000, 1_300), 80, tmp_path)
    assert count["Resulted PASS"] > 150
