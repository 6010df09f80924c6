"""Every bound of every edge is decided, says who decided it, and contradicts nothing."""

from __future__ import annotations

from rspp.contract.plan import BufferPolicy, Watermark
from rspp.contract.words import BufferStrategy, DropSide
from rspp.spec import GraphDefinition, compile_text, load, voice_template
from rspp.spec.profile import SOURCE

SPEC = """pipeline: p
version: v1
nodes:
  caller: {{type: transport.in, version: v1}}
  stt: {{type: stt, version: v1}}
  llm: {{type: llm, version: v1}}
  segmenter: {{type: segmenter, version: v1}}
  tts: {{type: tts, version: v1}}
  speaker: {{type: transport.out, version: v1}}
edges:
  - {{from: caller.audio, to: stt}}
  - {{from: stt.final, to: llm}}
  - {{from: llm, to: segmenter, buffer: {buffer}}}
  - {{from: segmenter, to: tts}}
  - {{from: tts, to: speaker.audio}}
providers: {{stt: a, llm: b, tts: c}}
"""


def of(graph: GraphDefinition, name: str) -> BufferPolicy:
    return next(edge.buffer for edge in graph.edges if edge.id == name)


def buffer(written: str) -> BufferPolicy:
    return of(compile_text(SPEC.format(buffer=written)), "llm.text->segmenter.text")


def test_edges_fall_into_their_classes() -> None:
    graph = voice_template()
    microphone = of(graph, "caller.audio->stt.audio")
    assert (microphone.strategy, microphone.drop_side) == (BufferStrategy.DROP, DropSide.OLDEST)
    assert of(graph, "stt.partial->speaker.text").strategy is BufferStrategy.LATEST_ONLY
    egress = of(graph, "tts.audio->speaker.audio")
    assert (egress.max_queue_items, egress.max_queue_ms, egress.max_block_time_ms) == (3000, 60_000, 60_000)
    assert egress.watermarks.queue_items == Watermark(high=250, low=100)
    assert of(graph, "segmenter.text->tts.text").max_queue_ms == 60_000
    assert of(graph, "llm.text->segmenter.text").max_block_time_ms == 250


def test_each_bound_says_whether_the_spec_or_the_profile_set_it() -> None:
    policy = buffer("{max_queue_items: 32, max_queue_bytes: 9000}")
    sources = policy.defaulting_source
    assert (sources["max_queue_items"], sources["max_queue_bytes"]) == ("explicit", "explicit")
    assert (sources["max_queue_ms"], sources["max_latency_contribution_ms"]) == (SOURCE, SOURCE)
    assert sources["edge"] == "explicit_edge_config"
    assert (
        of(voice_template(), "tts.audio->speaker.audio").defaulting_source["edge"]
        == "execution_profile_default"
    )


def test_a_smaller_queue_gets_marks_in_proportion_and_always_below_its_limit() -> None:
    assert buffer("{max_queue_items: 32}").watermarks.queue_items == Watermark(high=24, low=12)
    assert buffer("{max_queue_items: 2}").watermarks.queue_items == Watermark(high=1, low=0)
    one = buffer("{max_queue_items: 1}").watermarks
    assert one.queue_items is None
    assert one.queue_ms == Watermark(high=225, low=112)


def test_another_strategy_sheds_what_belonged_to_the_default_one() -> None:
    policy = buffer("{strategy: merge}")
    assert (policy.max_block_time_ms, policy.drop_side) == (None, None)
    assert policy.lane_handling.data == "merge"
    assert policy.lane_handling.control == "non_blocking_priority"


def test_every_queue_is_one_answer_a_lane() -> None:
    for edge in voice_template().edges:
        assert edge.buffer.lane_handling.data == edge.buffer.strategy.value


def test_a_low_latency_edge_may_not_block_without_a_cap() -> None:
    assert [p.code for p in load(SPEC.format(buffer="{strategy: block}")).errors] == ["block_without_cap"]
    assert buffer("{strategy: block, max_block_time_ms: 40}").max_block_time_ms == 40
