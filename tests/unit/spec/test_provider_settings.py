"""A provider's settings reach the graph by layers, are part of what it is, and hold no secret."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from rspp.contract.words import Modality
from rspp.spec import Layer, check_layer, compile_text, load, voice_template
from rspp.spec.compile import fingerprint
from rspp.spec.graph import GraphDefinition
from rspp.spec.provider_settings import REFERENCE, laid_over, literal_secrets, names_a_secret

SPEC = """pipeline: p
version: v1
template: voice
providers: {stt: a, llm: house.v2, tts: c}
provider_settings:
  house.v2: {use: openai-llm, model: small, base_url: "http://127.0.0.1:8000/v1", api_key: "env://KEY"}
"""
PLAIN = SPEC.partition("provider_settings")[0]


def test_settings_stand_in_the_graph_by_provider_with_the_layer_that_wrote_them_last() -> None:
    layer = Layer.of("environment", {"provider_settings": {"house.v2": {"model": "large"}}})
    graph = compile_text(SPEC, layers=[layer])
    assert graph.provider_settings == {
        "house.v2": {
            "use": "openai-llm",
            "model": "large",
            "base_url": "http://127.0.0.1:8000/v1",
            "api_key": "env://KEY",
        }
    }
    assert graph.defaulting_source["provider_settings.house.v2"] == "layer/environment"


def test_another_kind_in_a_layer_takes_over_nothing() -> None:
    assert laid_over({"use": "a", "x": 1}, {"use": "b"}) == {"use": "b"}
    assert laid_over({"use": "a", "x": 1}, {"use": "a", "y": 2}) == {"use": "a", "x": 1, "y": 2}
    assert laid_over(None, {"x": 1}) == {"x": 1}


def test_settings_are_part_of_the_fingerprint_and_none_leaves_it_as_it_was() -> None:
    with_settings, plain = compile_text(SPEC), compile_text(PLAIN)
    other = compile_text(SPEC.replace("small", "large"))
    assert len({with_settings.fingerprint, plain.fingerprint, other.fingerprint}) == 3
    # A graph recorded before there were settings has no such field; it reads back with the fingerprint it had.
    document = msgspec.to_builtins(plain)
    del document["provider_settings"]
    old = msgspec.convert(document, GraphDefinition)
    assert fingerprint(old) == plain.fingerprint
    assert compile_text(PLAIN + "provider_settings: {}\n").fingerprint == plain.fingerprint


def test_candidates_of_a_detector_reach_the_graph_and_change_nothing_else() -> None:
    chosen = voice_template(
        {"stt": ["a"], "llm": ["b"], "tts": ["c"], "vad": ["x", "y"], "end_of_turn": ["z"]}
    )
    without = voice_template({"stt": ["a"], "llm": ["b"], "tts": ["c"]})
    assert chosen.providers[Modality.VAD] == ("x", "y")
    assert chosen.providers[Modality.END_OF_TURN] == ("z",)
    assert Modality.VAD not in without.providers
    assert chosen.nodes == without.nodes
    assert chosen.edges == without.edges
    assert chosen.fingerprint != without.fingerprint


def test_a_literal_secret_is_refused_in_a_layer_too_and_no_message_repeats_it() -> None:
    layer = Layer.of("tenant", {"provider_settings": {"house.v2": {"api_key": "sk-planted"}}})
    for problems in (load(SPEC, layers=[layer]).problems, check_layer(layer)):
        (problem,) = problems
        assert problem.code == "literal_secret"
        assert "the tenant layer" in problem.message
        assert "sk-planted" not in str(problem)
    assert load(SPEC, layers=[layer]).graph is None


def test_a_literal_that_a_layer_would_cover_is_refused_all_the_same() -> None:
    layer = Layer.of("tenant", {"provider_settings": {"house.v2": {"api_key": "env://OTHER"}}})
    loaded = load(SPEC.replace("env://KEY", "sk-planted"), layers=[layer])
    assert [problem.code for problem in loaded.problems] == ["literal_secret"]


@pytest.mark.parametrize(
    "key",
    [
        "api_key",
        "apiKey",
        "APIKey",
        "X-Api-Key",
        "apikey",
        "token",
        "accessToken",
        "password",
        "client_secret",
        "Authorization",
        "AUTH_TOKEN",
        "proxy-authorization",
        "credentials",
        "private_key",
    ],
)
def test_a_key_that_names_a_secret_is_known(key: str) -> None:
    assert names_a_secret(key)


@pytest.mark.parametrize(
    "key", ["tokens_max", "keyboard", "model", "", "1", "tokenizer", "secret_count", "base_url"]
)
def test_a_key_that_names_none_is_left_alone(key: str) -> None:
    assert not names_a_secret(key)


@pytest.mark.parametrize(
    ("value", "faults"),
    [
        ({"headers": {"Authorization": ["env://A", "Bearer abc"]}}, 1),
        ({"secret": {"deep": {"deeper": "abc"}}}, 1),
        ({"token": ""}, 1),
        ({"token": 5}, 1),
        ({"token": None}, 0),
        ({"token": True}, 0),
        ({"url": "https://u:p@h/"}, 1),
        ({"url": "https://u@h/"}, 1),
        ({"url": "https://h/a@b"}, 0),
        ({"url": "https://h/?x=1&access_token=abc"}, 1),
        ({"url": "https://h/?keyboard=de"}, 0),
    ],
)
def test_a_secret_is_found_however_deep_it_stands(value: dict[str, object], faults: int) -> None:
    assert len(list(literal_secrets(value, ()))) == faults


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("env://LLM_KEY", True),
        ("file:///run/secrets/key", True),
        ("file:///with space", True),
        ("env://", False),
        ("env://9A", False),
        ("env://A B", False),
        ("env://A\n", False),
        ("file://relative", False),
        ("file:///", False),
        ("file:///a\nb", False),
        (" env://A", False),
        ("ENV://A", False),
        ("https://x", False),
    ],
)
def test_a_reference_has_one_of_two_forms(text: str, good: bool) -> None:
    assert (REFERENCE.fullmatch(text) is not None) is good


def test_the_corpus_example_has_every_settings_in_it() -> None:
    path = Path(__file__).parents[2] / "specs" / "good" / "provider-settings.yaml"
    graph = compile_text(path.read_text(encoding="utf-8"))
    assert sorted(graph.provider_settings) == ["ears", "house-llm", "local-whisper", "voice.v2"]
