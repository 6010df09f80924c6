"""A budget is what arithmetic says it is; alerts fire at their rates, and without samples nobody claims anything."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from rspp.contract.errors import MisuseError
from rspp.control.config import rollout as r
from rspp.control.config.documents import Versions
from rspp.control.config.rollouts import Rollouts
from rspp.control.names import CONFIG, key
from rspp.control.objectives.budget_watch import MINUTE_MS, Book, BudgetWatch, Span
from rspp.control.objectives.error_budget import ALERTS, DAY_MS, Alert, Counts, Objective, judge
from rspp.testing.store import MemoryStore

OBJECTIVE = Objective(target=0.99)


def steady(bad_in_ten_thousand: int, objective: Objective = OBJECTIVE) -> dict[int, Counts]:
    counts = Counts(10_000 - bad_in_ten_thousand, bad_in_ten_thousand)
    return dict.fromkeys(objective.windows_ms, counts)


def test_availability_is_what_a_hand_calculation_says_and_below_the_objective_is_an_incident() -> None:
    above = judge(OBJECTIVE, steady(50))
    assert (above.availability, above.burned) == (0.995, False)
    assert above.budget_left == pytest.approx(0.5)
    exact = judge(OBJECTIVE, steady(100))
    assert (exact.availability, exact.burned) == (0.99, False)
    below = judge(OBJECTIVE, steady(101))
    assert below.burned
    assert below.availability == pytest.approx(0.9899)
    assert "availability 0.98990, target 0.99" in below.reason


@pytest.mark.parametrize("alert", ALERTS, ids=[alert.name for alert in ALERTS])
def test_an_alert_fires_at_its_rate_and_not_below(alert: Alert) -> None:
    at = round(alert.burn * 100)
    assert alert.name in judge(OBJECTIVE, steady(at)).firing
    assert alert.name not in judge(OBJECTIVE, steady(at - 1)).firing


def test_an_alert_needs_both_of_its_windows() -> None:
    alert = ALERTS[0]
    counts = steady(0) | {alert.long_ms: Counts(8_000, 2_000)}
    assert judge(OBJECTIVE, counts).firing == ()  # it is over already
    counts = steady(0) | {alert.short_ms: Counts(8_000, 2_000)}
    assert judge(OBJECTIVE, counts).firing == ()  # a blip
    counts[alert.long_ms] = Counts(8_000, 2_000)
    assert judge(OBJECTIVE, counts).firing == (alert.name,)


def test_without_a_sample_nothing_is_known_and_nothing_frozen() -> None:
    verdict = judge(OBJECTIVE, dict.fromkeys(OBJECTIVE.windows_ms, Counts()))
    assert (verdict.availability, verdict.burned, verdict.freezes, verdict.reason) == (
        *(None, False, False, "no samples"),
    )
    with pytest.raises(MisuseError, match="no counts for the windows"):
        judge(OBJECTIVE, {})


@pytest.mark.parametrize("target", [0, 1, 1.5, -0.1])
def test_a_promise_of_all_or_nothing_is_none(target: float) -> None:
    with pytest.raises(MisuseError, match="objective_invalid"):
        Objective(target=target)


def test_windows_that_do_not_lie_in_each_other_are_refused() -> None:
    with pytest.raises(MisuseError, match="objective_invalid"):
        Objective(alerts=(Alert(name="odd", long_ms=1, short_ms=2, burn=1.0),))


@pytest.mark.proves("NF-030")
def test_a_burning_budget_raises_its_alerts_and_freezes_rollouts_until_it_recovers() -> None:
    async def main() -> None:
        store = MemoryStore()
        for version in ("v1", "v2"):
            await Versions(store, "spec", wall_ms=lambda: 0).publish("voice", version, version, author="ada")
        rollouts = Rollouts(store, wall_ms=lambda: 0)
        await rollouts.begin("voice", "v1", author="ada")
        objective = Objective(target=0.99, window_ms=3 * DAY_MS)
        spans: list[Span] = []
        now_ms = 0
        watch = BudgetWatch(store, rollouts, wall_ms=lambda: now_ms, objective=objective)

        async def after(minutes: int, bad_in_thousand: int) -> tuple[str, ...]:
            nonlocal now_ms
            for _ in range(minutes):
                spans.append(Span(now_ms, MINUTE_MS, 1000 - bad_in_thousand, bad_in_thousand))
                now_ms += MINUTE_MS
            now_ms -= 1
            book = Book(through_ms=now_ms, spans=tuple(spans))
            await store.put(CONFIG, key("budget", objective.name), msgspec.json.encode(book))
            firing = (await watch.settle()).firing
            now_ms += 1
            return firing

        async def roll_out(percent: int) -> None:
            await rollouts.change("voice", "canary", lambda now: r.canary(now, "v2", percent), author="ada")

        firing = await after(3 * 24 * 60, 1)  # a quiet time: a tenth of what may fail does
        assert firing == ()
        await roll_out(1)
        firing = await after(60, 150)  # fifteen times what may fail, for an hour
        assert firing == ("page_fast",)
        with pytest.raises(MisuseError, match=r"rollout_frozen.*page_fast"):
            await roll_out(2)
        firing = await after(24 * 60, 60)
        assert set(firing) >= {"page", "ticket"}
        firing = await after(3 * 24 * 60, 0)  # it is well again
        assert firing == ()
        await roll_out(2)
        assert (await rollouts.want("voice")).rollout.percent == 2

    asyncio.run(main())
