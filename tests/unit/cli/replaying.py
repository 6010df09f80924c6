"""What the tests of `rspp replay` have in common: the command, and calls that were really made."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from rspp.cli.main import main
from rspp.cli.replay import command
from rspp.media.wav import Sound, write_wav
from rspp.testing.scripted.tts import tone

SPEC = """
pipeline: desk
version: v1
nodes:
  caller: {type: transport.in, version: v1}
  vad: {type: vad, version: v1}
  end_of_turn: {type: end_of_turn, version: v1}
  stt: {type: stt, version: v1}
  llm: {type: llm, version: v1}
  segmenter: {type: segmenter, version: v1}
  loud: {type: custom, version: v1, implementation: "louder_NAME:Louder"}
  tts: {type: tts, version: v1}
  speaker: {type: transport.out, version: v1}
edges:
  - {from: caller.audio, to: [vad.audio, end_of_turn.audio, stt.audio]}
  - {from: stt.partial, to: speaker.text, buffer: {strategy: latest_only}}
  - {from: stt.final, to: llm.text}
  - {from: llm.text, to: segmenter.text}
  - {from: segmenter.text, to: [loud.text, speaker.text]}
  - {from: loud.text, to: tts.text}
  - {from: tts.audio, to: speaker.audio}
turn_input: stt.final
providers: {vad: [scripted-vad], end_of_turn: [scripted-end-of-turn], stt: [scripted-stt], llm: [scripted-llm], tts: [scripted-tts]}
"""
NODE = """
import rspp


class Louder:
    declaration = rspp.NodeDeclaration(
        name="louder", version="v1", inputs={"text": (rspp.EventKind.TEXT,)}, outputs={"text": (rspp.EventKind.TEXT,)}
    )

    def __init__(self, config):
        pass

    def on_event(self, ctx, port, event):
        words = event.payload
        ctx.emit("text", rspp.Text(words.text.upper(), segment=words.segment, final=words.final, role=words.role))
"""


def replayed(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(one) for one in arguments])


def facts(*arguments: object, status: int = 0) -> dict[str, Any]:
    result = replayed(*arguments, "--json")
    assert result.exit_code == status, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def desk_at(tmp_path: Path, level: str, *more: str, name: str = "desk.rspp") -> tuple[Path, Path]:
    """A pipeline with a node of its own, and a call that was really made with it; its modules are forgotten."""
    own = f"{os.getpid()}_{abs(hash(tmp_path))}"
    folder = tmp_path / "v1"
    folder.mkdir()
    spec, question, recording = folder / "desk.yaml", tmp_path / "question.wav", tmp_path / name
    spec.write_text(SPEC.replace("NAME", own))
    (folder / f"louder_{own}.py").write_text(NODE)
    write_wav(question, Sound(bytes(6_400) + tone(300, 16_000, 9_000), 16_000))
    made = CliRunner().invoke(
        main,
        [
            "run",
            str(spec),
            "--wav",
            str(question),
            "--record",
            str(recording),
            "--json",
            "--record-level",
            level,
            *more,
        ],
    )
    assert made.exit_code == 0, made.output
    del sys.modules[f"louder_{own}"]  # it is to be found anew
    return spec, recording
