/**
 * One call of this page: sound and line joined, and everything that happens told to the conversation.
 *
 * Rules live in `conversation.ts`, `player.ts` and `line.ts`; this waits for the browser and passes things on.
 */

import type { FrameIn } from "./frames";
import { happened, NO_TALK, type Event, type Talk } from "./conversation";
import { Line, type Place } from "./line";
import type { ServerMessage } from "./messages";
import { FRAME_MS, openSound, type Sound } from "./sound";
import { heardVoice, levelOf, SILENT, type Voice } from "./voice";
import type { Report } from "./worklet";

const BARGE_IN_MS = 3000; // speech that began longer before a silence did not cause it
const SPEAKING_MS = 150; // a caller who was heard so shortly before still speaks: nobody waits for the answer

export interface CallHandlers {
  changed(talk: Talk): void;
  /** From 0 to 1, fifty times a second. */
  level(level: number): void;
  over(): void;
  place(): Promise<Place>;
  /** A fresh place for a session whose line was lost; null keeps the one there is. */
  again(session: string, resume: string): Promise<Place | null>;
}

export class Call {
  readonly #handlers: CallHandlers;
  #talk: Talk = NO_TALK;
  #sound: Sound | null = null;
  #line: Line | null = null;
  #voice: Voice = SILENT;
  #accepted = new Set<number>(); // bounded: turns of one call
  #quietAskedAt = 0; // when the line said: be silent
  #muted = false;
  #over = false;

  constructor(handlers: CallHandlers) {
    this.#handlers = handlers;
  }

  /** Microphone first: a person who refuses it has not begun a call. `listening` false: words only, no microphone. */
  async start(tenant: string, listening: boolean): Promise<void> {
    this.#happened({ kind: "begun", tenant, wordsOnly: !listening });
    try {
      if (listening) await this.#listen();
      if (this.#over) return;
      this.#happened({ kind: "state", state: "connecting" });
      const place = await this.#handlers.place();
      if (!this.#over) this.#connect(place);
    } catch (problem) {
      this.#end(problem instanceof Error ? problem.message : String(problem));
    }
  }

  type(text: string): void {
    this.#happened({ kind: "typed", text });
    this.#line?.type(text);
  }

  /** Be silent now, as if the caller had begun to speak. */
  interrupt(): void {
    this.#line?.bargeIn();
  }

  muted(is: boolean): void {
    this.#muted = is;
    this.#sound?.muted(is);
  }

  hangUp(): void {
    if (this.#line) this.#line.hangUp();
    else this.#end("");
  }

  async #listen(): Promise<void> {
    this.#happened({ kind: "state", state: "microphone" });
    const sound = await openSound({
      spoken: (pcm, at) => this.#spoke(pcm, at),
      heard: (report, at) => this.#heard(report, at),
      lost: (why) => this.#happened({ kind: "problem", problem: why }),
    });
    this.#sound = sound;
    sound.muted(this.#muted); // somebody may have pressed it while the browser asked
    if (this.#over) sound.close();
  }

  #connect(place: Place): void {
    this.#line = new Line(place, this.#sound?.outRate ?? null, {
      told: (message) => this.#told(message),
      frame: (frame) => this.#framed(frame),
      lost: () => {
        this.#happened({ kind: "count", name: "reconnects" });
        this.#happened({ kind: "state", state: "reconnecting" });
      },
      over: (problem) => this.#end(problem),
      place: (session, resume) => this.#handlers.again(session, resume),
    });
  }

  #spoke(pcm: Int16Array, at: number): void {
    const level = levelOf(pcm);
    this.#voice = heardVoice(this.#voice, level, at, FRAME_MS);
    this.#handlers.level(level);
    this.#line?.speak(pcm);
  }

  #framed({ turn, pcm, end }: FrameIn): void {
    const turnId = this.#talk.turns[turn];
    if (turnId && !this.#accepted.has(turn)) {
      this.#accepted.add(turn);
      this.#line?.report("accepted", turnId, 0);
    }
    const rate = this.#sound?.outRate ?? 16000;
    if (pcm.length) this.#happened({ kind: "sound", turn, ms: (pcm.length * 1000) / rate });
    this.#sound?.order({ do: "frame", turn, pcm, end });
  }

  #heard(report: Report, at: number): void {
    const { what, turn } = report;
    if (what === "gap") return this.#happened({ kind: "count", name: "gaps" });
    if (what === "dropped") return this.#happened({ kind: "count", name: "dropped" });
    this.#happened({ kind: "heard", turn, heardMs: report.heardMs, completed: what === "completed" });
    if (what === "silent") return this.#fellSilent(at);
    if (what === "started") this.#began(at);
    if (what === "completed" && this.#talk.state === "speaking")
      this.#happened({ kind: "state", state: "listening" });
    const turnId = this.#talk.turns[turn];
    if (turnId) this.#line?.report(what, turnId, report.heardMs);
  }

  #began(at: number): void {
    this.#happened({ kind: "state", state: "speaking" });
    const waited = at - this.#voice.spokeAt;
    if (this.#voice.spokeAt && waited > SPEAKING_MS)
      this.#happened({ kind: "fact", name: "answerMs", ms: waited });
  }

  #fellSilent(at: number): void {
    if (this.#quietAskedAt)
      this.#happened({ kind: "fact", name: "stopMs", ms: Math.max(0, at - this.#quietAskedAt) });
    if (at - this.#voice.beganAt < BARGE_IN_MS)
      this.#happened({ kind: "fact", name: "silentMs", ms: at - this.#voice.beganAt });
    this.#quietAskedAt = 0;
  }

  #told(message: ServerMessage): void {
    if (message.type === "playback") {
      const { action, turnId } = message;
      const turn = Number(Object.entries(this.#talk.turns).find(([, id]) => id === turnId)?.[0] ?? 0);
      if (action === "pause" || action === "stop") this.#quietAskedAt = performance.now();
      if (action === "stop") this.#sound?.order({ do: "stop", turn, keepMs: message.keepMs });
      else if (action !== "start") this.#sound?.order({ do: action });
    }
    this.#happened({ kind: "message", message });
  }

  #end(problem: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#sound?.close();
    if (problem) this.#happened({ kind: "problem", problem });
    this.#happened({ kind: "state", state: "off" });
    this.#handlers.over();
  }

  #happened(event: Event): void {
    const next = happened(this.#talk, event, performance.now());
    if (next === this.#talk) return;
    this.#talk = next;
    this.#handlers.changed(next);
  }
}
