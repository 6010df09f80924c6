/**
 * What runs on the audio thread: the microphone down to frames of 16 kHz, and the player up to the sound card.
 *
 * Only the wiring is here; `resample.ts` and `player.ts` hold the rules. Times are the audio context's own seconds.
 */

import { Player, type Heard, type PlayerSettings } from "./player";
import { Framer, pcm16, Resampler } from "./resample";

/** From the page to the player. */
export type Order =
  | { do: "frame"; turn: number; pcm: Int16Array; end: boolean }
  | { do: "pause" | "resume" }
  | { do: "stop"; turn: number; keepMs: number };

/** From the player to the page. */
export type Report = Heard & { time: number };
export interface Spoken {
  pcm: Int16Array;
  time: number;
}

/** The global scope of an audio worklet, as far as it is used here. */
interface Scope {
  readonly currentTime: number;
  readonly sampleRate: number;
  registerProcessor(name: string, made: new (options: { processorOptions: never }) => object): void;
  AudioWorkletProcessor: new () => { readonly port: MessagePort };
}
const scope = globalThis as unknown as Scope;

class Ear extends scope.AudioWorkletProcessor {
  readonly #resampler: Resampler;
  readonly #framer: Framer;

  constructor({ processorOptions: { rate, frame } }: { processorOptions: { rate: number; frame: number } }) {
    super();
    this.#resampler = new Resampler(scope.sampleRate, rate);
    this.#framer = new Framer(frame);
  }

  process([input]: Float32Array[][]): boolean {
    const samples = input?.[0];
    if (!samples) return true;
    this.#framer.take(pcm16(this.#resampler.take(samples)), (pcm) => {
      const spoken: Spoken = { pcm, time: scope.currentTime };
      this.port.postMessage(spoken, [pcm.buffer]);
    });
    return true;
  }
}

class Mouth extends scope.AudioWorkletProcessor {
  readonly #player: Player;

  constructor({ processorOptions }: { processorOptions: Omit<PlayerSettings, "cardRate"> }) {
    super();
    this.#player = new Player({ ...processorOptions, cardRate: scope.sampleRate }, (heard) => {
      const report: Report = { ...heard, time: scope.currentTime + heard.offset / scope.sampleRate };
      this.port.postMessage(report);
    });
    this.port.onmessage = ({ data }: MessageEvent<Order>) => this.#obey(data);
  }

  #obey(order: Order): void {
    if (order.do === "frame") this.#player.frame(order.turn, order.pcm, order.end);
    else if (order.do === "stop") this.#player.stop(order.turn, order.keepMs);
    else this.#player[order.do]();
  }

  process(_: Float32Array[][], [output]: Float32Array[][]): boolean {
    const left = output?.[0];
    if (left) this.#player.fill(left);
    return true;
  }
}

scope.registerProcessor("ear", Ear);
scope.registerProcessor("mouth", Mouth);
