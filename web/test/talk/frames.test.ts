/** Frames and messages: what is written is what `docs/websocket.md` says, and what is malformed is nothing. */
import { describe, expect, it } from "vitest";
import { decodeFrame, encodeFrame, HEADER_BYTES } from "../../src/talk/frames";
import { parseMessage } from "../../src/talk/messages";

describe("a frame", () => {
  it("has the header of the protocol, most significant byte first, and PCM16 behind it", () => {
    const bytes = new Uint8Array(
      encodeFrame({ sequence: 0x01020304, epoch: 7, sample: 2 ** 33 + 5, pcm: Int16Array.of(-2, 258) }),
    );
    expect([...bytes]).toEqual([
      1, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 7, 0, 0, 0, 2, 0, 0, 0, 5, 0xfe, 0xff, 0x02, 0x01,
    ]);
  });

  it("is read back with its turn and its end", () => {
    const buffer = encodeFrame({ sequence: 9, epoch: 3, sample: 640, pcm: Int16Array.of(1, -1) });
    new Uint8Array(buffer).set([1, 1, 0x12, 0x34]);
    expect(decodeFrame(buffer)).toEqual({
      turn: 0x1234,
      end: true,
      sequence: 9,
      epoch: 3,
      sample: 640,
      pcm: Int16Array.of(1, -1),
    });
  });

  it.each([0, 1, HEADER_BYTES - 1, HEADER_BYTES + 1])("of %i bytes is none", (size) => {
    const buffer = new ArrayBuffer(size);
    if (size) new Uint8Array(buffer)[0] = 1;
    expect(decodeFrame(buffer)).toBeNull();
  });

  it("of another version is none", () => {
    expect(decodeFrame(new ArrayBuffer(HEADER_BYTES))).toBeNull();
  });
});

describe("a message", () => {
  it.each([
    "",
    "{",
    "[]",
    "null",
    "3",
    '{"type":"later"}',
    '{"type":"welcome"}',
    '{"type":"playback","action":"explode","turn_id":"t"}',
    '{"type":"signal"}',
  ])("that is malformed or unknown is nothing: %s", (data) => expect(parseMessage(data)).toBeNull());

  it("has every field filled in, and nothing of a wrong type", () => {
    expect(parseMessage('{"type":"signal","signal":"abort","epoch":"9","turn_id":4,"detail":[1]}')).toEqual({
      type: "signal",
      signal: "abort",
      atMs: 0,
      epoch: 0,
      turnId: "",
      reason: "",
      detail: {},
    });
    expect(parseMessage('{"type":"playback","action":"stop","turn_id":"t1","keep_ms":40}')).toEqual({
      type: "playback",
      action: "stop",
      turnId: "t1",
      turn: 0,
      keepMs: 40,
    });
  });
});
