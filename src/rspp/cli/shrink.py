"""`rspp shrink`: a failing recording made a small one, and a test that fails until the failure is repaired."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Final

import click

from rspp.cli.output import emit_json, write_bytes, write_text
from rspp.cli.recordings import Where, load, where_options
from rspp.cli.replay_nodes import nodes_for, nodes_option
from rspp.contract.errors import RsppError
from rspp.timeline.shrink import Feeder, Shrinker, Small, recording_of
from rspp.timeline.shrink_checks import DivergenceShows, check_of

UNSAFE: Final = re.compile(r"[^\w ./:@-]")
TEST: Final = '''"""{session}, made small: {left} of {all} inputs still show it. Fails until it is repaired, and keeps it so.

Checked: {words}
"""

from pathlib import Path

from rspp.timeline.shrink_checks import findings


def {name}() -> None:
    found = findings(Path(__file__).with_suffix(".rspp"), {check})
    assert not found, "\\n".join(found)
'''


@click.command(
    epilog="Exit status: 0 the test is written, 1 the recording does not show the failure, 2 the command was used wrongly."
)
@click.argument("session")
@where_options
@nodes_option
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The test file; its recording is written beside it.",
)
@click.option(
    "--check",
    default="divergence",
    show_default=True,
    help="What fails: divergence, invariant, violation INV-.., signal NAME, predicate module:function.",
)
@click.option(
    "--time-s", type=click.FloatRange(min=0.1), default=30.0, show_default=True, help="At most so long."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    session: str,
    where: Where,
    node_places: tuple[str, ...],
    out: Path,
    check: str,
    time_s: float,
    as_json: bool,
) -> None:
    """Make a failing recording as small as it can be, as a test that pytest runs.

    \b
    Examples:
        rspp shrink call.rspp --out tests/test_found.py
        rspp shrink 20261121-a --check "violation INV-10" --out test_fence.py
        rspp shrink call.rspp --check "predicate mine:is_wrong" --out test_mine.py
    """
    if out.suffix != ".py" or not out.stem.isidentifier() or not out.stem.startswith("test_"):
        raise click.BadParameter("pytest looks for test_NAME.py", param_hint="--out")
    recording = load(session, where)
    until = time.monotonic() + time_s
    # A predicate is looked for where the command is run.
    sys.path.insert(0, str(Path.cwd()))
    try:
        feeder = Feeder(recording, nodes_for(recording.head.graph, node_places))
        oracle = check_of(check, feeder)
        small = Shrinker(feeder, oracle, lambda: time.monotonic() < until, _progress).run()
    except RsppError as error:
        if error.code == "shrink_check_unknown":
            raise click.UsageError(error.message) from error
        raise click.ClickException(f"{session}: {error.message}") from error
    finally:
        sys.path.remove(str(Path.cwd()))
    expected = oracle.expected(small.fed) if isinstance(oracle, DivergenceShows) else None
    data = recording_of(recording, small, expected)
    write_bytes(out.with_suffix(".rspp"), data)
    left = len(small.fed.given)
    write_text(out, text_of(out.stem, recording.session_id, check, left, len(feeder.inputs)))
    _tell(out, data, small, len(feeder.inputs), as_json=as_json)


def _progress(line: str) -> None:
    click.echo(line, err=True)


def text_of(name: str, session: str, check: str, left: int, inputs: int) -> str:
    """The test file: nothing in it but plain words of the session's name and the check."""
    words = {"session": UNSAFE.sub("?", session), "words": UNSAFE.sub("?", check)}
    return TEST.format(name=name, check=json.dumps(check), left=left, all=inputs, **words)


def _tell(out: Path, data: bytes, small: Small, inputs: int, *, as_json: bool) -> None:
    facts = {
        "test": str(out),
        "recording": str(out.with_suffix(".rspp")),
        "bytes": len(data),
        "inputs_before": inputs,
        "inputs": len(small.fed.given),
        "tries": small.tries,
        "finished": small.whole,
    }
    if as_json:
        emit_json(facts)
    else:
        why = "nothing more can be left out" if small.whole else "the time is over"
        click.echo(
            f"{out}: {len(small.fed.given)} of {inputs} inputs are left after {small.tries} tries; {why}"
        )
