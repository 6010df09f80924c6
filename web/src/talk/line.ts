/**
 * The WebSocket of one call: it says hello, counts its frames, and looks for a lost line again with the resume secret.
 *
 * It decides nothing about the conversation. Typed words that a lost line may have swallowed are said again under their keys.
 */

import { newKey } from "../api/key";
import { decodeFrame, encodeFrame, type FrameIn } from "./frames";
import {
  FINAL_CLOSES,
  parseMessage,
  SUBPROTOCOL,
  type ClientMessage,
  type Goodbye,
  type ServerMessage,
  type Welcome,
} from "./messages";

const TRIES_MAX = 20;
const PAUSE_MS = 200;
const PAUSE_MS_MAX = 2000;
const UNSENT_BYTES_MAX = 64000; // more than two seconds of speech: the line does not carry it
const WORDS_MAX = 32;
const WORDS_KEPT_MS = 10000; // what was typed so shortly before the line was lost may not have got through

export interface Place {
  url: string;
  tenant: string;
  pipeline: string;
  token: string;
}

export interface LineHandlers {
  told(message: ServerMessage): void;
  frame(frame: FrameIn): void;
  /** Where to go now: the same place, or one that was asked for anew. */
  lost(tries: number): void;
  over(problem: string): void;
  /** A fresh place for a session that is known; null keeps the one there is. */
  place(session: string, resume: string): Promise<Place | null>;
}

export class Line {
  readonly #handlers: LineHandlers;
  readonly #outRate: number | null; // null: a call in words alone
  #place: Place;
  #socket: WebSocket | null = null;
  #welcome: Welcome | null = null;
  #goodbye: Goodbye | null = null;
  #ready = false;
  #over = false;
  #tries = 0;
  #timer = 0;
  #sequence = 0;
  #sample = 0;
  #epoch = 0;
  #words: { text: string; key: string; at: number }[] = []; // bounded: by WORDS_MAX, the oldest let go

  constructor(place: Place, outRate: number | null, handlers: LineHandlers) {
    this.#place = place;
    this.#outRate = outRate;
    this.#handlers = handlers;
    this.#open();
  }

  /** One frame of the caller's; what cannot be sent now is silence to the other side. */
  speak(pcm: Int16Array): void {
    const socket = this.#socket;
    if (this.#ready && socket && socket.bufferedAmount <= UNSENT_BYTES_MAX) {
      socket.send(encodeFrame({ sequence: this.#sequence++, epoch: this.#epoch, sample: this.#sample, pcm }));
    }
    this.#sample += pcm.length;
  }

  type(text: string): void {
    const word = { text, key: newKey(), at: performance.now() };
    this.#words = [...this.#words, word].slice(-WORDS_MAX);
    if (this.#ready) this.say({ type: "say", text, key: word.key });
  }

  report(what: "accepted" | "started" | "position" | "completed", turnId: string, heardMs: number): void {
    this.say({ type: "delivery", what, turn_id: turnId, heard_ms: heardMs, epoch: this.#epoch });
  }

  bargeIn(): void {
    this.say({ type: "control", signal: "barge_in", epoch: this.#epoch });
  }

  say(message: ClientMessage): void {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  hangUp(): void {
    this.say({ type: "bye" });
    this.#end("");
  }

  #open(): void {
    const socket = new WebSocket(this.#place.url, [SUBPROTOCOL]);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#hello();
    socket.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => {
      if (socket === this.#socket) this.#heard(data);
    };
    socket.onclose = ({ code, reason }) => {
      if (socket === this.#socket) this.#closed(code, reason);
    };
    this.#socket = socket;
    this.#ready = false;
    this.#goodbye = null;
    this.#sequence = 0;
  }

  #hello(): void {
    const { tenant, pipeline, token } = this.#place,
      known = this.#welcome;
    this.say({
      type: "hello",
      tenant,
      ...(pipeline && { pipeline }),
      ...(token && { token }),
      ...(known && { session: known.session, resume: known.resume, epoch: this.#epoch }),
      audio_in: this.#outRate === null ? null : { codec: "pcm16", rate: 16000, frame_ms: 20 },
      audio_out: this.#outRate === null ? null : { codec: "pcm16", rate: this.#outRate, frame_ms: 20 },
      playback_reports: this.#outRate !== null,
    });
  }

  #heard(data: string | ArrayBuffer): void {
    if (typeof data !== "string") {
      const frame = decodeFrame(data);
      if (frame) this.#handlers.frame(frame);
      return;
    }
    const message = parseMessage(data);
    if (!message) return;
    if (message.type === "welcome") this.#welcomed(message);
    else if (message.type === "signal") this.#epoch = Math.max(this.#epoch, message.epoch);
    else if (message.type === "goodbye") this.#goodbye = message;
    this.#handlers.told(message);
  }

  #welcomed(welcome: Welcome): void {
    const again = this.#welcome !== null;
    this.#welcome = welcome;
    this.#epoch = welcome.epoch;
    this.#ready = true;
    this.#tries = 0;
    const since = again ? performance.now() - WORDS_KEPT_MS : 0;
    for (const word of this.#words.filter((one) => one.at >= since))
      this.say({ type: "say", text: word.text, key: word.key });
  }

  #closed(code: number, reason: string): void {
    this.#ready = false;
    if (this.#over) return;
    const moved = Boolean(this.#goodbye?.endpoint);
    const final = !this.#welcome || (FINAL_CLOSES.has(code) && !moved) || this.#tries >= TRIES_MAX;
    if (final) {
      this.#end(code === 1000 ? "" : this.#why(code, reason));
      return;
    }
    this.#tries++;
    this.#handlers.lost(this.#tries);
    const asked = this.#goodbye?.retryAfterMs ?? 0;
    this.#timer = window.setTimeout(
      () => void this.#again(),
      Math.max(asked, Math.min(PAUSE_MS_MAX, PAUSE_MS * (this.#tries - 1))),
    );
  }

  async #again(): Promise<void> {
    const { session, resume } = this.#welcome as Welcome;
    const fresh =
      this.#tries > 1 || this.#goodbye ? await this.#handlers.place(session, resume).catch(() => null) : null;
    if (this.#over) return;
    if (fresh) this.#place = fresh;
    this.#open();
  }

  #why(code: number, reason: string): string {
    const told = this.#goodbye?.reason || reason;
    if (code === 1006 && !this.#welcome)
      return "The worker cannot be reached from this browser: is its address right, and open to this page?";
    return `The line was closed: ${told || `code ${code}`}.`;
  }

  #end(problem: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#ready = false;
    window.clearTimeout(this.#timer);
    this.#socket?.close(1000);
    this.#handlers.over(problem);
  }
}
