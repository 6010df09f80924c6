"""`rspp init`: a project that works from its first minute: a pipeline, a node of one's own, its test, and what is next."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from rspp.cli.output import write_bytes

PIPELINE: Final = """\
# A spoken conversation with local models, and one node of our own in it.
#   rspp lint pipeline.yaml            is anything wrong with it?
#   rspp demo pipeline.yaml            hear it answer, and be interrupted
#   rspp dev pipeline.yaml --control   talk to it in a page that shows everything; what you change is taken at once
pipeline: NAME
version: v1

nodes:
  caller: {type: transport.in, version: v1}
  vad: {type: vad, version: v1}
  end_of_turn: {type: end_of_turn, version: v1}
  stt: {type: stt, version: v1}
  llm:
    type: llm
    version: v1
    config: {system: You are a helpful assistant. Keep your answers short., tokens_max: 40, temperature: 0}
  segmenter: {type: segmenter, version: v1}

  # Our own: the class Speller in spelling.py, at the version that it declares.
  spell:
    type: custom
    implementation: spelling:Speller
    version: v1
    config: {length_min: 3}

  tts: {type: tts, version: v1}
  speaker: {type: transport.out, version: v1}

edges:
  - {from: caller.audio, to: [vad.audio, end_of_turn.audio, stt.audio]}
  - {from: stt.partial, to: speaker.text, buffer: {strategy: latest_only}}
  - {from: stt.final, to: llm.text}
  - {from: llm.text, to: segmenter.text}
  - {from: segmenter.text, to: [spell.text, speaker.text]}
  - {from: spell.text, to: tts.text}
  - {from: tts.audio, to: speaker.audio}

providers:
  vad: local-silero
  end_of_turn: local-smart-turn
  stt: local-whisper
  llm: local-smollm2
  tts: local-hibari

# Models on a busy processor answer late rather than never.
budgets:
  turn_budget_ms: 6000
  node_budget_ms_default: 3000
  path_budget_ms_default: 5800

policies:
  turn_taking: {silence_ms_min: 500, silence_ms_max: 1000, final_wait_ms_max: 2000}
  calls: {provider_timeout_ms: 3000, progress_ms_max: 3000}
"""

NODE: Final = '''\
"""Codes such as AB12 are spelled: a voice would make a word of them."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

import rspp

CODE = re.compile(r"\\b(?=\\w*[A-Z])(?=\\w*\\d)[A-Z0-9]+\\b")


class SpellerConfig(rspp.Config, frozen=True):
    """What a pipeline may set; anything else is refused, with its line."""

    length_min: Annotated[int, msgspec.Meta(ge=2, le=64, description="Shorter codes are left alone.")] = 2


class Speller(rspp.Node):
    """A sync node: pure, so that a recorded call can be replayed. It must not ask a clock, draw chance, or wait."""

    declaration = rspp.NodeDeclaration(
        name="spell",
        version="v1",
        summary="Spells codes out.",
        inputs={"text": (rspp.EventKind.TEXT,)},
        outputs={"text": (rspp.EventKind.TEXT,)},
        config=SpellerConfig,
    )

    def on_event(self, ctx: rspp.Context, port: str, event: rspp.Event) -> None:
        text = event.payload
        if isinstance(text, rspp.Text):
            spelled = CODE.sub(self._spell, text.text)
            ctx.emit("text", msgspec.structs.replace(text, text=spelled))

    def _spell(self, code: re.Match[str]) -> str:
        long_enough = len(code.group()) >= self.config.length_min
        return " ".join(code.group()) if long_enough else code.group()
'''

TEST: Final = '''\
"""The node on its own: events go in, what it emits comes out, and nothing sleeps."""

from __future__ import annotations

import msgspec
import pytest
from spelling import Speller

from rspp.testing.harness import NodeHarness


def test_a_code_is_spelled_and_a_word_is_not() -> None:
    node = NodeHarness(Speller, config={"length_min": 3})
    node.text("Your booking AB12 is fine.", final=True)
    assert node.texts == ["Your booking A B 1 2 is fine."]


def test_a_short_code_is_left_alone() -> None:
    assert NodeHarness(Speller, config={"length_min": 3}).text("Gate B4.").texts == ["Gate B4."]


def test_after_a_cancel_the_next_turn_is_served() -> None:
    node = NodeHarness(Speller).text("Row 12A", final=True)
    node.cancel().new_turn()
    assert node.text("Row 14C", final=True).texts[-1] == "Row 1 4 C"


def test_a_setting_that_is_not_declared_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="loud"):
        NodeHarness(Speller, config={"loud": True})
'''

README: Final = """\
# NAME

A speech pipeline that runs on RSPP.

| file | what it is |
| --- | --- |
| `pipeline.yaml` | the pipeline: nodes, edges, providers |
| `spelling.py` | a node of our own |
| `test_spelling.py` | its test, without a model or a sound card |

```sh
pytest                                          # the node's test
rspp lint pipeline.yaml                         # the pipeline, every fault with its line
rspp graph pipeline.yaml                        # what it compiles to
rspp providers                                  # which models are ready here, and what is missing
rspp models fetch --all                         # get them
rspp run pipeline.yaml --wav question.wav --out answer.wav
rspp dev pipeline.yaml                          # serve it; a change of a file is taken up at once
rspp dev pipeline.yaml --control                # the same with a console: talk to it there, see every call
```

Next: change `spelling.py`, and its `version` when what it does changes; the pipeline pins that version. A node that
waits for something (a database, an HTTP service) derives from `rspp.AsyncNode` instead. `isolate: process` in the
pipeline gives a sync node a process of its own.
"""

IGNORED: Final = "__pycache__/\n.pytest_cache/\n.venv/\n*.wav\n"


def files(name: str) -> Mapping[str, str]:
    """The project's files: path -> text."""
    return {
        "pipeline.yaml": PIPELINE.replace("NAME", name),
        "spelling.py": NODE,
        "test_spelling.py": TEST,
        "README.md": README.replace("NAME", name),
        ".gitignore": IGNORED,
    }


def name_of(folder: Path) -> str:
    """A pipeline's name from its folder's: letters, digits and dashes, a letter first."""
    cleaned = re.sub(r"[^A-Za-z0-9]+", "-", folder.resolve().name).strip("-")
    return (cleaned if cleaned[:1].isalpha() else f"pipeline-{cleaned}".strip("-"))[:64]


@click.command(epilog="Exit status: 0 written, 2 the command was used wrongly; then nothing was written.")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
def command(folder: Path) -> None:
    """Begin a project: a pipeline, a node of your own, its test.

    Nothing that is there already is overwritten.

    \b
    Examples:
        rspp init front-desk
        cd front-desk && pytest && rspp lint pipeline.yaml
    """
    project = files(name_of(folder))
    there = [name for name in project if (folder / name).exists() or (folder / name).is_symlink()]
    if there:
        raise click.UsageError(f"{folder} has {', '.join(there)} already; nothing was written")
    for name, text in project.items():
        write_bytes(folder / name, text.encode())
        click.echo(f"wrote {folder / name}")
    click.echo(f"\nNext: cd {folder} && pytest && rspp lint pipeline.yaml")
    click.echo("Then: rspp dev pipeline.yaml --control      talk to it, and see what is going on, in a page")
