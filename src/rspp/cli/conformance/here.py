"""What can be tried here: RSPP's own adapters, what other packages have installed, and what a project lists.

[tool.rspp.verify]
conformance = [
"node spelling.py:Speller length_min=3",
{ port = "store", target = "my_store.py:open_in", level = "full", virtual = false, limits = { answer_ms_max = 20000 } },
]
"""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final, Literal

import msgspec

from rspp.adapters.providers.local import readiness
from rspp.cli.compose import GROUP as PROVIDER_GROUP
from rspp.cli.compose import READY, Kind, installed
from rspp.cli.conformance.ports import GROUP, PORTS
from rspp.cli.conformance.trials import value_of
from rspp.contract.errors import MisuseError
from rspp.host.discovery import GROUP as NODE_GROUP
from rspp.spec.declaration import NodeDeclaration, NodeKind

Depth = Literal["quick", "full"]
PROJECT: Final = "pyproject.toml"
NATS: Final = "nats"  # a store of a server that is started for the purpose
# A model on a busy machine answers late, and while one is read into memory a loop may be held.
MODELS: Final[Mapping[str, float]] = {"answer_ms_max": 30_000, "blocked_ms_max": 5_000, "settle_ms": 300}


class Planned(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One target, and how it is tried. `lacking` says why it cannot be tried here."""

    port: str
    target: str
    level: Depth = "quick"  # the least level that tries it
    settings: Mapping[str, object] = {}
    trial: Mapping[str, str] = {}
    limits: Mapping[str, float] = {}
    virtual: bool = False
    lacking: str = ""
    spoken: bool = False  # it needs a voice to listen to


def planned(folder: Path, level: Depth) -> Sequence[Planned]:
    """Everything of this level; raises `MisuseError` for a project's list that cannot be read."""
    every = (*of_project(folder), *_strangers(), *_own())
    return [one for one in every if level == "full" or one.level == "quick"]


# ---- ours -----------------------------------------------------------------------------------------------------------

_QUICK: Final = (
    Planned(port="node", target="segmenter"),
    Planned(port="clock", target="machine"),
    Planned(port="lane_scheduler", target="fair"),
    Planned(port="pool_strategy", target="fair"),
    Planned(port="recorder", target="memory"),
    Planned(port="store", target="sqlite"),
    Planned(port="transport", target="loopback", virtual=True),
    *(
        Planned(port=f"provider.{one}", target=f"scripted-{one}", virtual=True)
        for one in ("stt", "llm", "tts")
    ),
)
_FULL: Final = (
    *(Planned(port="node", target=name, level="full") for name in ("text_filter", "tee", "dtmf_collector")),
    Planned(port="pool_strategy", target="fifo", level="full"),
    Planned(port="recorder", target="spool", level="full"),
    Planned(port="store", target="memory", level="full"),
    Planned(port="transport", target="websocket", level="full"),
    Planned(port="provider.vad", target="scripted-vad", virtual=True, level="full"),
    Planned(port="provider.end_of_turn", target="scripted-end-of-turn", virtual=True, level="full"),
    Planned(port="provider.vad", target="energy-vad", virtual=True, level="full"),
)
_LOCAL: Final = (
    Planned(port="provider.vad", target="local-silero"),
    Planned(port="provider.end_of_turn", target="local-smart-turn"),
    Planned(port="provider.stt", target="local-whisper", spoken=True),
    Planned(port="provider.llm", target="local-smollm2", trial={"config": '{"tokens_max": 24}'}),
    Planned(port="provider.tts", target="local-hibari"),
)
_MODELS: Final[Mapping[str, str]] = {"silero": "local-silero", "smart-turn": "local-smart-turn"}


def _own() -> Iterator[Planned]:
    yield from _QUICK
    yield from _FULL
    for one in _LOCAL:
        lacking = _not_ready(one.target)
        if one.spoken and not lacking:
            lacking = _not_ready("local-hibari")
        yield msgspec.structs.replace(one, level="full", limits=MODELS, lacking=lacking)
    for name, provider in _MODELS.items():
        yield Planned(port="inference", target=name, level="full", lacking=_not_ready(provider))
    yield Planned(port="store", target=NATS, level="full", lacking=_no_server())


def _not_ready(name: str) -> str:
    state = readiness(name)
    return "" if state == READY else state


def _no_server() -> str:
    """Why no nats-server can be started here."""
    try:
        from rspp.testing.cluster_files import server_program  # noqa: PLC0415 - part of the extra `cluster`

        server_program()
    except (MisuseError, ImportError) as error:
        return f"no nats-server can be started: {error}"
    return ""


# ---- other packages' ------------------------------------------------------------------------------------------------


def _strangers() -> Iterator[Planned]:
    """What is offered under our groups of entry points."""
    for port in PORTS:
        for point in entry_points(group=f"{GROUP}{port}"):
            yield Planned(port=port, target=point.name)
    for point in entry_points(group=NODE_GROUP):
        yield Planned(port=_port_of(point.name), target=point.name)
    offers = {point.value for point in entry_points(group=PROVIDER_GROUP)}
    here = installed() if offers else None
    for kind in here.kinds if here else ():
        if kind.source in offers:
            yield Planned(port=f"provider.{kind.modality}", target=kind.name, lacking=_needs(kind))


def _needs(kind: Kind) -> str:
    return "" if kind.state == READY else kind.state


def _port_of(name: str) -> str:
    """Sync or async; a class that cannot be loaded is tried as a sync one, and fails as that."""
    point = next(iter(entry_points(group=NODE_GROUP, name=name)))
    try:
        declaration = getattr(point.load(), "declaration", None)
    except (Exception, SystemExit):  # noqa: BLE001 - a stranger's module; its suite will say what it raises
        return "node"
    is_async = isinstance(declaration, NodeDeclaration) and declaration.kind == NodeKind.ASYNC
    return "async_node" if is_async else "node"


# ---- a project's ----------------------------------------------------------------------------------------------------


def of_project(folder: Path) -> Sequence[Planned]:
    """What `[tool.rspp.verify] conformance` lists."""
    file = folder / PROJECT
    if not file.is_file():
        return ()
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise _invalid(str(error)) from None
    tool = document.get("tool", {})
    listed = tool.get("rspp", {}).get("verify", {}).get("conformance", []) if isinstance(tool, dict) else []
    if not isinstance(listed, list):
        raise _invalid("conformance is a list")
    return [_row(one) for one in listed]


def _row(row: object) -> Planned:
    if isinstance(row, str):
        port, target, *pairs = [*shlex.split(row), "", ""]
        settings = dict(pair.partition("=")[::2] for pair in pairs if pair)
        made = Planned(
            port=port, target=target, settings={key: value_of(value) for key, value in settings.items()}
        )
    else:
        try:
            made = msgspec.convert(row, Planned)
        except msgspec.ValidationError as error:
            raise _invalid(str(error)) from None
    if made.port not in PORTS or not made.target:
        raise _invalid(f"{row!r:.80} is no 'PORT TARGET'; ports are {', '.join(PORTS)}")
    return made


def _invalid(why: str) -> MisuseError:
    return MisuseError(
        "conformance_target_wrong", f"{PROJECT}, [tool.rspp.verify] conformance: {why}", PROJECT
    )
