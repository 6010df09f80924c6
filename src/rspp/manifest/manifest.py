"""A manifest on disk: read it, say updates to it, prove it.

    manifest = Manifest.create("work/RUNTIME_MANIFEST.yaml", session="release-1.4")
    with manifest.step("compile", route={"REQUIRED_ENG_KEYS": ["KEY:ENG.COMPILE"], "OUTPUT_CONTRACT": ["PLAN"]}) as step:
        step.engine("KEY:ENG.COMPILE").ran(outputs=["PLAN"])
        step.output("PLAN", "plan.json")
        step.output("VAL_REPORT", "report.json")
        step.passed(target_goal="publish")

Reading needs no lock. What changes it takes it, for one update (`say`) or for a long run (`hold`). An update is on disk in
this order: the new file beside the old one, the line of the trace, the new file in its place, the changelog. So a crash
leaves the old file or the new one, and the trace knows which it should be: the next writer goes on from there.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from rspp.contract.errors import MisuseError, RsppError
from rspp.manifest import disk, form
from rspp.manifest.changelog import Changelog
from rspp.manifest.checking import Validated, checked, cut_short, of_another
from rspp.manifest.document import Document, Owner, ResumeTarget, Routing, digest
from rspp.manifest.facts import World
from rspp.manifest.faults import ManifestError
from rspp.manifest.lock import NAME_CHARACTERS_MAX, Holder, Lock
from rspp.manifest.proofs import missing_for_pass
from rspp.manifest.refused import Missing
from rspp.manifest.rules import decide
from rspp.manifest.snapshots import snapshot
from rspp.manifest.step import Step, going_on, line_of, stepping
from rspp.manifest.teller import Teller
from rspp.manifest.telling import Tells, WorkSnapshot
from rspp.manifest.tokens import SIGNALS
from rspp.manifest.trace import Folded, Line, Said, Trace, encode, lines
from rspp.manifest.updates import Begun, StepBegun, Update
from rspp.manifest.world import Facts

LOCK_WAIT_S: Final = 2.0
STEM: Final = "RUNTIME_MANIFEST"  # its trace and changelog need no name of their own
DEFAULT_NAME: Final = f"{STEM}.yaml"
BESIDE: Final = ("TRACE", "CHANGELOG", "lock")  # what lies beside a manifest, by its name or as the end of it


class Manifest:
    """One file with its trace. Safe from several threads of one process; two objects of one file are two people."""

    def __init__(
        self,
        path: str | Path,
        root: str | Path | None = None,
        by: str | None = None,
        tells: Tells | None = None,
        clock: Callable[[], int] | None = None,  # wall clock, milliseconds
        lock_wait_s: float = LOCK_WAIT_S,
        take_over: bool = False,  # a lock that another host never gave back
        port: disk.Disk | None = None,
    ) -> None:
        given = Path(path)
        self.folder = Path(os.path.realpath(given.parent))
        self.path = self.folder / given.name
        # The environment may name anybody: one line of text.
        self.by = line_of((by or _whoami()).encode(errors="replace").decode())[:NAME_CHARACTERS_MAX]
        stem = self.path.stem
        _check_name(self.path.name)
        own = "" if stem == STEM else f"{stem}."
        self._clock = clock or _wall_ms
        self._port = port or disk.RealDisk()
        self._trace = Trace(self.folder / f"{own}TRACE")
        self._changelog = Changelog(self.folder / f"{own}CHANGELOG")
        self._lock = Lock(
            self.folder / f"{stem}.lock", self.by, clock=self._clock, wait_s=lock_wait_s, take_over=take_over
        )
        written = (self.path, disk.beside(self.path), self._trace.path, self._changelog.path, self._lock.path)
        top = Path(os.path.realpath(root)) if root is not None else self.folder
        self._world = World(self.folder, top, frozenset(written))
        self._teller = Teller(tells, self._trace, self.folder.name)
        self._tells = tells
        self._mutex = threading.RLock()
        self._depth = 0
        self._pid = os.getpid()
        self._seen: dict[str, Any] = {}  # for the next line: what was found and mended before it
        self._file_seen: disk.Seen | None = None  # the file of which an update was made

    @classmethod
    def create(
        cls, path: str | Path, session: str, *, owner: Owner = Owner.USER, mode: str = "REPO", **options: Any
    ) -> Self:
        """A session of work in a new file, or in one that holds the blank instance; `options` as for Manifest."""
        manifest = cls(path, **options)
        manifest.say(Begun(session=session, owner=owner, mode=mode))
        return manifest

    @property
    def document(self) -> Document:
        """What the file says now; raises ManifestError with all faults if it cannot be read."""
        return self._now()[1]

    def say(self, update: Update, *, step: str = "") -> Document:
        """The update is in the trace and in the file when this returns; refused, nothing has changed.

        `step`: only while this is the manifest's step, whoever went on meanwhile.
        """
        with self._alone(f"to say {_name(update)}"):
            return self._said(update, step)

    @contextmanager
    def hold(self, purpose: str) -> Iterator[None]:
        """Nobody else writes meanwhile; `say` inside, from any thread of this process, does not lock again."""
        with self._owning(purpose):
            yield

    def missing(self) -> tuple[Missing, ...]:
        """What PASS would lack if it were said now, or what a PASS that is claimed lacks."""
        self._after_fork()
        with self._mutex:
            document, folded = self.document, self._trace.folded()
        facts = self._world.facts(document, folded, None, now_ms=self._clock(), changelog="")
        return missing_for_pass(document, facts)

    def validate(self) -> Validated:
        """Everything that is wrong, at once; changes nothing and needs no lock."""
        until = time.monotonic() + 1.0
        while True:
            found = checked(self.path, self._trace.path, self._world, now_ms=self._clock())
            # Between its line and its file an update looks like one that was cut short: see whether it ends by itself.
            if not found.unsettled or self._lock.holder() is None or time.monotonic() >= until:
                return found
            time.sleep(0.02)

    def restore(self) -> Document:
        """The file says again what the trace says; what was edited by hand is lost, comments and prose are not.

        It is no update, and no line of the trace: nothing is said by it that was not said before, the document is the one of
        the last line, and whoever watches knows that one already.
        """
        with self._alone("to restore it"):
            self._trace.forget()
            folded = self._folded()
            if not folded.lines:
                raise ManifestError(
                    "manifest_trace_broken",
                    f"there is no trace at {self._trace.path.name} to restore anything from",
                )
            text = self._text()[0] or ""
            self._put(form.write(text, folded.document, self.path.name))
            return folded.document

    def mended(self) -> Document:
        """What the file says, with an update that was cut short completed and told."""
        with self._alone("to mend it"):
            document, folded = self._recovered(None)[1:]
            self._tell(folded)
            return document

    def trace(self) -> Iterator[Line]:
        """The lines of the trace, oldest first; raises at the first that is broken."""
        return lines(self._trace.path)

    def snapshot(self) -> WorkSnapshot:
        """Where the work stands, as it is told to whoever watches."""
        self._after_fork()
        with self._mutex:
            folded = self._folded()
            if not folded.lines:
                return WorkSnapshot(
                    id=self.document.SESSION.SESSION_ID, state="blank", folder=self.folder.name
                )
            now = snapshot(folded, self.folder.name)
            if now.state != "running":
                return now
            return msgspec.structs.replace(now, missing=self._lacking(folded))

    def ref(self, path: str | Path) -> str:
        """A file below the manifest's folder or its root, with what it is now: `PATH#sha256=HEX`."""
        return self._world.ref(path)

    def step(
        self,
        goal: str,
        *,
        route: Routing | Mapping[str, Any] | str | Path | None = None,
        signal: str = "",
        token: str = "",
        target: ResumeTarget | None = None,  # what comes after PASS, unless `passed` says otherwise
        folder: str = "",
        file: str = "",
        step: str = "",
    ) -> AbstractContextManager[Step]:
        """The next step, under the lock; routed when `route` is given (a mapping, or a file of YAML or JSON)."""
        begun = StepBegun(goal=goal, signal=signal, token=token, folder=folder, file=file, step=step)
        return stepping(self, begun, route, target)

    def go_on(self, target: ResumeTarget | None = None) -> AbstractContextManager[Step]:
        """The step that runs already, as after a crash of whoever began it; under the lock."""
        return going_on(self, target)

    # --- one update -------------------------------------------------------------------------------------------------

    def _said(self, update: Update, step: str) -> Document:
        self._lock.check()
        text, document, folded = self._recovered(update)
        if step and step != document.CURRENT_STEP.STEP_ID:
            raise MisuseError(
                "manifest_no_step_runs",
                f"step {step} is not the present one any more: {document.CURRENT_STEP.STEP_ID} is. Nothing was changed.",
            )
        self._changelog.tell(self._port, folded.result)
        facts = self._world.facts(
            document, folded, update, now_ms=self._clock(), changelog=self._changelog.path.name
        )
        update = self._signalled(update, document, facts)
        after = decide(document, update, facts)
        seen = {**self._seen, **self._world.seen(document, update, facts)}
        if isinstance(update, Begun):
            seen["file"] = self.path.name
        said = Said(
            n=folded.lines + 1,
            at=datetime.fromtimestamp(self._clock() / 1000, UTC).isoformat(timespec="milliseconds"),
            by=self.by,
            what=_name(update),
            says=_plain(update),
            wrote=_wrote(after.document, after.wrote if folded.lines else Document.__struct_fields__),
            state=digest(after.document),
            seen=seen,
            prev=folded.digest,
        )
        new = form.write(text, after.document, self.path.name)
        with disk.told(self.path):
            self._append(said, _bytes(new, self.path.name))
        self._seen = {}
        self._tell(self._trace.folded())
        return after.document

    def _append(self, said: Said, data: bytes) -> None:
        """The line and the file, or neither: all that can fail for want of space is done before the line is there."""
        raw = encode(said)
        replacing = disk.Replacing(self._port, self.path)
        before = self._trace.folded().size
        try:
            replacing.prepare(data)
            self._check_alone()  # whatever was done until here took its time
            self._trace.append(self._port, raw, said.prev)
            try:
                replacing.done()
            except OSError:
                disk.cut(self._port, self._trace.path, before)
                raise
        except (OSError, RsppError) as error:
            replacing.forget()
            self._check_taken_back(raw, said.n, error)
            raise
        self._trace.appended(raw)

    def _check_alone(self) -> None:
        """The lock is ours, and nobody saved the file from an editor since it was read: that would be lost."""
        self._lock.check()
        if disk.seen(self.path) != self._file_seen:
            raise ManifestError(
                "manifest_edited",
                f"{self.path.name} was saved by somebody else at this moment. Say it again. Nothing was changed.",
            )

    def _check_taken_back(self, raw: bytes, number: int, error: Exception) -> None:
        """A line that stands there holds, whatever failed after it: who is told that nothing was changed may rely on it."""
        self._trace.forget()
        if self._trace.folded().digest == hashlib.sha256(raw).hexdigest():
            raise ManifestError(
                "manifest_unsettled",
                f"line {number} of {self._trace.path.name} stands, and the disk took neither {self.path.name} nor the line "
                "back. The update holds: `rspp manifest resume --restore` completes it, and so does the next one.",
            ) from error

    def _recovered(self, update: Update | None) -> tuple[str, Document, Folded]:
        """What stands there, with an update that was cut short completed."""
        folded = self._folded()
        if folded.torn is not None:
            self._seen["cut"] = msgspec.to_builtins(folded.torn)
        text, self._file_seen = self._text()
        if text is None:
            if folded.lines > 1 or (folded.lines == 0 and not isinstance(update, Begun)):
                raise self._gone(folded)
            if folded.lines == 0:  # a session begins in a new file
                return "", Document(), folded
            document = Document()
        else:
            document = self._document_of(text)
        if cut_short(document, folded):
            text = form.write(text or "", folded.document, self.path.name)
            self._put(text)
            self._seen["completed"] = folded.lines
            document = folded.document
        assert text is not None
        return text, document, folded

    def _folded(self) -> Folded:
        folded = self._trace.folded()
        if folded.fault is not None:
            raise ManifestError(
                "manifest_trace_broken", f"{self._trace.path.name} is not what was written", (folded.fault,)
            )
        if (other := of_another(folded, self.path.name, self._trace.path.name)) is not None:
            raise ManifestError(other.code, f"{self.path.name} has no trace of its own", (other,))
        return folded

    def _gone(self, folded: Folded) -> ManifestError:
        if folded.lines:
            return ManifestError(
                "manifest_missing",
                f"{self.path.name} is gone, and its trace has {folded.lines} lines. "
                "Bring it back: `rspp manifest resume --restore`",
            )
        return ManifestError(
            "manifest_missing",
            f"there is no {self.path.name} in {self.folder.name}. `rspp manifest init` begins one",
        )

    def _signalled(self, update: Update, document: Document, facts: Facts) -> Update:
        """A step that was given no key may have one from an operator. It is taken by asking: so a step that would be refused
        all the same is refused first.
        """
        if (
            not isinstance(update, StepBegun)
            or update.signal
            or update.token
            or not document.RESUME.RESUME_ALLOWED
        ):
            return update
        decide(document, msgspec.structs.replace(update, signal=SIGNALS[0]), facts)
        folded = self._trace.folded()
        given = self._teller.signal(folded, lambda: self._lacking(folded))
        return msgspec.structs.replace(update, signal=given) if given else update

    def _tell(self, folded: Folded) -> None:
        """People and those who watch know of every line; what fails here fails no update."""
        self._changelog.tell(self._port, folded.result)
        self._teller.tell(folded, lambda: self._lacking(folded))

    def _lacking(self, folded: Folded) -> tuple[Missing, ...]:
        """For people who watch: files that seem to be the same are not read again for each line."""
        facts = self._world.facts(
            folded.document, folded, None, now_ms=self._clock(), changelog="", thorough=False
        )
        return missing_for_pass(folded.document, facts)

    # --- the file ---------------------------------------------------------------------------------------------------

    def _now(self) -> tuple[str, Document]:
        text = self._text()[0]
        if text is None:
            raise self._gone(self._trace.folded())
        return text, self._document_of(text)

    def _text(self) -> tuple[str | None, disk.Seen | None]:
        """The file's, and which file that was."""
        found = disk.read(self.path, form.FILE_BYTES_MAX)
        if found is None:
            return None, None
        text = form.decode(found[0], self.path.name)
        if isinstance(text, str):
            return text, found[1]
        raise ManifestError("manifest_invalid", f"{self.path.name} cannot be read", (text,))

    def _document_of(self, text: str) -> Document:
        read = form.read(text, self.path.name)
        if read.document is None:
            raise ManifestError(
                "manifest_invalid", f"{self.path.name} is no manifest as it stands", read.faults
            )
        return read.document

    def _put(self, text: str) -> None:
        disk.replace(self._port, self.path, _bytes(text, self.path.name))
        self._file_seen = disk.seen(self.path)

    # --- alone ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _alone(self, purpose: str) -> Iterator[None]:
        """One thread of one process, for one update."""
        with self._owning(purpose), self._mutex:
            yield

    @contextmanager
    def _owning(self, purpose: str) -> Iterator[None]:
        self._after_fork()
        with self._mutex:
            if self._depth == 0:
                left = self._lock.take(purpose)
                if left is not None:
                    self._seen["took_over"] = msgspec.to_builtins(left)
            self._depth += 1
        try:
            yield
        finally:
            if self._pid == os.getpid():
                with self._mutex:
                    self._depth -= 1
                    if self._depth == 0:
                        untold = self._seen.pop("took_over", None)
                        self._lock.give_back(msgspec.convert(untold, Holder) if untold else None)

    def _after_fork(self) -> None:
        """Nothing of what its parent had is a forked child's own; not the turn of a thread either, which it has no more."""
        if self._pid != os.getpid():
            self._mutex, self._depth, self._pid, self._seen = threading.RLock(), 0, os.getpid(), {}
            self._trace.forget()


def _check_name(name: str) -> None:
    if name.rpartition(".")[2].casefold() in (one.casefold() for one in BESIDE):
        raise ManifestError(
            "manifest_name_taken",
            f"{name} is the name of a file beside a manifest ({', '.join(BESIDE)}). Call the manifest otherwise. "
            "Nothing was changed.",
        )


def _name(update: Update) -> str:
    return str(type(update).__struct_config__.tag)


def _plain(update: Update) -> dict[str, Any]:
    try:
        plain = msgspec.json.decode(msgspec.json.encode(update))
    except UnicodeEncodeError as error:
        raise MisuseError(
            "text_not_utf8", "a text holds half of a surrogate pair. Nothing was changed."
        ) from error
    assert isinstance(plain, dict)
    return plain


def _wrote(document: Document, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: msgspec.to_builtins(getattr(document, name)) for name in names}


def _bytes(text: str, name: str) -> bytes:
    data = text.encode()
    if len(data) > form.FILE_BYTES_MAX:
        raise ManifestError(
            "manifest_too_large",
            f"{name} would have {len(data)} bytes, more than {form.FILE_BYTES_MAX}. Say less. Nothing was changed.",
        )
    return data


def _whoami() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
