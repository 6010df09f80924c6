"""An engine runs in a process of its own: what crashes, hangs or swallows memory there is a verdict here, and never a pass.

    parent                                   child (`python -m rspp.cli.verify.jobs`)
      job as JSON on stdin, kept open   ->     runs the engine; its stdout and stderr go to `engine.log`
      progress, line by line            <-     a pipe
      outcome.json                      <-     written whole or not at all, sealed with a word of the job

The child belongs to a group of its own, which is ended with it: at its deadline, at Ctrl-C, and by itself when stdin
closes, because then whoever asked is no more. A checkout is verified by its own code: its `src` comes first.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import msgspec

import rspp
from rspp.cli.verify.engine import Engine, Found, Ground, Level, Outcome
from rspp.cli.verify.ground import is_checkout

PLAN_AT: Final = "rspp.cli.verify.plan:PLAN"
LOG: Final = "engine.log"
OUTCOME: Final = "outcome.json"
OUTCOME_BYTES_MAX: Final = 64 * 1024 * 1024
SAID_CHARACTERS_MAX: Final = 500
TAIL_BYTES: Final = 4_000
WHY_CHARACTERS_MAX: Final = 300
BROKEN: Final = "engine_broken"
TIMEOUT: Final = "engine_timeout"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What a child is asked, on its stdin."""

    plan: str  # MODULE:NAME of the plan
    engine: str
    folder: str
    out: str
    level: Level
    says: int  # the pipe for progress
    word: str  # what seals the outcome: who was not asked does not know it
    options: Mapping[str, Any] = {}


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """An outcome as the child leaves it: one without the job's own word was written by somebody else."""

    word: str
    outcome: Outcome


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How an engine ended. `code` is that of a fault of its own; else what it says counts."""

    outcome: Outcome
    code: str = ""


# ---- the parent ----------------------------------------------------------------------------------------------------


def run(
    engine: Engine, ground: Ground, *, timeout_s: float, plan: str = PLAN_AT, paths: tuple[str, ...] = ()
) -> Ended:
    """Run an engine to its end, or to its deadline; `paths` come first where the child looks for modules."""
    ground.out.mkdir(parents=True, exist_ok=True)
    (ground.out / OUTCOME).unlink(missing_ok=True)
    reads, writes = os.pipe()
    word = secrets.token_hex(16)
    job = Job(
        plan=plan,
        engine=engine.name,
        folder=str(ground.folder),
        out=str(ground.out),
        level=ground.level,
        says=writes,
        word=word,
        options=ground.options,
    )
    try:
        process = _started(ground, paths, writes)
    except OSError:
        os.close(reads)
        raise
    finally:
        os.close(writes)
    teller = threading.Thread(target=_tell, args=(reads, ground.say), daemon=True)
    teller.start()
    try:
        _ask(process, job)
        status = process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return _broken(ground, TIMEOUT, f"{engine.name} took longer than {timeout_s:g} s")
    finally:
        _end(process)
        teller.join(1)
    return _said(engine, ground, status, word)


def _started(ground: Ground, paths: tuple[str, ...], writes: int) -> subprocess.Popen[bytes]:
    with (ground.out / LOG).open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "rspp.cli.verify.jobs"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=ground.out,
            env=_environment(ground.folder, paths),
            pass_fds=(writes,),
            start_new_session=True,
        )


def _environment(folder: Path, paths: tuple[str, ...]) -> dict[str, str]:
    own = (str(folder / "src"),) if is_checkout(folder) else ()
    inherited = tuple(filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))
    found = os.pathsep.join((*own, *paths, *inherited))
    # What is verified stays as it is: not even a compiled file appears in it.
    return {**os.environ, "PYTHONPATH": found, "PYTHONDONTWRITEBYTECODE": "1"}


def _ask(process: subprocess.Popen[bytes], job: Job) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(msgspec.json.encode(job) + b"\n")
        process.stdin.flush()
    except BrokenPipeError:  # it has ended already; its status says how
        return


def _end(process: subprocess.Popen[bytes]) -> None:
    """The child and all that it began."""
    with suppress(ProcessLookupError):  # all of them have ended
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin is not None:
        with suppress(BrokenPipeError):  # what was left unsaid to it does not matter any more
            process.stdin.close()


def _tell(reads: int, say: Callable[[str], None]) -> None:
    with os.fdopen(reads, "rb") as lines:
        for line in lines:
            say(line.decode("utf-8", "replace").strip()[:SAID_CHARACTERS_MAX])


def _said(engine: Engine, ground: Ground, status: int, word: str) -> Ended:
    """What the child left, if it ended well and does not contradict itself."""
    if status:
        return _broken(ground, BROKEN, f"{engine.name} {_how(status)} without a word")
    path = ground.out / OUTCOME
    try:
        if path.stat().st_size > OUTCOME_BYTES_MAX:
            return _broken(ground, BROKEN, f"{engine.name} said more than {OUTCOME_BYTES_MAX} bytes")
        left = msgspec.json.decode(path.read_bytes(), type=Sealed, dec_hook=_decoded)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return _broken(ground, BROKEN, f"{engine.name} ended without a whole outcome")
    if left.word != word:
        return _broken(ground, BROKEN, f"{engine.name} left an outcome that is not its own")
    outcome = left.outcome
    if outcome.verdict == "pass" and outcome.found:
        return _broken(ground, BROKEN, f"{engine.name} says pass and has {len(outcome.found)} findings")
    if outcome.verdict == "fail" and not outcome.found:
        return _broken(ground, BROKEN, f"{engine.name} fails and says nothing that was found")
    return Ended(outcome=outcome)


def _broken(ground: Ground, code: str, what: str) -> Ended:
    why = _why(ground)
    fix = f"read {LOG} beside the report; mend what ended it, then --resume"
    if code == TIMEOUT:
        fix = f"read {LOG} beside the report for what it waited for, or give it longer with --timeout"
    found = Found(what=f"{what}{f': {why}' if why else ''}", fix=fix)
    return Ended(outcome=Outcome(verdict="fail", summary=what, found=(found,)), code=code)


def never(what: str) -> Ended:
    """An engine whose process could not even be started."""
    found = Found(what=what, fix="free memory or processes of this machine, then --resume")
    return Ended(outcome=Outcome(verdict="fail", summary=what, found=(found,)), code=BROKEN)


def _how(status: int) -> str:
    if status > 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"


def _why(ground: Ground) -> str:
    """The last line that the child wrote, usually of its exception; without paths of this machine."""
    try:
        with (ground.out / LOG).open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL_BYTES))
            lines = log.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    for path in (ground.out, ground.folder):
        last = last.replace(str(path), ".")
    return "".join(one if one.isprintable() else "?" for one in last)[:WHY_CHARACTERS_MAX]


# ---- the child -----------------------------------------------------------------------------------------------------


def main() -> None:
    """Run the engine that stdin names; an exception is left to the interpreter, which writes it and ends with status 1."""
    # Straight from the descriptor: what is buffered of stdin would hold its lock while a thread waits for its end.
    job = msgspec.json.decode(_line(0), type=Job)
    threading.Thread(target=_watch, daemon=True).start()
    os.set_inheritable(job.says, False)  # what the engine starts must not keep the pipe
    ground = Ground(
        folder=Path(job.folder), out=Path(job.out), level=job.level, say=_Says(job.says), options=job.options
    )
    check_own(ground.folder)
    engine = find(job.plan, job.engine)
    sealed = Sealed(word=job.word, outcome=engine.run(ground))
    path = ground.out / OUTCOME
    whole = path.with_suffix(".tmp")
    whole.write_bytes(msgspec.json.encode(sealed, enc_hook=_encoded))
    whole.replace(path)


def check_own(folder: Path) -> None:
    """A checkout is looked at by its own code, or not at all; else who looks would pass what it never saw."""
    if is_checkout(folder) and not Path(rspp.__file__).resolve().is_relative_to((folder / "src").resolve()):
        raise SystemExit("this rspp is not the one of the checkout that is verified")


def find(plan: str, name: str) -> Engine:
    """An engine of a plan, by its name."""
    module, _, attribute = plan.partition(":")
    rows: tuple[Engine, ...] = getattr(import_module(module), attribute)
    return next(row for row in rows if row.name == name)


class _Says:
    """Progress goes to the pipe, a line each, and nowhere when nobody reads it."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def __call__(self, text: str) -> None:
        line = text.replace("\n", " ")[:SAID_CHARACTERS_MAX]
        try:
            os.write(self._pipe, line.encode("utf-8", "replace") + b"\n")
        except OSError:
            return


def _line(descriptor: int) -> bytes:
    read = b""
    while not read.endswith(b"\n"):
        piece = os.read(descriptor, 65_536)
        if not piece:
            raise SystemExit("nobody asked anything")
        read += piece
    return read


def _watch() -> None:
    """Whoever asked has gone: nobody waits for this, and nobody else would end it."""
    while os.read(0, 65_536):
        pass
    os.killpg(os.getpgid(0), signal.SIGKILL)


def _encoded(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} has no place in a report")


def _decoded(kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise NotImplementedError(kind)


if __name__ == "__main__":
    main()
