"""`rspp serve --console`: the console as a process of its own beside the workers, begun again when it ends.

It reads the same store, and what is asked of it takes no time from calls or from the supervisor. Its end ends nobody else; the
kernel ends it with the supervisor.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import click
import msgspec

from rspp.cli.serve_settings import Work
from rspp.control.security.key_folder import check_dev_store, is_loopback
from rspp.server.run import listen_of

MODULE: Final = "rspp.cli.console"
# One that ends again and again is begun again ever later.
AGAIN_S_MIN: Final = 1.0
AGAIN_S_MAX: Final = 30.0
# One that lived so long had begun well.
WELL_S: Final = 60.0
END_S_MAX: Final = 8.0


class WantedConsole(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for. Without keys it is dev mode, and for this machine alone."""

    listen: str
    keys: Path | None = None


def wanted_console(
    listen: str | None,
    keys: Path | None,
    *,
    dev: bool,
    store: str = "",
    encrypted: bool = False,
    taken: Sequence[str] = (),
) -> WantedConsole | None:
    """None where there is to be none; raises `click.UsageError` where it would not be safe, or never begin.

    What its process would refuse is refused here: a process that cannot begin is begun again for ever. `taken` are the
    addresses that this machine's other sockets get.
    """
    if listen is None:
        return None
    if keys is None and not dev:
        raise click.UsageError(
            "--console over a control plane's store needs --console-keys FOLDER, as `rspp control init` made it."
        )
    where = listen_of(listen)
    if keys is None:
        check_dev_store(store)
    if keys is None and not is_loopback(where.host):
        raise click.UsageError(
            f"--console {listen} can be reached by others: name the signing keys with --console-keys FOLDER."
        )
    if not encrypted and not is_loopback(where.host):
        raise click.UsageError(
            f"--console {listen} is reached from other machines: give --tls-cert and --tls-key, or listen on 127.0.0.1 "
            "and put a proxy in front."
        )
    if where.port and where.port in [listen_of(one).port for one in taken]:
        raise click.UsageError(f"--console {listen}: another socket of this command has that port.")
    return WantedConsole(listen=listen, keys=keys)


def words_of(wanted: WantedConsole, work: Work) -> list[str]:
    """The command line of the console's process."""
    words = ["--listen", wanted.listen, "--store", work.store, "--data", work.data, "--region", work.region]
    words += ["--with-parent", str(os.getpid())]
    words += ["--dev"] if wanted.keys is None else ["--keys", str(wanted.keys)]
    given = (("--recordings", work.recordings), ("--tls-cert", work.tls_cert), ("--tls-key", work.tls_key))
    for option, value in given:
        if value is not None:
            words += [option, value]
    return words


class ConsoleProcess:
    """The process, kept alive until this is cancelled."""

    def __init__(
        self, words: Sequence[str], say: Callable[[str], None], again_s: float = AGAIN_S_MIN
    ) -> None:
        self._words, self._say, self._again_s = tuple(words), say, again_s
        self.begun = 0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        pause_s = self._again_s
        while True:
            began = loop.time()
            code = await self._once()
            if loop.time() - began >= WELL_S:
                pause_s = self._again_s
            self._say(f"the console ended with {code}; it begins again in {pause_s:g} s")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, AGAIN_S_MAX)

    async def _once(self) -> int | str:
        """Its status, or why there was no process."""
        try:
            # A session of its own: a signal of the terminal is the supervisor's to hear.
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", MODULE, *self._words, start_new_session=True
            )
        except OSError as error:  # no memory, no processes left: that passes
            return error.strerror or "no process"
        self.begun += 1
        try:
            return await process.wait()
        finally:
            await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    """It is told, and then it is made to."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(END_S_MAX):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
