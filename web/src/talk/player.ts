/**
 * What the caller hears: a queue of turns' sound, bounded, played at the sound card's rate, and honest about how far it is.
 *
 * It waits until `firstMs` are there before a turn begins. `pause` is silence at once, and `resume` goes on at the same sample.
 * `stop` throws away all of a turn but `keepMs` past the play head. Each change is told with the sample of the block at which
 * it was to be heard, so that a page can say when it was, by the card's own clock.
 */

export type Heard =
  | { what: "started" | "position" | "completed"; turn: number; heardMs: number; offset: number }
  | { what: "silent"; turn: number; heardMs: number; offset: number }
  | { what: "gap"; turn: number; ms: number; offset: number }
  | { what: "dropped"; turn: number; ms: number; offset: number };

export interface PlayerSettings {
  /** Of the sound that comes. */
  rate: number;
  /** Of the sound card. */
  cardRate: number;
  firstMs: number;
  toldMs: number;
  queueMsMax: number;
}

interface Piece {
  turn: number;
  pcm: Int16Array;
  end: boolean;
}

const BELOW = 1e-9;

export class Player {
  readonly #settings: PlayerSettings;
  readonly #step: number;
  readonly #tell: (heard: Heard) => void;
  #queue: Piece[] = []; // bounded: by queueMsMax, in samples
  #queued = 0;
  #at = 0; // within the first piece
  #turn = 0;
  #heard = 0; // samples of the turn
  #lastTold = 0;
  #playing = false;
  #paused = false;
  #stopped = 0; // the turn of which nothing more is taken
  #sounding = false; // the last sample was one of a turn
  #cut = false; // silence is wanted, and is to be told when it is there
  #drySince = -1; // samples of the card since the queue ran dry within a turn
  #offset = 0;

  constructor(settings: PlayerSettings, tell: (heard: Heard) => void) {
    this.#settings = settings;
    this.#step = settings.rate / settings.cardRate;
    this.#tell = tell;
  }

  /** Takes a turn's next sound. What the queue has no room for is dropped, and told. */
  frame(turn: number, pcm: Int16Array, end: boolean): void {
    if (turn === this.#stopped) return;
    if (this.#queued + pcm.length > this.#samples(this.#settings.queueMsMax)) {
      this.#tell({ what: "dropped", turn, ms: this.#ms(pcm.length), offset: 0 });
      return;
    }
    this.#queue.push({ turn, pcm, end });
    this.#queued += pcm.length;
    if (!pcm.length) return;
    if (this.#drySince >= 0 && turn === this.#turn) {
      const ms = Math.round((this.#drySince * 1000) / this.#settings.cardRate);
      this.#tell({ what: "gap", turn, ms, offset: 0 });
    }
    this.#drySince = -1;
  }

  pause(): void {
    this.#paused = true;
    this.#cut = this.#sounding;
    this.#told("position");
  }

  resume(): void {
    this.#paused = this.#cut = false;
  }

  stop(turn: number, keepMs: number): void {
    let left = this.#turn === turn && !this.#paused ? this.#samples(keepMs) + this.#at : 0;
    this.#queue = this.#queue.filter((piece) => {
      if (piece.turn !== turn) return true;
      piece.pcm = piece.pcm.subarray(0, Math.max(0, Math.ceil(left)));
      piece.end = false;
      left -= piece.pcm.length;
      return piece.pcm.length > 0;
    });
    this.#queued = this.#queue.reduce((sum, piece) => sum + piece.pcm.length, 0);
    this.#stopped = turn;
    if (this.#turn !== turn) return;
    this.#cut = this.#sounding;
    this.#paused = false;
    this.#drySince = -1;
    this.#told("position");
    if (!this.#queue.some((piece) => piece.turn === turn)) this.#playing = false;
  }

  /** The card's next block. */
  fill(out: Float32Array): void {
    for (let index = 0; index < out.length; index++) {
      this.#offset = index;
      const sample = this.#paused ? null : this.#next();
      out[index] = sample ?? 0;
      if (sample !== null) this.#sounding = true;
      else if (this.#sounding) this.#fellSilent();
      if (this.#drySince >= 0) this.#drySince++;
    }
    this.#offset = 0;
    if (this.#turn && this.#heard - this.#lastTold >= this.#samples(this.#settings.toldMs))
      this.#told("position");
  }

  #fellSilent(): void {
    this.#sounding = false;
    if (this.#cut) this.#told("silent");
    this.#cut = false;
  }

  #next(): number | null {
    for (let piece = this.#queue[0]; piece; piece = this.#queue[0]) {
      if (piece.turn !== this.#turn) this.#begin(piece.turn);
      if (!this.#playing && piece.pcm.length) {
        if (!this.#ready(piece.turn)) return null;
        this.#playing = true;
        this.#told("started");
      }
      if (Math.floor(this.#at + BELOW) < piece.pcm.length) return this.#sample(piece.pcm);
      this.#finish(piece);
    }
    return null;
  }

  #sample(pcm: Int16Array): number {
    const index = Math.floor(this.#at + BELOW);
    const here = pcm[index] as number;
    const after = index + 1 < pcm.length ? (pcm[index + 1] as number) : here;
    const value = here + (after - here) * Math.max(0, this.#at - index);
    this.#at += this.#step;
    this.#heard += this.#step;
    return value / 32768;
  }

  #begin(turn: number): void {
    if (this.#cut) this.#told("silent"); // the next turn follows without a pause: this one is over all the same
    this.#cut = false;
    this.#turn = turn;
    this.#heard = this.#lastTold = this.#at = 0;
    this.#playing = false;
    this.#drySince = -1;
  }

  #ready(turn: number): boolean {
    const mine = this.#queue.filter((piece) => piece.turn === turn);
    const samples = mine.reduce((sum, piece) => sum + piece.pcm.length, 0);
    return (
      turn === this.#stopped ||
      samples >= this.#samples(this.#settings.firstMs) ||
      mine.some((piece) => piece.end)
    );
  }

  #finish(piece: Piece): void {
    this.#at = Math.max(0, this.#at - piece.pcm.length);
    this.#queued -= piece.pcm.length;
    this.#queue.shift();
    if (piece.end) {
      this.#heard = Math.round(this.#heard);
      this.#told("completed");
      this.#playing = false;
      this.#at = 0;
    } else if (!this.#queue.length && this.#playing) {
      if (piece.turn === this.#stopped) this.#playing = false;
      else this.#drySince = 0;
    }
  }

  #told(what: "started" | "position" | "completed" | "silent"): void {
    if (!this.#turn) return;
    this.#lastTold = this.#heard;
    this.#tell({
      what,
      turn: this.#turn,
      heardMs: Math.floor(this.#ms(this.#heard) + BELOW),
      offset: this.#offset,
    });
  }

  #samples(ms: number): number {
    return (ms * this.#settings.rate) / 1000;
  }

  #ms(samples: number): number {
    return (samples * 1000) / this.#settings.rate;
  }
}
