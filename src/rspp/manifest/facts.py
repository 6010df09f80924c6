"""What the rules must know of the world, gathered just before they decide: files as they are, and nothing outside of them.

A path is read from the manifest's folder. It counts only when it lies, every link followed, below that folder or below the
root; what lies elsewhere is taken for not being there.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Final

from rspp.contract.errors import LimitReached
from rspp.manifest import disk
from rspp.manifest.document import Document, StepStatus
from rspp.manifest.faults import ManifestError
from rspp.manifest.forbidden import Holding, guard
from rspp.manifest.refs import Ref
from rspp.manifest.trace import Folded
from rspp.manifest.updates import Resulted, Routed, Update
from rspp.manifest.world import Facts, paths_named, report_path

GUARDED_FILES_MAX: Final = 4_000  # their digests are kept in one line of the trace
WALKED_FILES_MAX: Final = 200_000
REPORT_BYTES_MAX: Final = 4 * 1024 * 1024
DIGESTS_MAX: Final = 4_096  # kept, so that an update does not read again what the last one read
CHUNK_BYTES: Final = 1 << 20
_OPEN: Final = (
    os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
)  # links were followed before it was judged


class World:
    """The files of one manifest: its folder, and the project's."""

    def __init__(self, folder: Path, root: Path, own: frozenset[Path] = frozenset()) -> None:
        self.folder = folder
        self.root = root
        self._own = own  # what the manifest writes itself: it changes with every update, and proves nothing
        self._own_texts = frozenset(map(str, own))
        self._digests: dict[tuple[int, ...], str] = {}  # bounded: emptied at DIGESTS_MAX

    def facts(
        self,
        document: Document,
        folded: Folded,
        update: Update | None,
        *,
        now_ms: int,
        changelog: str,
        thorough: bool = True,  # else what seems to be the same is taken for it, and NO_GO_LIST not looked for
    ) -> Facts:
        """For this update; or, without one, for what PASS would lack now."""
        over = (
            bool(document.CURRENT_STEP.STEP_ID)
            and document.CURRENT_STEP.STEP_STATUS is not StepStatus.RUNNING
        )
        # What a result rests on is read anew; for a ledger's entry it is enough that the file seems to be the same.
        fresh = thorough and (update is None or isinstance(update, Resulted))
        changed = update.changed if isinstance(update, Resulted) else ()
        if over:
            changed = (*changed, *document.PATCH_TRACKING.LAST_FILES_CHANGED)
        guarded = folded.guarded_at_result if over else None
        if guarded is None:
            asked = (update is None and thorough) or (
                isinstance(update, Resulted) and update.status is StepStatus.PASS
            )
            guarded = self.guarded(document.ROUTING.NO_GO_LIST) if asked else folded.guarded_before
        return Facts(
            today=datetime.fromtimestamp(now_ms / 1000, UTC).date().isoformat(),
            token=token_hex(16),
            run_id=f"run-{token_hex(6)}",
            changelog=changelog,
            traced=folded.document if folded.lines else None,
            trace_faults=(str(folded.fault),) if folded.fault else (),
            steps=frozenset(folded.steps),
            used_tokens=frozenset(folded.used_tokens),
            files={path: self.digest(path, fresh=fresh) for path in paths_named(document, update)},
            report=self._report(document) if update is None or fresh else None,
            names={path: self._names(path) for path in changed},
            guarded_before=folded.guarded_before,
            guarded_now=guarded,
        )

    def seen(self, document: Document, update: Update, facts: Facts) -> dict[str, object]:
        """What the trace keeps of the world beside what was said."""
        if isinstance(update, Routed) and (guarded := self.guarded(update.routing.NO_GO_LIST)):
            return {"guarded": guarded}
        if isinstance(update, Resulted) and update.status is StepStatus.PASS and document.ROUTING.NO_GO_LIST:
            return {"guarded": dict(facts.guarded_now)}
        return {}

    def ref(self, path: str | Path) -> str:
        """A file with what it is now; raises with what is wrong with it."""
        real = self._real(path)
        if real is None:
            raise ManifestError(
                "manifest_ref_invalid",
                f"{path} lies outside of the manifest's folder and of the root, or its name cannot be written on one line. "
                "Move the file below one of them, or say --root",
            )
        if real in self._own:
            raise ManifestError(
                "manifest_ref_invalid",
                f"{path} is the manifest itself or lies beside it: it proves nothing. Name another file",
            )
        sum_ = self._sum(real, fresh=True)
        if not sum_:
            raise ManifestError(
                "manifest_ref_unresolved",
                f"{path} is no file that can be read. Make it, below the manifest's folder",
            )
        return str(Ref(path=_slashed(os.path.relpath(self.folder / path, self.folder)), sha256=sum_))

    def digest(self, path: str, *, fresh: bool = False) -> str:
        """The SHA-256 of a file; "" where there is none that counts."""
        real = self._real(path)
        return self._sum(real, fresh=fresh) if real is not None and real not in self._own else ""

    def guarded(self, patterns: Iterable[str]) -> dict[str, str]:
        """Every file that a pattern holds, by its name from the root, with its SHA-256."""
        wanted = tuple(patterns)
        if not wanted:
            return {}
        holding = guard(wanted)
        found: dict[str, str] = {}
        for path in self._walk(holding):
            from_root = _slashed(os.path.relpath(path, self.root))
            if path in self._own_texts or not self._any(holding, path):
                continue
            if len(found) >= GUARDED_FILES_MAX:
                raise LimitReached(
                    "manifest_no_go_too_many",
                    f"NO_GO_LIST holds more than {GUARDED_FILES_MAX} files, and each is compared. Name fewer",
                )
            found[from_root] = self._standing(path)
        return found

    def _any(self, asked: Callable[[str], object], path: str) -> bool:
        """Whether it holds of a file by its name from the root, or by the one from the manifest's folder."""
        return any(asked(_slashed(os.path.relpath(path, top))) for top in (self.root, self.folder))

    def _walk(self, holding: Holding) -> Iterator[str]:
        """Each file, and each link to a folder. What lies behind such a link counts by the link's name where a pattern means it."""
        tops = [self.root] if self.folder.is_relative_to(self.root) else [self.root, self.folder]
        # Folders to be walked, each with the real ones from which links have led to it.
        waiting: list[tuple[str, tuple[Path, ...]]] = [(str(top), ()) for top in reversed(tops)]
        count = 0
        while waiting:
            top, way = waiting.pop()
            for folder, folders, files in os.walk(top):
                folders.sort()
                links = [name for name in folders if os.path.islink(os.path.join(folder, name))]  # noqa: PTH114, PTH118
                for name in sorted((*files, *links)):
                    count += 1
                    if count > WALKED_FILES_MAX:
                        raise LimitReached(
                            "manifest_no_go_too_many",
                            f"NO_GO_LIST is looked for in more than {WALKED_FILES_MAX} files. Say a smaller --root",
                        )
                    yield os.path.join(folder, name)  # noqa: PTH118 - a Path for each of so many files takes too long
                waiting += self._behind(folder, links, way, holding)
                folders[:] = [name for name in folders if self._enters(os.path.join(folder, name), holding)]  # noqa: PTH118

    def _enters(self, folder: str, holding: Holding) -> bool:
        """Not `node_modules` and the like, where no pattern goes; always what leads to the manifest's own folder."""
        return self.folder.is_relative_to(folder) or self._any(holding.enters, folder)

    def _behind(
        self, folder: str, links: Iterable[str], way: tuple[Path, ...], holding: Holding
    ) -> Iterator[tuple[str, tuple[Path, ...]]]:
        """The links that are followed. One that leads back to where it was come from leads to nothing new."""
        for name in links:
            path = Path(folder, name)
            if self._any(holding.reaches, str(path)):
                behind = (*way, Path(os.path.realpath(folder)))
                real = os.path.realpath(path)
                if not any(one.is_relative_to(real) for one in behind):
                    yield str(path), behind

    def _standing(self, path: str) -> str:
        """What a name stands for: a link also for where it leads."""
        found = Path(path)
        try:
            leads = str(found.readlink()) if found.is_symlink() else ""
        except OSError:
            return ""
        sum_ = self._sum(Path(os.path.realpath(found)) if leads else found, fresh=True)
        return (
            hashlib.sha256(f"{leads}\0{sum_}".encode(errors="surrogateescape")).hexdigest() if leads else sum_
        )

    def _report(self, document: Document) -> bytes | None:
        real = self._real(path) if (path := report_path(document)) else None
        try:
            found = disk.read(real, REPORT_BYTES_MAX) if real is not None else None
        except ManifestError:
            return None
        return found[0] if found is not None and len(found[0]) <= REPORT_BYTES_MAX else None

    def _names(self, path: str) -> tuple[str, ...]:
        try:
            real = os.path.realpath(self.folder / path)
        except (OSError, ValueError):
            return ()  # no disk has such a name, and no key of a manifest takes it
        return tuple(_slashed(os.path.relpath(real, top)) for top in (self.folder, self.root))

    def _real(self, path: str | Path) -> Path | None:
        text = str(path)
        if not text or not text.isprintable():
            return None
        try:
            real = Path(os.path.realpath(self.folder / path))
        except (OSError, ValueError):
            return None
        return real if real.is_relative_to(self.folder) or real.is_relative_to(self.root) else None

    def _sum(self, real: Path, *, fresh: bool) -> str:
        try:
            number = os.open(real, _OPEN)
        except (OSError, ValueError):
            return ""
        try:
            about = os.fstat(number)
            if not stat.S_ISREG(about.st_mode):
                return ""
            key = (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
            if fresh or key not in self._digests:
                if len(self._digests) >= DIGESTS_MAX:
                    self._digests.clear()
                self._digests[key] = _sum_of(number)
            return self._digests[key]
        except OSError:
            return ""
        finally:
            os.close(number)


def _sum_of(number: int) -> str:
    sum_ = hashlib.sha256()
    while part := os.read(number, CHUNK_BYTES):
        sum_.update(part)
    return sum_.hexdigest()


def _slashed(path: str) -> str:
    return path.replace(os.sep, "/")
