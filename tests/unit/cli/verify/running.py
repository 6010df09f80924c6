"""A small project, and runs over it whose engines do what a file of the project says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rspp.cli.verify import keeping
from rspp.cli.verify.asked import Asked
from rspp.cli.verify.engine import Engine, Ground
from rspp.cli.verify.plan import chosen
from rspp.cli.verify.report import VerifyReport
from rspp.cli.verify.run import verify
from rspp.manifest import Manifest
from tests.unit.cli.verify import planted_engines
from tests.unit.cli.verify.planted_engines import FLAG, PLAN, RUNS

ROOT: Final = str(Path(__file__).parents[4])
MODULE: Final = planted_engines.__name__
NO_GO: Final = ("./pipeline.yaml",)


class Project:
    """A folder, what its engines count, and the manifest of its runs."""

    def __init__(self, home: Path) -> None:
        self.folder, self.counts, self.work = home / "shop", home / "counts", home / "work"
        for folder in (self.folder, self.counts, self.work):
            folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "pipeline.yaml").write_text("pipeline: shop\n")
        self.said: list[str] = []

    @property
    def manifest(self) -> Manifest:
        path = self.work / keeping.MANIFEST
        if path.exists():
            return Manifest(path, root=self.folder)
        return Manifest.create(path, session="verify-test", root=self.folder)

    def named(self, *names: str) -> None:
        """These engines fail from now on; no others do."""
        (self.folder / FLAG).write_text(" ".join(names))

    @property
    def runs(self) -> dict[str, int]:
        return {path.name: len(path.read_text()) for path in self.counts.iterdir() if path.read_text()}

    def asked(self, plan: Sequence[Engine] = RUNS, **more: Any) -> Asked:
        level = more.pop("level", "quick")
        only, skip = more.pop("only", ()), more.pop("skip", ())
        ground = Ground(folder=self.folder, out=self.work, level=level, say=lambda _: None)
        name = {id(RUNS): "RUNS", id(PLAN): "PLAN"}.get(id(plan), "INTERRUPTED")
        return Asked(
            folder=self.folder,
            level=level,
            chosen=chosen(plan, ground, only, skip),
            no_go=NO_GO,
            say=lambda engine, text: self.said.append(f"{engine}: {text}"),
            timeout_s=more.pop("timeout_s", 20.0),
            options={"counts": str(self.counts)},
            plan=tuple(plan),
            plan_at=f"{MODULE}:{name}",
            paths=(ROOT,),
            **more,
        )

    def verify(self, plan: Sequence[Engine] = RUNS, **more: Any) -> VerifyReport:
        return verify(self.asked(plan, **more), self.manifest)
