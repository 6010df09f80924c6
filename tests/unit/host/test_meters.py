"""Meters are cheap, bounded and honest: a quantile is never below the true one, and nothing is not fast."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from itertools import accumulate

import msgspec
import pytest

from rspp.host.meters import Histogram, Meters, bucket_of, top_of
from rspp.host.metric_names import bounds_of


def true_quantile(values: list[int], share: float) -> int:
    return sorted(values)[math.ceil(share * len(values)) - 1]


def filled(values: list[int]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


def test_buckets_leave_no_gap_and_do_not_overlap() -> None:
    for bucket in range(bucket_of(10**9)):
        assert bucket_of(top_of(bucket)) == bucket
        assert bucket_of(top_of(bucket) + 1) == bucket + 1


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.01, 0.5, 0.95, 0.99, 1.0])
def test_a_quantile_is_the_true_one_or_at_most_a_32nd_more(seed: int, share: float) -> None:
    draw = random.Random(seed)
    values = [int(draw.lognormvariate(11, 2)) for _ in range(999)]
    measured = filled(values).quantile(share)
    true = true_quantile(values, share)
    assert measured is not None
    assert true <= measured <= true * 33 / 32


def test_the_nearest_rank_of_19_in_20_is_the_19th() -> None:
    assert filled(list(range(1, 21))).quantile(0.95) == 19


def test_without_a_sample_there_is_no_quantile() -> None:
    summary = Histogram().summary()
    assert (summary.count, summary.p50, summary.p99, summary.largest) == (0, None, None, None)


@pytest.mark.parametrize("value", [-5, 0, 31, 32, 2**42 - 1, 2**42, 10**15])
def test_one_value_is_its_own_quantile_however_large(value: int) -> None:
    summary = filled([value]).summary()
    assert summary.p50 == summary.largest == max(value, 0)


def test_what_is_merged_is_as_if_recorded_together() -> None:
    left, right = filled([5, 70, 9_000]), filled([1, 10**13])
    left.merge(right)
    assert left.summary() == filled([5, 70, 9_000, 1, 10**13]).summary()


def test_recording_takes_no_more_memory_with_more_values() -> None:
    histogram = Histogram()
    before = len(histogram._buckets)
    for value in range(0, 10**12, 10**8):
        histogram.record(value)
    assert len(histogram._buckets) == before < 1300
    assert histogram.count == 10**4


def test_the_same_name_and_labels_are_the_same_meter_in_any_order() -> None:
    meters = Meters()
    meters.counter("drops", node="a", edge="b").add(2)
    meters.counter("drops", edge="b", node="a").add(3)
    (reading,) = meters.read().counters
    assert (reading.value, reading.labels) == (5, (("edge", "b"), ("node", "a")))


def test_a_gauge_is_asked_when_somebody_looks() -> None:
    meters, depth = Meters(), [1]
    meters.gauge("queue_depth", lambda: depth[0], pool="p")
    depth[0] = 7
    assert meters.read().gauges[0].value == 7


def test_past_its_bound_new_series_share_one_and_are_counted() -> None:
    meters = Meters(series_max=3)
    for number in range(100):
        meters.histogram("step_ns", node=str(number)).record(number)
    meters.gauge("depth", lambda: 0)
    reading = meters.read()
    assert len(reading.histograms) == 4
    assert reading.overflowed == 98
    overflow = next(one for one in reading.histograms if one.labels == (("overflow", "true"),))
    assert overflow.summary.count == 97


def test_what_is_gone_is_forgotten_and_makes_room() -> None:
    meters = Meters(series_max=2)
    meters.counter("a", node="x", pool="p")
    meters.histogram("b", node="x")
    meters.forget(node="x", pool="p")
    assert (meters.series, meters.read().counters) == (1, ())
    meters.forget(node="x")
    meters.counter("c")
    assert meters.overflowed == 0


def test_a_snapshot_is_plain_data_that_does_not_change_afterwards() -> None:
    meters = Meters()
    calls = meters.counter("calls", provider="p")
    before = meters.read()
    calls.add()
    assert before.counters[0].value == 0
    assert b'"calls"' in msgspec.json.encode(before)


def test_a_gauge_that_raises_or_says_what_is_no_number_is_left_out_and_the_others_are_read() -> None:
    meters = Meters()
    meters.gauge("fine", lambda: 2)
    meters.gauge("gone", lambda: 1 / len(""))
    meters.gauge("nothing", lambda: math.nan)
    meters.gauge("endless", lambda: math.inf)
    assert [(one.name, one.value) for one in meters.read().gauges] == [("fine", 2.0)]


def test_a_series_that_has_not_changed_since_it_was_read_is_not_walked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever scrapes does it on the loop of the calls, and most series are of pipelines that rest."""
    walked: list[int] = []

    def accumulated(buckets: list[int]) -> Iterator[int]:
        walked.append(len(buckets))
        return accumulate(buckets)

    monkeypatch.setattr("rspp.host.meters.accumulate", accumulated)
    meters = Meters()
    histograms = [meters.histogram("node_latency_ms", node=f"n{number}") for number in range(5)]
    for histogram in histograms[:4]:
        histogram.record_for(70_000, "s-1", None)
    first = meters.read()
    assert len(walked) == 4  # and the one that is empty has nothing to walk
    assert meters.read() == first
    assert len(walked) == 4
    histograms[0].record(9_000_000)
    second = meters.read()
    assert len(walked) == 5
    assert second.histograms[0].summary == filled([70_000, 9_000_000]).summary()
    assert second.histograms[0].up_to == filled([70_000, 9_000_000]).up_to(bounds_of("node_latency_ms"))
    assert second.histograms[1:] == first.histograms[1:]
    assert second.histograms[4].up_to == (0,) * len(bounds_of("node_latency_ms"))
