/** What the Talk page shows is a function of what happened. */
import { describe, expect, it } from "vitest";
import { happened, heardPart, NO_TALK, type Event, type Talk } from "../../src/talk/conversation";
import { parseMessage } from "../../src/talk/messages";
import { heardVoice, levelOf, SILENT } from "../../src/talk/voice";

function message(fields: object): Event {
  const read = parseMessage(JSON.stringify(fields));
  if (!read) throw new Error(`no message: ${JSON.stringify(fields)}`);
  return { kind: "message", message: read };
}
const after = (...events: Event[]): Talk =>
  events.reduce((talk, event, at) => happened(talk, event, at * 10), NO_TALK);

const WELCOME = message({ type: "welcome", session: "s-1", epoch: 1, resume: "secret" });
const signal = (name: string, more: object = {}): Event => message({ type: "signal", signal: name, ...more });
const user = (text: string, segment = 0, final = false): Event =>
  message({ type: "text", role: "user", text, segment, final });
const assistant = (text: string, turn_id = "t1"): Event =>
  message({ type: "text", role: "assistant", text, turn_id });
const start = message({ type: "playback", action: "start", turn_id: "t1", turn: 5 });
const sound = (ms: number): Event => ({ kind: "sound", turn: 5, ms });
const heard = (heardMs: number, completed = false): Event => ({ kind: "heard", turn: 5, heardMs, completed });

describe("the conversation", () => {
  it("follows a turn from listening to speaking and back", () => {
    const talk = after(
      WELCOME,
      signal("speech_started"),
      signal("speech_stopped"),
      signal("turn_open", { turn_id: "t1" }),
      { kind: "state", state: "speaking" },
    );
    expect(talk.spans.map((span) => span.state)).toEqual([
      "listening",
      "hearing",
      "listening",
      "thinking",
      "speaking",
    ]);
    expect(talk.session).toBe("s-1");
  });

  it("keeps one line an utterance while its words change, also after a turn was taken back and begun again", () => {
    const talk = after(
      WELCOME,
      user("what"),
      signal("turn_open", { turn_id: "t1" }),
      user("what time"),
      signal("turn_superseded", { turn_id: "t1" }),
      user("What time is it?", 0, true),
      signal("turn_open", { turn_id: "t2" }),
      user("stop", 1),
    );
    expect(talk.lines.map((line) => [line.text, line.final])).toEqual([
      ["What time is it?", true],
      ["stop", false],
    ]);
  });

  it("begins new lines where another process counts utterances anew", () => {
    const moved = message({ type: "welcome", session: "s-1", epoch: 2, resume: "secret", moved: true });
    expect(
      after(WELCOME, user("one"), WELCOME, user("one two"), moved, user("three")).lines.map(
        (line) => line.text,
      ),
    ).toEqual(["one two", "three"]);
  });

  it("joins an answer's sentences, each turn in its line", () => {
    const talk = after(
      WELCOME,
      assistant("It is late."),
      start,
      assistant(" Go to bed."),
      assistant("Yes.", "t2"),
    );
    expect(talk.lines.map((line) => [line.turnId, line.text])).toEqual([
      ["t1", "It is late. Go to bed."],
      ["t2", "Yes."],
    ]);
  });

  it("marks what was interrupted, counts it once, and knows how much was heard", () => {
    const cancel = signal("playback_cancelled", {
      turn_id: "t1",
      reason: "barge_in",
      detail: { heard_ms: 400 },
    });
    const talk = after(
      WELCOME,
      start,
      assistant("one two three four"),
      sound(1000),
      sound(1000),
      heard(500),
      cancel,
      heard(520),
    );
    expect(talk.lines[0]).toMatchObject({ interrupted: true, heardMs: 520, sentMs: 2000 });
    expect(talk.facts.bargeIns).toBe(1);
    expect(heardPart(talk.lines[0]!)).toEqual({ heard: "one", rest: "two three four" });
    expect(heardPart({ ...talk.lines[0]!, heardMs: 0 }).heard).toBe("");
    // All that had come was heard, but a third of a second cannot have spoken all of it.
    expect(heardPart({ ...talk.lines[0]!, heardMs: 300, sentMs: 300 }).heard).toBe("one");
  });

  it("has heard all of what was played to its end", () => {
    const talk = after(WELCOME, start, assistant("one two"), sound(1000), heard(990), heard(1000, true));
    expect(heardPart(talk.lines[0]!)).toEqual({ heard: "one two", rest: "" });
    expect(talk.lines[0]?.interrupted).toBe(false);
  });

  it("calls a failure one, and what the caller took back none", () => {
    expect(after(WELCOME, signal("abort", { turn_id: "t1", reason: "barge_in" })).problem).toBe("");
    expect(after(WELCOME, signal("abort", { turn_id: "t1", reason: "provider_timeout" })).problem).toContain(
      "provider_timeout",
    );
  });

  it("stays bounded, however long it lasts", () => {
    let talk = after(WELCOME);
    for (let turn = 0; turn < 900; turn++) {
      talk = happened(talk, message({ type: "playback", action: "start", turn_id: `t${turn}`, turn }), turn);
      talk = happened(talk, { kind: "state", state: turn % 2 ? "speaking" : "listening" }, turn);
    }
    expect(talk.lines.length).toBe(400);
    expect(talk.spans.length).toBe(400);
    expect(Object.keys(talk.turns).length).toBe(64);
    expect(talk.turns[899]).toBe("t899");
  });
});

describe("a voice", () => {
  it("begins anew after a pause, not after a breath", () => {
    const loud = 0.2;
    let voice = heardVoice(SILENT, loud, 1000, 20);
    voice = heardVoice(voice, loud, 1200, 20);
    expect(voice).toEqual({ beganAt: 1000, spokeAt: 1220 });
    expect(heardVoice(voice, 0.001, 1300, 20)).toBe(voice);
    expect(heardVoice(voice, loud, 1600, 20)).toEqual({ beganAt: 1600, spokeAt: 1620 });
  });

  it("has the level of its sound", () => {
    expect(levelOf(Int16Array.of(16384, -16384))).toBeCloseTo(0.5);
    expect(levelOf(new Int16Array())).toBe(0);
  });
});
