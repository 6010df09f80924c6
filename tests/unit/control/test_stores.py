"""An address is understood whole, or refused with what is wrong in it; nothing of a secret is in what is said."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from rspp.adapters.stores.nats import NatsStore
from rspp.adapters.stores.sqlite import SqliteStore
from rspp.contract.errors import MisuseError
from rspp.control.stores import open_store
from rspp.control.stores_nats import _servers
from rspp.host.secrets import Secrets

WORD = "hunter2-hunter2"
SECRETS = {"WORD": WORD}
WRONG = {
    "": "empty",
    "rspp.db": "no scheme",
    "://x": "no store ''",
    "redis://h:1": "no store 'redis'",
    "SQLITE:///x": "no store 'SQLITE'",
    "sqlite://rspp.db": "three slashes",
    "sqlite://host/rspp.db": "three slashes",
    "sqlite:///": "not a folder",
    "sqlite:///var/": "not a folder",
    "sqlite:///a%00b": "not a folder",
    "sqlite:///a.db?mode=ro": "no options",
    "sqlite:///a.db#x": "no options",
    "sqlite:///a b.db": "a space",
    "sqlite:///a\nb": "control character",
    "nats://": "without a host",
    "nats://:4222": "without a host",
    "nats://a,": "without a host",
    "nats://a,,b": "without a host",
    "nats://a,a:4222": "twice",
    "nats://a:0": "no port",
    "nats://a:65536": "no port",
    "nats://a:": "no port",
    "nats://a:4222x": "no port",
    "nats://a:-1": "no port",
    "nats://a:٣": "no port",
    "nats://a:1:2": "no port",
    "nats://a b": "a space",
    "nats://-a": "no HOST:PORT",
    "nats://a_b%20": "no HOST:PORT",
    "nats://[::1": "brackets",
    "nats://[zz]:1": "brackets|no HOST:PORT",
    f"nats://user:{WORD}@a": "credentials do not stand",
    f"nats://{WORD}@a": "credentials do not stand",
    "nats://a/path": "no path",
    "nats://a#x": "no path",
    "nats://a?user": "NAME=VALUE",
    "nats://a?user=": "empty",
    "nats://a?user=u": "stand together",
    "nats://a?password=env://WORD": "stand together",
    "nats://a?user=u&user=u&password=env://WORD": "twice",
    "nats://a?colour=red": "no option 'colour'",
    "nats://a?replicas=2": "1 or 3",
    "nats://a?replicas=-1": "1 or 3",
    "nats://a?namespace=a.b": "namespace",
    "nats://a?namespace=" + "x" * 33: "namespace",
    "nats://a?deadline_ms=fast": "whole number",
    "nats://a?deadline_ms=99": "from 100",
    "nats://a?deadline_ms=600001": "to 600000",
    "nats://a?deadline_ms=1e3": "whole number",
    "nats://a?cert=%2Fx": "cert and key",
    "nats://a?ca=%2Fthere%2Fis%2Fnone": "No such file",
    "nats://" + "a," * 3000: "bytes",
    "nats://" + ",".join(f"h{n}" for n in range(33)): "more than 32",
}  # fmt: skip


@pytest.mark.parametrize("url", list(WRONG), ids=lambda url: repr(url)[:40])
def test_a_wrong_address_is_refused_with_what_is_wrong(url: str) -> None:
    with pytest.raises(MisuseError) as refused:
        open_store(url, Secrets(SECRETS))
    assert refused.value.code == "store_address_invalid"
    assert re.search(WRONG[url], refused.value.message)
    assert WORD not in str(refused.value)


@pytest.mark.parametrize(
    ("password", "code"),
    [
        (WORD, "secret_reference_malformed"),
        ("env://NOT_SET", "secret_missing"),
        ("file:///there/is/none", "secret_missing"),
    ],
)
def test_a_password_that_is_no_reference_or_leads_nowhere_is_refused(password: str, code: str) -> None:
    with pytest.raises(MisuseError) as refused:
        open_store(f"nats://a?user=u&password={password}", Secrets(SECRETS))
    assert refused.value.code == code
    assert WORD not in str(refused.value)


def test_a_file_that_is_no_certificate_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("nothing of the sort")
    with pytest.raises(MisuseError, match="ca, cert or key"):
        open_store(f"nats://a?ca={path}", Secrets())


def test_servers_have_the_usual_port_unless_they_say_another() -> None:
    wanted = ("nats://a:4222", "nats://10.0.0.1:1", "nats://[::1]:65535")
    assert _servers("a,10.0.0.1:1,[::1]:65535") == wanted


def test_a_sound_address_opens_a_store_that_has_not_begun(tmp_path: Path) -> None:
    async def main() -> None:
        sqlite = open_store(f"sqlite://{tmp_path}/with%20space.db", Secrets())
        assert isinstance(sqlite, SqliteStore)
        await sqlite.put("b", "k", b"1")
        assert (tmp_path / "with space.db").exists()
        for url in ("nats://a", "nats://a/?user=u&password=env://WORD&replicas=3&namespace=x-1"):
            store = open_store(url, Secrets(SECRETS))
            assert isinstance(store, NatsStore)
            await store.close()
        await sqlite.close()

    asyncio.run(main())
