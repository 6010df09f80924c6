"""A failure made small: the fewest inputs of a recording that still show it, as a recording of its own and a test.

    the shortest beginning that shows it -> without whole kinds of inputs -> without whole turns -> without runs -> one by one

What is left out shifts ids and numbers, so inputs that answer (a provider's, the client's, the recorder's) are given to whoever
asks in their place now; and the kernel is woken when it wants to be, not when it was. Every try is a fresh kernel, so the same
recording is always made the same size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final, Protocol

import msgspec

from rspp.contract.errors import MisuseError
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.hosting import NodeFactory
from rspp.kernel.invariants import Monitor
from rspp.kernel.invariants.view import Violation
from rspp.kernel.session import SessionKernel
from rspp.timeline import records as r
from rspp.timeline.packing import pack
from rspp.timeline.ports import Everything
from rspp.timeline.recording import Recording
from rspp.timeline.replay.nodes import played_back
from rspp.timeline.story import Story, Teller

ESCAPES: Final = "no_exception_escapes"
WAKES_MAX: Final = 200  # at one instant; a kernel that asks for more never lets go
_ANSWERS: Final = (i.CallAccepted, i.CallProduced, i.CallFinished, i.CallFailed, i.CallCancelled)

Inputs = Sequence[tuple[int, i.Input]]


class Fed(msgspec.Struct):
    """What came of some of the inputs. `given` are those that were really given, ids and wakes as they are in this run."""

    given: list[tuple[int, i.Input]]
    steps: list[int]  # for each of them its number in the recording; 0 for a wake that is this run's own
    story: Story
    violations: list[Violation]


class Check(Protocol):
    """Says whether a run shows the failure; `own_wakes` if it does not need the recorded ones.

    `through` is the last input that it looks at; 0 if it looks at all of them. Only the beginning may be cut off where
    `beginning_only`: there nobody could tell a failure from what was left out.
    """

    own_wakes: bool
    through: int
    beginning_only: bool

    def shows(self, fed: Fed) -> bool: ...


class Feeder:
    """Feeds parts of one recording to fresh kernels."""

    def __init__(self, recording: Recording, factories: Mapping[str, NodeFactory]) -> None:
        self.recording = recording
        self.inputs = recording.input_list()
        self._factories = factories
        self._node_of = {
            item.facts["call"]: item.facts["node"] for item in recording.items if item.what == "invoke"
        }
        self._turn_of = {item.facts["call"]: item.turn for item in recording.items if item.what == "invoke"}

    def feed(self, kept: Sequence[int], *, own_wakes: bool) -> Fed:
        """The inputs of these numbers, from 1; `own_wakes` if the kernel is woken by its own deadlines alone."""
        head = self.recording.head
        nodes = played_back(head.graph, self._factories, self.recording.nodes)
        run = _Run(
            self.recording, SessionKernel(head.request, head.graph, nodes), self._node_of, self._turn_of
        )
        for step in kept:
            at, received = self.inputs[step - 1]
            if own_wakes:
                if isinstance(received, i.Woken):
                    continue
                run.wake_until(at)
            if run.over:
                break
            run.give(step, at, received)
        return run.fed()


class _Run:
    """One fresh kernel, and who in it stands for whom in the recording."""

    def __init__(
        self,
        recording: Recording,
        kernel: SessionKernel,
        node_of: Mapping[str, str],
        turn_of: Mapping[str, str | None],
    ) -> None:
        head = recording.head
        self.over = False
        self._kernel = kernel
        self._node_of = node_of
        self._turn_of = turn_of
        self._teller = Teller(recording)
        self._graph = head.graph
        self._monitor = Monitor(head.graph, head.request)
        self._given: list[tuple[int, i.Input]] = []
        self._steps: list[int] = []
        self._calls: dict[str, str] = {}  # recorded call -> this run's
        self._turns: dict[str, str] = {}
        self._waiting: dict[str, list[str]] = {}  # node -> calls that nobody has answered yet
        self._sounding: list[str] = []  # turns that have been sent and not been reported on
        self._unstored: list[str] = []  # evidence that waits for its answer
        self._escaped: list[Violation] = []
        self._take(0, recording.began_at, None)

    def wake_until(self, at: int) -> None:
        """Keep every deadline that comes before this."""
        same = 0
        last = None
        while not self.over:
            deadline = self._kernel.deadline()
            if deadline is None or deadline > at:
                return
            same = same + 1 if deadline == last else 0
            last = deadline
            if same > WAKES_MAX:
                return
            self._do(0, deadline, i.Woken())

    def give(self, step: int, at: int, received: i.Input) -> None:
        """One recorded input, addressed to whoever is there now; nobody: it is left out."""
        here = self._here(received)
        if here is not None:
            self._do(step, at, here)

    def _do(self, step: int, at: int, received: i.Input) -> None:
        self._given.append((at, received))
        self._steps.append(step)
        self._monitor.saw_input(at, received)
        try:
            if isinstance(received, i.Woken):
                self._kernel.wake(at)
            else:
                self._kernel.receive(at, received)
        except Exception as error:  # noqa: BLE001 - an escape is what may be looked for
            self._escaped.append(Violation("kernel", ESCAPES, f"{type(error).__name__}: {error}", at))
            self.over = True
            return
        self._take(len(self._given), at, received)

    def _take(self, number: int, at: int, received: i.Input | None) -> None:
        effects = self._kernel.drain()
        self._teller.take(number, at, received, effects)
        for effect in effects:
            self._monitor.saw_effect(at, effect)
            if isinstance(effect, fx.Invoke):
                waiting = self._waiting.setdefault(effect.node_id, [])
                if effect.call_id not in waiting and effect.call_id not in self._calls.values():
                    waiting.append(effect.call_id)
            elif isinstance(effect, fx.StoreEvidence):
                self._unstored.append(effect.record_id)
            elif isinstance(effect, fx.Send):
                turn = effect.event.scope.turn_id
                if turn is not None and turn not in self._sounding:
                    self._sounding.append(turn)

    # ---- who is who --------------------------------------------------------------------------------------------------

    def _here(self, received: i.Input) -> i.Input | None:
        if isinstance(received, _ANSWERS):
            call = self._call(received.call_id)
            return None if call is None else msgspec.structs.replace(received, call_id=call)
        if isinstance(received, i.DeliveryReported):
            turn = self._turn(received.turn_id)
            return None if turn is None else msgspec.structs.replace(received, turn_id=turn)
        if isinstance(received, i.EvidenceStored):
            if not self._unstored:
                return None
            return msgspec.structs.replace(received, record_id=self._unstored.pop(0))
        return received

    def _call(self, recorded: str) -> str | None:
        """The call that stands for the recorded one: the first of its node that nobody has answered."""
        node = self._node_of.get(recorded)
        if node is None:
            return recorded  # nobody ever asked for it: it is as unknown here
        found = self._calls.get(recorded)
        waiting = self._waiting.get(node)
        if found is None and waiting:
            found = self._calls[recorded] = waiting.pop(0)
            there, parts = self._turn_of.get(recorded), found.split("/")
            if there is not None and len(parts) > 4:
                self._turns.setdefault(there, "/".join(parts[2:-2]))
        return found

    def _turn(self, recorded: str) -> str | None:
        found = self._turns.get(recorded)
        if found is None:
            free = [turn for turn in self._sounding if turn not in self._turns.values()]
            if free:
                found = self._turns[recorded] = free[0]
        return found

    def fed(self) -> Fed:
        story = self._teller.story(
            "shrunk", self._graph, mode="re_simulate_nodes", decisions="replay_decisions"
        )
        return Fed(self._given, self._steps, story, [*self._monitor.violations, *self._escaped])


# ---- the search ----------------------------------------------------------------------------------------------------


class Small(msgspec.Struct):
    """The result: the inputs that are left, and how many tries it took."""

    kept: list[int]
    own_wakes: bool
    fed: Fed
    tries: int
    whole: bool  # is there nothing left that could be left out, or was the time over?


Tell = Callable[[str], None]


class Shrinker:
    """Leaves out as much as it can, as long as there is time."""

    def __init__(self, feeder: Feeder, check: Check, in_time: Callable[[], bool], tell: Tell) -> None:
        self._feeder = feeder
        self._check = check
        self._in_time = in_time
        self._tell = tell
        self._tries = 0
        self._own_wakes = check.own_wakes

    def run(self) -> Small:
        """The smallest that is found; raises MisuseError if the whole recording does not show the failure."""
        kept = list(range(1, (self._check.through or len(self._feeder.inputs)) + 1))
        if self._own_wakes and not self._shows(kept):
            self._own_wakes = False  # it is the host's lateness that shows it
        if not self._shows(kept):
            raise MisuseError(
                "shrink_nothing_fails", "the recording, done again by this code, does not show it"
            )
        if self._check.beginning_only:
            return Small(kept, self._own_wakes, self._feeder.feed(kept, own_wakes=False), self._tries, True)
        for name, reduce in (("beginning", self._beginning), ("kinds", self._kinds), ("turns", self._turns)):
            kept = reduce(kept)
            self._tell(f"{name}: {len(kept)} inputs are left after {self._tries} tries")
        whole = False
        while self._in_time() and not whole:
            before = len(kept)
            kept = self._runs(kept)
            whole = len(kept) == before and self._in_time()
        fed = self._feeder.feed(kept, own_wakes=self._own_wakes)
        return Small(kept, self._own_wakes, fed, self._tries, whole)

    def _shows(self, kept: Sequence[int]) -> bool:
        self._tries += 1
        return self._check.shows(self._feeder.feed(kept, own_wakes=self._own_wakes))

    def _beginning(self, kept: list[int]) -> list[int]:
        low, high = 0, len(kept)
        while low < high and self._in_time():
            middle = (low + high) // 2
            if self._shows(kept[:middle]):
                high = middle
            else:
                low = middle + 1
        # A cut may itself look like the failure, or hide it: only what shows it counts.
        return kept[:high] if self._shows(kept[:high]) else kept

    def _kinds(self, kept: list[int]) -> list[int]:
        """Without all inputs of one kind, the commonest first."""
        kinds: dict[str, int] = {}
        for step in kept:
            name = type(self._feeder.inputs[step - 1][1]).__name__
            kinds[name] = kinds.get(name, 0) + 1
        for name in sorted(kinds, key=lambda one: (-kinds[one], one)):
            kept = self._without(
                kept, [step for step in kept if type(self._feeder.inputs[step - 1][1]).__name__ == name]
            )
        return kept

    def _turns(self, kept: list[int]) -> list[int]:
        """Without what lies between the proposals of two turns."""
        opens = [item.step for item in self._feeder.recording.items if item.name == "turn_open_proposed"]
        edges = [0, *opens, len(self._feeder.inputs) + 1]
        for begin, end in pairwise(edges):
            kept = self._without(kept, [step for step in kept if begin <= step < end])
        return kept

    def _runs(self, kept: list[int]) -> list[int]:
        """Without runs, of half of all down to single ones."""
        size = max(1, len(kept) // 2)
        while self._in_time():
            place = len(kept)
            while place > 0 and self._in_time():
                place = max(0, place - size)
                kept = self._without(kept, kept[place : place + size])
            self._tell(f"runs of {size}: {len(kept)} inputs are left after {self._tries} tries")
            if size == 1:
                break
            size = max(1, size // 2)
        return kept

    def _without(self, kept: list[int], gone: Sequence[int]) -> list[int]:
        if not gone or not self._in_time():
            return kept
        out = set(gone)
        rest = [step for step in kept if step not in out]
        return rest if self._shows(rest) else kept


# ---- the result as a recording -------------------------------------------------------------------------------------


def recording_of(recording: Recording, small: Small, expected: Story | None) -> bytes:
    """The inputs that are left, as a recording; with what they should have come to, where somebody knows that."""
    head, given = recording.head, small.fed.given
    last_at = given[-1][0] if given else recording.began_at
    keeper = Everything()
    records: list[r.Record] = [head, pack(1, recording.began_at, given, keeper.take)]
    texts = keeper.settled(all_of_it=True)
    if texts:
        records.append(r.Words(texts=texts))
    steps = [step for of_node in recording.nodes.values() for step in of_node.values()]
    if steps:
        records.append(r.Steps(steps=steps))
    if expected is not None:
        records.append(r.Trace(through=len(given), items=expected.items, runs=[]))
    records.append(r.End(steps=len(given), at=last_at, reason="shrunk"))
    return b"".join(r.frame(record) for record in records)


def plain_steps(steps: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Recorded number -> number in the small recording, of the inputs that are the recording's own."""
    return ((step, number) for number, step in enumerate(steps, 1) if step)
