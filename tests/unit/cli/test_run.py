"""`rspp run` with a recording: what it prints, what it writes, and how it fails."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import pytest
from click import ClickException
from click.testing import CliRunner, Result

from rspp.cli.providers import command as providers_command
from rspp.cli.recordings import Where, load
from rspp.cli.run import command
from rspp.cli.run_listen import address_of, page
from rspp.contract.words import RecordingLevel
from rspp.kernel.journal import encoding_of, read
from rspp.media.wav import Sound, read_wav, write_wav
from rspp.nodes import factories
from rspp.testing.clock import VirtualLoop
from rspp.testing.scripted.tts import tone
from rspp.timeline.recording import assemble
from rspp.timeline.records import unframe
from rspp.timeline.replay.exact import ExactRun
from rspp.timeline.replay.modes import Mode, Outputs

SPEC = """
pipeline: desk
version: v1
template: voice
providers: {vad: [scripted-vad], end_of_turn: [scripted-end-of-turn], stt: [scripted-stt], llm: [scripted-llm], tts: [scripted-tts]}
"""
TURN_FIELDS = {
    "transcript": str,
    "reply": str,
    "end_of_speech_to_first_audio_ms": float,
    "stages_ms": dict,
    "terminal": str,
    "evidence_complete": bool,
    "interrupted": bool,
    "heard_ms": int,
}


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "desk.yaml"
    path.write_text(SPEC)
    return path


@pytest.fixture
def question(tmp_path: Path) -> Path:
    path = tmp_path / "question.wav"
    write_wav(path, Sound(bytes(6_400) + tone(300, 16_000, 9_000), 16_000))
    return path


@pytest.fixture(autouse=True)
def in_virtual_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls take no time, and are never late because the machine is busy."""
    monkeypatch.setattr("rspp.cli.run_call.new_loop", lambda _: VirtualLoop())


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [*map(str, arguments)])


def test_a_question_is_answered_and_the_call_reported_as_json(
    spec: Path, question: Path, tmp_path: Path
) -> None:
    out, journal = tmp_path / "out.wav", tmp_path / "call.rspp"
    result = run(spec, "--wav", question, "--json", "--out", out, "--record", journal)
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["session_id"].startswith("s-")
    assert said["end_reason"] == "drained"
    (turn,) = said["turns"]
    for name, kind in TURN_FIELDS.items():
        assert isinstance(turn[name], kind), name
    assert turn["transcript"] == "Hello there."
    assert turn["reply"] == "You said: Hello there."
    assert turn["terminal"] == "commit"
    assert turn["evidence_complete"]
    assert not turn["interrupted"]
    assert sum(turn["stages_ms"].values()) == pytest.approx(turn["end_of_speech_to_first_audio_ms"], abs=0.05)
    heard = read_wav(out)
    assert heard.ms >= turn["last_audio_at_ms"]
    recorded = assemble([unframe(journal.read_bytes())])
    assert recorded.session_id == said["session_id"]
    assert recorded.whole
    assert recorded.head.level is RecordingLevel.L1
    assert [evidence.turn_id for evidence in recorded.evidence.values()] == [turn["turn_id"]]
    run_again = ExactRun(recorded, factories(), Mode(outputs=Outputs.RE_SIMULATE))
    while run_again.step() is not None:
        pass
    assert run_again.comparison.count == 0


def test_without_json_a_person_reads_the_conversation_and_a_table(spec: Path, question: Path) -> None:
    result = run(spec, "--wav", question)
    assert result.exit_code == 0
    assert "caller     Hello there." in result.stdout
    assert "assistant  You said: Hello there." in result.stdout
    assert "tts_first_audio" in result.stdout
    assert "loading models" in result.stderr


def test_an_interruption_is_said_over_the_answer_and_stereo_has_both_sides(
    spec: Path, question: Path, tmp_path: Path
) -> None:
    out = tmp_path / "both.wav"
    result = run(
        spec, "--wav", question, "--interrupt", f"{question}@300", "--json", "-q", "--out", out, "--stereo"
    )
    assert result.exit_code == 0, result.output
    first, second = json.loads(result.stdout)["turns"]
    assert first["interrupted"]
    assert first["speech_to_silence_ms"] is not None
    assert not second["interrupted"]
    assert second["terminal"] == "commit"
    with wave.open(str(out)) as file:
        assert file.getnchannels() == 2
    assert result.stderr == ""


def test_a_recording_without_speech_is_a_problem_and_not_a_hang(spec: Path, tmp_path: Path) -> None:
    silence = tmp_path / "silence.wav"
    write_wav(silence, Sound(bytes(32_000), 16_000))
    result = run(spec, "--wav", silence, "--json")
    assert result.exit_code == 1
    assert "no speech" in result.stderr
    assert "waited in vain for an answer" in result.stderr
    assert json.loads(result.stdout)["turns"] == []


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "no RIFF/WAVE header"),
        (b"ID3\x03 certainly an MP3", "no RIFF/WAVE header"),
        (b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0", "cut off"),
        (b"RIFF\x24\0\0\0WAVE", "does not say its format"),
    ],
)
def test_an_unreadable_recording_is_told_in_one_line(
    spec: Path, tmp_path: Path, content: bytes, sentence: str
) -> None:
    wav = tmp_path / "bad.wav"
    wav.write_bytes(content)
    result = run(spec, "--wav", wav)
    assert result.exit_code == 1
    assert f"bad.wav: {sentence}" in result.stderr or sentence in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--wav", "QUESTION", "--listen"],
        ["--wav", "missing.wav"],
        ["--wav", "QUESTION", "--interrupt", "QUESTION"],
        ["--wav", "QUESTION", "--interrupt", "missing.wav@100"],
        ["--wav", "QUESTION", "--record", "call.txt"],
        ["--wav", "QUESTION", "--pace", "quick"],
        ["--listen", "somewhere"],
        ["--listen", "127.0.0.1:0", "--token", "a-secret-as-it-is"],
    ],
)
def test_wrong_usage_ends_with_2(spec: Path, question: Path, arguments: list[str]) -> None:
    given = [str(spec), *(one.replace("QUESTION", str(question)) for one in arguments)]
    result = CliRunner().invoke(command, given)
    assert result.exit_code == 2, result.output
    assert "a-secret-as-it-is" not in result.output


def test_a_broken_spec_is_told_with_its_line(tmp_path: Path, question: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(SPEC.replace("template: voice", "template: choir"))
    result = run(path, "--wav", question)
    assert result.exit_code == 1
    assert "broken.yaml:4:" in result.stderr
    assert "unknown_template" in result.stderr


def test_a_provider_that_is_not_there_is_named_with_those_that_are(tmp_path: Path, question: Path) -> None:
    path = tmp_path / "other.yaml"
    path.write_text(SPEC.replace("scripted-llm", "llm-of-somebody"))
    result = run(path, "--wav", question)
    assert result.exit_code == 1
    assert "llm-of-somebody" in result.stderr
    assert "scripted-llm" in result.stderr


def test_missing_models_are_one_line_that_says_how_to_get_them(
    tmp_path: Path, question: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RSPP_MODELS", str(tmp_path / "nothing"))
    path = tmp_path / "local.yaml"
    path.write_text(SPEC.replace("scripted-stt", "local-whisper"))
    result = run(path, "--wav", question)
    assert result.exit_code == 1
    (line,) = result.stderr.strip().splitlines()
    assert "rspp models fetch whisper-tiny.en" in line or "rspp[local]" in line


def test_providers_are_listed_by_modality_with_what_they_lack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RSPP_MODELS", str(tmp_path))
    listed = json.loads(CliRunner().invoke(providers_command, ["--json"]).stdout)
    rows = {row["name"]: row for row in listed["providers"]}
    assert rows["scripted-tts"]["ready"]
    assert not rows["local-whisper"]["ready"]
    assert "missing" in rows["local-whisper"]["state"]
    assert not rows["openai-llm"]["ready"]
    assert "base_url" in rows["openai-llm"]["state"]
    assert rows["silence"]["default"]
    assert not rows["local-smart-turn"]["default"]
    assert listed["nodes"]["segmenter"] == "rspp"
    only = CliRunner().invoke(providers_command, ["--modality", "stt"]).stdout
    assert "scripted-stt" in only
    assert "scripted-tts" not in only


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        (":9000", ("127.0.0.1", 9000)),
        ("9000", ("127.0.0.1", 9000)),
        ("[::1]:80", ("::1", 80)),
    ],
)
def test_an_address_may_be_short(text: str, address: tuple[str, int]) -> None:
    assert address_of(text) == address


def test_the_page_is_small_and_asks_nobody_else_for_anything() -> None:
    body = page()["/"].body.decode()
    assert len(body) < 40_000
    assert "http://" not in body
    assert "https://" not in body.replace('"https:"', "")
    assert "<script src" not in body
    assert "@import" not in body


def test_a_call_that_is_not_over_in_time_is_ended_and_a_problem(spec: Path, question: Path) -> None:
    result = run(spec, "--wav", question, "--timeout", "1", "--json")
    assert result.exit_code == 1
    assert "raise --timeout" in result.stderr
    assert json.loads(result.stdout)["end_reason"] == "timeout"


def test_where_nothing_can_be_recorded_the_command_says_so_before_the_call_and_names_the_way_out(
    spec: Path, question: Path
) -> None:
    """The data folder's place is a file's."""
    result = run(spec, "--wav", question, "--json", "--data", question / "recordings")
    assert result.exit_code == 2
    assert "nothing can be recorded" in result.stderr
    assert "--record-level off" in result.stderr
    assert not result.stdout
    assert run(spec, "--wav", question, "--data", question / "x", "--record-level", "off").exit_code == 0


def test_a_copy_of_a_recording_that_is_not_made_is_wrong_usage(
    spec: Path, question: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "call.rspp"
    result = run(spec, "--wav", question, "--record", copy, "--record-level", "off")
    assert result.exit_code == 2
    assert not copy.exists()


def test_a_call_without_word_of_recording_is_recorded_and_its_commands_are_named(
    spec: Path, question: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    result = run(spec, "--wav", question, "--data", data)
    assert result.exit_code == 0
    recording = load("last", Where(data=data))
    assert f"rspp replay {recording.session_id} --mode re-simulate" in result.stdout
    assert f"rspp timeline {recording.session_id}" in result.stdout
    assert (recording.head.level, recording.head.origin, recording.head.sampled) == ("L1", "run", "all")
    assert not list(data.glob("spool/*/*/*.seg")), "everything is in the store"


def test_a_call_that_is_not_sampled_leaves_nothing(spec: Path, question: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    result = run(spec, "--wav", question, "--json", "--data", data, "--sample", "0")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["turns"][0]["evidence_complete"]
    assert not list(data.glob("spool/*/*"))
    with pytest.raises(ClickException, match="no recording"):
        load("last", Where(data=data))


@pytest.mark.parametrize(
    ("stated", "asked", "level"), [("", "L0", "L0"), ("", "L2", "L2"), ("L0", "L2", "L2"), ("L2", None, "L2")]
)
def test_the_recording_level_that_is_asked_for_comes_before_the_pipelines_own(
    spec: Path, question: Path, tmp_path: Path, stated: str, asked: str | None, level: str
) -> None:
    if stated:
        spec.write_text(f"{SPEC}policies: {{recording_policy: {{level: {stated}}}}}\n")
    options = ["--record-level", asked] if asked else []
    result = run(spec, "--wav", question, "--json", "--data", tmp_path / "data", *options)
    assert result.exit_code == 0, result.stderr
    recording = load("last", Where(data=tmp_path / "data"))
    assert (recording.head.level, recording.head.graph.recording_policy.level) == (level, level)
    assert bool(recording.inputs) is (level != "L0")
    assert bool(recording.without_sound) is (level == "L1")


def test_the_inputs_of_a_recording_can_be_had_as_lines(spec: Path, question: Path, tmp_path: Path) -> None:
    lines = tmp_path / "call.jsonl"
    assert run(spec, "--wav", question, "--json", "--record", lines).exit_code == 0
    journal = read(lines.read_bytes(), encoding_of(lines.name))
    assert len(journal.inputs) > 100


def test_a_policy_of_redaction_that_cannot_be_read_is_wrong_usage(
    spec: Path, question: Path, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("{everybody: {text_row: {L1: allow}}}")
    result = run(spec, "--wav", question, "--redaction", policy)
    assert result.exit_code == 2
    assert "--redaction" in result.stderr
