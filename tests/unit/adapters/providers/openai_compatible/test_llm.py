"""A chat model's words go on as they come, and whatever a server does instead of answering has one clear outcome."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from rspp.adapters.providers.openai_compatible import ChatModel, providers
from rspp.contract.codes import CODES
from rspp.contract.event import Text
from rspp.contract.words import OutcomeClass
from rspp.host.ports import ProviderError
from rspp.host.secrets import Secrets
from tests.unit.adapters.providers.openai_compatible.call import Live, until
from tests.unit.adapters.providers.openai_compatible.server import (
    DONE,
    STOP,
    Asked,
    Peer,
    Script,
    Server,
    delta,
    event,
    serving,
)

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

KEY = "sk-planted-4711"
INFRA = OutcomeClass.INFRASTRUCTURE_FAILURE


def model_of(server: Server, **settings: Any) -> ChatModel:
    secrets = Secrets({"KEY": KEY})
    made = providers(secrets.resolve)["openai-llm"].factory(
        "p", {"base_url": server.base_url, "api_key": "env://KEY", **settings}
    )
    assert isinstance(made, ChatModel)
    return made


def talk(script: Script, live: Live | None = None, **settings: Any) -> tuple[Live, Server]:
    """One call against a server that follows the script."""
    live = live or Live("Hello?")

    async def main() -> Server:
        async with serving(script) as server, asyncio.timeout(8):
            model = model_of(server, **settings)
            await model.open()
            try:
                await model.run(live)
            finally:
                await model.close()
            return server

    return live, asyncio.run(main())


def fails(script: Script, live: Live | None = None, **settings: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        talk(script, live, **settings)
    assert KEY not in str(caught.value)
    assert KEY not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.reason in CODES
    return caught.value


def says(*pieces: bytes) -> Script:
    async def script(peer: Peer, _asked: Asked) -> None:
        await peer.chunked(*pieces)

    return script


def test_an_answer_comes_in_deltas_with_its_count_of_tokens() -> None:
    usage = event(choices=[], usage={"completion_tokens": 7, "prompt_tokens": 30})
    live, server = talk(
        says(
            event(choices=[{"index": 0, "delta": {"role": "assistant"}}]),
            delta("Hel"),
            delta("lo."),
            STOP,
            usage,
            DONE,
        )
    )
    assert live.chunks == [Text("Hel", 0, 0, role="assistant"), Text("lo.", 0, 1, role="assistant")]
    assert (live.tokens, live.accepts) == (7, 1)
    asked = server.asked[0]
    assert (asked.method, asked.path) == ("POST", "/v1/chat/completions")
    assert asked.headers["authorization"] == f"Bearer {KEY}"


def test_the_request_says_everything_that_the_node_and_the_settings_say() -> None:
    live = Live(
        "And now?",
        config={"system": "Be brief.", "model": "node-model", "temperature": 0.0, "tokens_max": 9},
        history=[("user", "Hi"), ("assistant", "Hello")],
    )
    _, server = talk(says(STOP, DONE), live, extra={"top_k": 3, "model": "never"}, headers={"X-Region": "eu"})
    assert server.asked[0].json == {
        "model": "node-model",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": "And now?"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.0,
        "max_tokens": 9,
        "top_k": 3,
    }
    assert server.asked[0].headers["x-region"] == "eu"
    _, server = talk(
        says(STOP), Live("x", config={"model": "node", "tokens_max": 5}), model="own", usage=False,
        tokens_field="max_completion_tokens",
    )  # fmt: skip
    asked = server.asked[0].json
    assert (asked["model"], asked["max_completion_tokens"]) == ("own", 5)
    assert "stream_options" not in asked
    assert "max_tokens" not in asked


def test_a_delta_goes_on_before_the_next_is_there() -> None:
    async def main() -> None:
        go_on = asyncio.Event()

        async def script(peer: Peer, _asked: Asked) -> None:
            await peer.chunked(delta("one"), end=False)
            await go_on.wait()
            await peer.chunk(delta("two") + STOP + DONE)
            await peer.send(b"0\r\n\r\n")

        async with serving(script) as server, asyncio.timeout(5):
            model, live = model_of(server), Live("x")
            await model.open()
            running = asyncio.create_task(model.run(live))
            await live.heard(1)
            assert live.texts == ["one"]
            assert not running.done()
            go_on.set()
            await running
            assert live.texts == ["one", "two"]
            await model.close()

    asyncio.run(main())


def test_characters_and_lines_may_be_cut_anywhere() -> None:
    whole = b"".join([b": ping\r\n\r\n", delta("Grüße "), delta("aus 東京 🚄"), STOP, DONE])

    async def script(peer: Peer, _asked: Asked) -> None:
        await peer.chunked(*(bytes([byte]) for byte in whole))

    live, _ = talk(script)
    assert live.text == "Grüße aus 東京 🚄"


def ends_without(*pieces: bytes) -> Script:
    async def script(peer: Peer, _asked: Asked) -> None:
        await peer.head()
        await peer.send(b"".join(pieces))

    return script


@pytest.mark.parametrize(
    "pieces",
    [
        (delta("a"), STOP),
        (delta("a", "stop"),),
        (delta("a"), STOP.rstrip(b"\n")),
        (delta("a"), DONE.rstrip(b"\n")),
        (delta("a"), DONE, b"data: not json at all\n\n"),
        (event(choices=[]), event(choices=None), event(object="ping"), delta("a"), DONE),
        (event(choices=[{"index": 1, "delta": {"content": "other"}}]), delta("a"), DONE),
        (event(choices=[{"index": 0, "delta": {"content": None, "tool_calls": [], "new": 1}}]), delta("a"), DONE),
    ],
)  # fmt: skip
def test_what_servers_do_differently_is_understood(pieces: tuple[bytes, ...]) -> None:
    live, _ = talk(ends_without(*pieces))
    assert live.texts == ["a"]


def test_an_answer_without_words_is_an_answer() -> None:
    live, _ = talk(says(DONE))
    assert live.chunks == []
    assert live.accepts == 1


@pytest.mark.parametrize(
    ("script", "reason", "retryable"),
    [
        (ends_without(delta("a")), "provider_stream_truncated", True),
        (ends_without(), "provider_stream_truncated", True),
        (ends_without(delta("a"), b'data: {"choices": [{"ind'), "provider_protocol_error", True),
        (says(b"data: {nonsense}\n\n"), "provider_protocol_error", True),
        (says(b"data: []\n\n"), "provider_protocol_error", True),
        (says(event(choices=[{"index": 0, "delta": {"content": ["x"]}}])), "provider_protocol_error", True),
        (says(event(choices="x")), "provider_protocol_error", True),
        (says(b"data: " + b"[" * 20_000 + b"\n\n"), "provider_protocol_error", True),
        (says(b"data: \xff\xfe\n\n"), "provider_protocol_error", True),
        (says(b"data: " + b"x" * 300_000), "provider_protocol_error", True),
        (says(b"x" * 300_000), "provider_protocol_error", True),
        (says(delta("a"), event(error={"message": KEY, "type": "server_error"})), "provider_stream_error", True),
        (says(event(error=KEY)), "provider_stream_error", True),
        (says(event(error={"message": KEY, "code": 429})), "provider_overload", True),
        (says(event(error={"message": KEY, "code": 401})), "provider_unauthorised", False),
        (says(event(error={"message": KEY, "code": 200})), "provider_stream_error", True),
        (says(event(choices=[{"index": 0, "finish_reason": "content_filter"}])), "provider_content_refused", False),
    ],
)  # fmt: skip
def test_a_stream_that_goes_wrong_is_a_failure_of_its_own_kind(
    script: Script, reason: str, retryable: bool
) -> None:
    error = fails(script)
    assert (error.reason, error.retryable) == (reason, retryable)


def test_a_body_that_breaks_off_inside_its_framing_is_truncated() -> None:
    async def script(peer: Peer, _asked: Asked) -> None:
        await peer.chunked(delta("a"), end=False)

    live = Live("x")
    assert fails(script, live).reason == "provider_stream_truncated"
    assert live.texts == ["a"]


@pytest.mark.parametrize("kind", ["text/html", "application/json", "audio/pcm"])
def test_another_kind_of_content_is_not_read(kind: str) -> None:
    async def script(peer: Peer, _asked: Asked) -> None:
        await peer.head(200, kind)
        await peer.send(delta("<html>") + DONE)

    live = Live("x")
    assert fails(script, live).reason == "provider_protocol_error"
    assert live.chunks == []


@pytest.mark.parametrize(
    ("status", "more", "expected"),
    [
        (429, ("retry-after: 3",), (OutcomeClass.OVERLOAD, True, True, 3000)),
        (429, (), (OutcomeClass.OVERLOAD, True, True, 500)),
        (503, ("retry-after: 1",), (INFRA, True, True, 1000)),
        (500, (), (INFRA, True, True, None)),
        (401, (), (OutcomeClass.BLOCKED, False, False, None)),
        (404, (), (OutcomeClass.BLOCKED, False, False, None)),
        (408, (), (OutcomeClass.TIMEOUT, True, False, None)),
        (504, (), (OutcomeClass.TIMEOUT, True, False, None)),
        (302, ("location: http://127.0.0.1:1/",), (INFRA, True, False, None)),
    ],
)
def test_a_status_ends_the_call_as_the_map_says(
    status: int, more: tuple[str, ...], expected: tuple[Any, ...]
) -> None:
    async def script(peer: Peer, asked: Asked) -> None:
        await peer.head(status, "application/json", *more)
        await peer.send(
            json.dumps({"error": {"message": f"bad key {asked.headers['authorization']}"}}).encode()
        )

    error = fails(script)
    assert (error.outcome, error.retryable, error.circuit, error.retry_after_ms) == expected
    assert str(status) in str(error)


@pytest.mark.parametrize(
    "garbage", [b"", b"\x00\x01\x02 garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-le", b"SSH-2.0-x\r\n"]
)
def test_a_peer_that_speaks_no_http_is_infrastructure(garbage: bytes) -> None:
    async def script(peer: Peer, _asked: Asked) -> None:
        await peer.send(garbage)

    error = fails(script)
    assert (error.outcome, error.retryable, error.circuit) == (INFRA, True, False)


def test_endless_headers_are_refused() -> None:
    async def script(peer: Peer, _asked: Asked) -> None:
        await peer.send(b"HTTP/1.1 200 OK\r\n" + b"x-more: y\r\n" * 60_000)

    assert fails(script).outcome is INFRA


def test_nobody_at_the_address_is_a_network_error() -> None:
    async def main() -> ProviderError:
        async with serving(says(DONE)) as server:
            pass
        model = model_of(server)
        await model.open()
        with pytest.raises(ProviderError) as caught:
            await model.run(Live("x"))
        await model.close()
        return caught.value

    error = asyncio.run(main())
    assert (error.outcome, error.reason, error.retryable, error.circuit) == (
        INFRA,
        "provider_unreachable",
        True,
        False,
    )


def silent(*pieces: bytes) -> Script:
    async def script(peer: Peer, _asked: Asked) -> None:
        await peer.send(b"".join(pieces))
        await peer.hung_up()

    return script


def drips(piece: bytes) -> Script:
    async def script(peer: Peer, _asked: Asked) -> None:
        await peer.head()
        while True:
            await peer.send(piece)
            await asyncio.sleep(0.01)

    return script


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"


@pytest.mark.parametrize(
    "script", [silent(), silent(HEAD), silent(HEAD, delta("a")), drips(b"d"), drips(b": ping\n\n")]
)
def test_silence_and_a_drip_without_an_event_are_timeouts(script: Script) -> None:
    error = fails(script, read_ms=150)
    assert (error.outcome, error.reason, error.retryable) == (OutcomeClass.TIMEOUT, "provider_timeout", True)


def test_a_full_pool_is_a_timeout_and_not_a_queue() -> None:
    async def main() -> None:
        async with serving(silent(HEAD)) as server, asyncio.timeout(5):
            model = model_of(server, connections_max=1, connect_ms=100, read_ms=5000)
            await model.open()
            first = asyncio.create_task(model.run(live := Live("x")))
            await until(lambda: live.accepts)
            with pytest.raises(ProviderError) as caught:
                await model.run(Live("y"))
            assert caught.value.outcome is OutcomeClass.TIMEOUT
            assert server.connections == 1
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            await model.close()

    asyncio.run(main())


@pytest.mark.parametrize("ready", [lambda live, server: server.asked, lambda live, server: live.chunks])
def test_a_cancel_hangs_up_at_once(ready: Callable[[Live, Server], object]) -> None:
    async def main() -> None:
        gone: asyncio.Future[float] = asyncio.get_running_loop().create_future()

        async def script(peer: Peer, _asked: Asked) -> None:
            await peer.send(HEAD + delta("a"))
            gone.set_result(await peer.hung_up())

        async with serving(script) as server, asyncio.timeout(5):
            model, live = model_of(server), Live("x")
            await model.open()
            running = asyncio.create_task(model.run(live))
            await until(lambda: ready(live, server))
            at = time.perf_counter()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert await gone - at < 0.075  # the grace of a cancel
            await model.close()

    asyncio.run(main())


def test_a_soft_stop_ends_after_the_chunk_in_flight_and_hangs_up() -> None:
    async def main() -> None:
        gone: asyncio.Future[float] = asyncio.get_running_loop().create_future()

        async def script(peer: Peer, _asked: Asked) -> None:
            await peer.send(HEAD + delta("a") + delta("b") + delta("c"))
            gone.set_result(await peer.hung_up())

        async with serving(script) as server, asyncio.timeout(5):
            model, live = model_of(server), Live("x")
            live.stop_after = 2
            await model.open()
            await model.run(live)
            assert live.texts == ["a", "b"]
            await gone
            await model.close()

    asyncio.run(main())


def test_a_call_that_was_cancelled_before_it_began_asks_nobody() -> None:
    async def main() -> None:
        async with serving(says(DONE)) as server:
            model, live = model_of(server), Live("x")
            live.stopping = True
            await model.open()
            with pytest.raises(ProviderError) as caught:
                await model.run(live)
            assert caught.value.outcome is OutcomeClass.CANCELLED
            assert caught.value.reason == "cancel_requested_before_invoke"
            assert server.asked == []
            await model.close()

    asyncio.run(main())


def test_calls_after_each_other_share_a_connection_and_calls_at_once_have_their_own() -> None:
    async def main() -> None:
        async with serving(says(delta("a"), STOP, DONE), keep_alive=True) as server, asyncio.timeout(5):
            model = model_of(server)
            await model.open()
            for _ in range(5):
                await model.run(Live("x"))
            assert server.connections == 1
            calls = [Live("x") for _ in range(20)]
            await asyncio.gather(*(model.run(live) for live in calls))
            assert [live.text for live in calls] == ["a"] * 20
            assert server.connections <= 20
            await model.close()

    asyncio.run(main())


@pytest.mark.parametrize("keeps", [True, False])
def test_a_kept_connection_that_the_server_just_closed_is_replaced_and_a_new_one_that_fails_is_a_failure(
    keeps: bool,
) -> None:
    async def main() -> None:
        served: set[Peer] = set()

        async def script(peer: Peer, _asked: Asked) -> None:
            if peer in served or not keeps:
                peer.writer.close()  # having read the request, without a word
                return
            served.add(peer)
            await peer.chunked(delta("a"), STOP, DONE)

        async with serving(script, keep_alive=True) as server, asyncio.timeout(5):
            model = model_of(server)
            await model.open()
            if keeps:
                for _ in range(3):
                    await model.run(live := Live("x"))
                    assert live.text == "a"
                assert server.connections == 3
                assert len(server.asked) == 5
            else:
                with pytest.raises(ProviderError) as caught:
                    await model.run(Live("x"))
                assert caught.value.reason == "provider_stream_truncated"
                assert len(server.asked) == 1
            await model.close()

    asyncio.run(main())


def test_a_proxy_of_the_process_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    live, _ = talk(says(delta("a"), DONE))
    assert live.text == "a"


def test_a_rotated_key_counts_from_the_next_call_and_a_lost_one_is_told_without_it() -> None:
    async def main() -> None:
        environment = {"KEY": "first-key"}
        async with serving(says(DONE)) as server:
            factory = providers(Secrets(environment).resolve)["openai-llm"].factory
            model = factory("p", {"base_url": server.base_url, "api_key": "env://KEY"})
            assert isinstance(model, ChatModel)
            await model.open()
            await model.run(Live("x"))
            environment["KEY"] = "second-key"
            await model.run(Live("x"))
            assert [asked.headers["authorization"] for asked in server.asked] == [
                "Bearer first-key",
                "Bearer second-key",
            ]
            for value in ("inject\r\nX-Evil: 1", "ümlaut"):
                environment["KEY"] = value
                with pytest.raises(ProviderError) as caught:
                    await model.run(Live("x"))
                assert caught.value.outcome is OutcomeClass.BLOCKED
                assert value not in str(caught.value)
            del environment["KEY"]
            with pytest.raises(ProviderError, match="env://KEY"):
                await model.run(Live("x"))
            assert len(server.asked) == 2
            await model.close()

    asyncio.run(main())
