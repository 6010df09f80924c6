"""Inputs of every kind, well formed and not: what a caller, a provider, a control plane or a broken host might hand in.

Identifiers are drawn as indices: the machine maps them to what exists in its session, so that most draws mean something.
"""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

from rspp.contract.event import NS_PER_MS, Audio, Note, Sample, Text
from rspp.contract.words import CancelMode, CancelReason, CancelScope, Codec, ConnectionState, OutcomeClass
from rspp.kernel import inputs as i
from rspp.kernel.snapshot import Durable, Quota
from rspp.testing.rig import FRAME, snapshot

EPOCHS: Final = st.sampled_from([None, None, None, 7, 7, 6, 8, -1])
SEQUENCES: Final = st.integers(-1, 12)
WORDS: Final = st.sampled_from(
    [
        "",
        " ",
        "yes",
        "mhm",
        "what time is it",
        "no wait stop",
        "It is ten. ",
        "One. Two! Three",
        "x",
        "\ud800",
    ]
).map(lambda words: "a" * 400 if words == "x" else words)
SCORES: Final = st.sampled_from([0.0, 0.2, 0.4, 0.6, 0.95, 1.0, -1.0, 2.0, float("nan")])
NAMES: Final = st.sampled_from(["language", "llm-a", "x", ""])
VALUES: Final = st.one_of(
    st.integers(-5, 5), st.booleans(), st.sampled_from(["en", "de", ""]), st.floats(0, 1)
)

frames = st.builds(
    Audio,
    data=st.just(len(FRAME)).map(bytes),
    samples=st.just(320),
    sample_index=st.integers(0, 9).map(lambda index: index * 320),
)
odd_audio = st.builds(
    Audio,
    # As sizes, because Hypothesis writes strategies out.
    data=st.sampled_from([0, 1, 640, 64_000, 70_000]).map(bytes),
    samples=st.sampled_from([-320, 0, 1, 320, 32_000, 10**12]),
    sample_index=st.integers(-1, 5),
    rate=st.sampled_from([16_000, 16_000, 8_000, 1, 10**6, 44_100]),
    channels=st.sampled_from([1, 1, 2, 0, 9]),
    codec=st.sampled_from(list(Codec)),
    end=st.booleans(),
)
texts = st.builds(
    Text,
    text=WORDS,
    segment=st.integers(0, 3),
    revision=st.integers(0, 9),
    final=st.booleans(),
    role=st.sampled_from([None, "user", "assistant"]),
    language=st.sampled_from([None, "en"]),
    confidence=st.sampled_from([None, 0.2, 0.9]),
)
# Broken counts of a provider are in tests/scenarios/test_broken_providers.py: the onlooker cannot tell refused chunks.
payloads = st.one_of(frames, texts, texts, st.builds(Sample, NAMES, st.floats(0, 9)), st.builds(Note, WORDS))

from_the_caller = st.one_of(
    st.builds(i.AudioReceived, audio=frames, transport_sequence=SEQUENCES, epoch=EPOCHS),
    st.builds(i.AudioReceived, audio=odd_audio, transport_sequence=SEQUENCES, epoch=EPOCHS),
    st.builds(
        i.TextReceived,
        text=WORDS,
        transport_sequence=SEQUENCES,
        epoch=EPOCHS,
        idempotency_key=st.none() | NAMES,
    ),
    st.builds(
        i.ControlReceived,
        signal=st.sampled_from(
            ["stop", "barge_in", "end_of_utterance", "talk_pressed", "talk_released", "digit", "commit", ""]
        ),
        transport_sequence=st.integers(-1, 500),
        epoch=EPOCHS,
        reason=st.sampled_from([None, None, *CancelReason, "whim"]),
        value=st.sampled_from([None, "1", "#", "12", "z"]),
        extensions=st.sampled_from([None, {"acme.x": 1}, {"x": 1}]),
    ),
    st.builds(
        i.UnknownReceived,
        kind=WORDS,
        transport_sequence=SEQUENCES,
        epoch=EPOCHS,
        core=st.booleans(),
        extensions=st.sampled_from([None, {"acme.x": 1}]),
    ),
    st.builds(i.MalformedReceived, st.sampled_from(["bad_json", ""]), WORDS, WORDS),
)
listening = st.one_of(st.builds(i.SpeechScored, SCORES), st.builds(i.EndOfTurnScored, SCORES))
connections = st.builds(i.ConnectionChanged, st.sampled_from(list(ConnectionState)))
durables = st.builds(
    Durable,
    revision=st.integers(-1, 50),
    values=st.sampled_from(
        [
            {},
            {"history": [["user", "hello"]]},
            {"history": 7},
            {"keys": {"k": [0, 1]}},
            {"keys": {"k": "broken"}},
        ]
    ),
    age_ms=st.sampled_from([0, 5_001, -1]),
)
snapshots = st.builds(
    snapshot,
    version=st.integers(0, 5),
    at=st.sampled_from([0, 10**12]),
    compatible=st.booleans(),
    capacity=st.sampled_from(["allow", "allow", "allow", "defer", "reject"]),
    quota=st.sampled_from(
        [Quota(), Quota(), Quota(turns_per_minute=2), Quota(tokens_per_minute=5, action="defer")]
    ),
    health=st.sampled_from([{}, {"llm-a": "unhealthy"}, {"llm-a": "?"}]),
    circuits_open=st.sampled_from([(), ("stt-a", "llm-a", "tts-a"), ("llm-a", "llm-b")]),
    facts=st.sampled_from([{}, {"language": "en"}]),
)
from_the_platform = st.one_of(
    st.builds(
        i.LeaseChanged,
        change=st.sampled_from(["issued", "renewed", "rotated", "revoked", "stolen"]),
        epoch=st.integers(5, 10),
        token=st.none() | NAMES,
        expires_at=st.sampled_from([None, 400_000 * NS_PER_MS]),
    ),
    st.builds(
        i.MigrationChanged, st.sampled_from(["start", "finish", "handoff", "failed", "?"]), st.integers(6, 9)
    ),
    st.builds(i.RoutingViewPublished, st.integers(-1, 3), st.integers(6, 8), NAMES),
    st.builds(i.SnapshotPublished, snapshots),
    st.builds(i.SnapshotLost, NAMES),
    st.builds(i.CloseRequested, NAMES, st.booleans()),
    st.builds(i.EvidenceStored, NAMES, st.booleans(), st.none() | NAMES),
    st.builds(i.RecorderPressed, st.sampled_from([0.0, 0.85, 0.95, 7.0]), st.sampled_from([0, 3_000, -1])),
    st.builds(i.DurableAttached, durables, st.integers(6, 8)),
    st.builds(i.CircuitReset, st.sampled_from(["llm-a", "stt-a", "nobody"])),
    st.builds(i.PoolChanged, st.sampled_from(["open", "open", "saturated", "closed", "?"])),
    st.builds(i.ClockObserved, st.integers(-1, 2 * 10**18), st.integers(-1, 10**6)),
    st.builds(i.FactChanged, NAMES, VALUES),
    st.builds(i.DebugSwitched, st.booleans(), st.none() | st.integers(0, 10**10)),
    st.just(i.Woken()),
)
cancels = st.builds(
    i.ControlReceived,
    signal=st.just("cancel"),
    transport_sequence=st.integers(501, 10**6),
    scope=st.none() | st.sampled_from(list(CancelScope)),
    target=st.sampled_from([None, "tts", "llm", "segmenter", "stt", "nobody"]),
    mode=st.none() | st.sampled_from(list(CancelMode)),
    reason=st.none() | st.sampled_from([CancelReason.USER_CANCEL, CancelReason.BARGE_IN]),
)
outcomes = st.sampled_from(list(OutcomeClass))
