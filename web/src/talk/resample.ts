/**
 * The microphone's rate down to the pipeline's, without what would fold back into speech.
 *
 * A sinc that a Hann window ends, cut below half of the lower rate, in a table of phases: 48 kHz and 44.1 kHz go the same way.
 * The state goes on from block to block, so that where a block ends is not to be heard.
 */

const ZEROS = 12; // of the sinc on each side: about 50 dB below what is passed
const PHASES = 64;
const CUT = 0.92; // of half of the lower rate: the rest is for the filter's slope

export class Resampler {
  readonly #step: number;
  readonly #half: number; // taps on each side, in samples of the source
  readonly #table: Float32Array[];
  #kept: Float32Array; // the source's last samples, which the next block still needs
  #at: number; // where the next sample of ours lies, counted from the first one kept

  constructor(from: number, to: number) {
    this.#step = from / to;
    const scale = Math.max(1, this.#step) / CUT;
    this.#half = Math.ceil(ZEROS * scale);
    this.#table = Array.from({ length: PHASES + 1 }, (_, phase) => taps(phase / PHASES, this.#half, scale));
    this.#kept = new Float32Array(this.#half);
    this.#at = this.#half;
  }

  /** As many samples as these make. */
  take(block: Float32Array): Float32Array {
    const source = new Float32Array(this.#kept.length + block.length);
    source.set(this.#kept);
    source.set(block, this.#kept.length);
    const most = Math.max(0, Math.ceil((source.length - this.#half - this.#at) / this.#step));
    const made = new Float32Array(most);
    let filled = 0;
    while (this.#at + this.#half + 1 <= source.length && filled < most) {
      made[filled++] = this.#one(source);
      this.#at += this.#step;
    }
    const drop = Math.max(0, Math.min(source.length, Math.floor(this.#at) - this.#half));
    this.#kept = source.slice(drop);
    this.#at -= drop;
    return made.subarray(0, filled);
  }

  #one(source: Float32Array): number {
    const whole = Math.floor(this.#at);
    const phase = (this.#at - whole) * PHASES,
      before = Math.floor(phase),
      part = phase - before;
    const one = this.#table[before] as Float32Array,
      next = this.#table[before + 1] as Float32Array;
    const first = whole - this.#half + 1;
    let sum = 0;
    for (let tap = 0; tap < one.length; tap++) {
      const weight = (one[tap] as number) + ((next[tap] as number) - (one[tap] as number)) * part;
      sum += weight * (source[first + tap] ?? 0);
    }
    return sum;
  }
}

/** The filter for a sample that lies `part` behind a whole one; its taps add up to one. */
function taps(part: number, half: number, scale: number): Float32Array {
  const made = new Float32Array(half * 2);
  let sum = 0;
  for (let tap = 0; tap < made.length; tap++) {
    const far = tap - half + 1 - part;
    const x = (far / scale) * Math.PI;
    const sinc = x === 0 ? 1 : Math.sin(x) / x;
    const window = Math.abs(far) >= half ? 0 : 0.5 + 0.5 * Math.cos((Math.PI * far) / half);
    made[tap] = sinc * window;
    sum += sinc * window;
  }
  return made.map((value) => value / sum);
}

/** From -1..1 to 16 bits; what is louder is held at the end of the scale. */
export function pcm16(samples: Float32Array): Int16Array {
  const made = new Int16Array(samples.length);
  for (let index = 0; index < samples.length; index++) {
    made[index] = Math.max(-32768, Math.min(32767, Math.round((samples[index] as number) * 32767)));
  }
  return made;
}

/** Cuts a stream into frames of one length, whatever its blocks are. */
export class Framer {
  readonly #length: number;
  #frame: Int16Array;
  #filled = 0;

  constructor(length: number) {
    this.#length = length;
    this.#frame = new Int16Array(length);
  }

  take(samples: Int16Array, put: (frame: Int16Array) => void): void {
    let at = 0;
    while (at < samples.length) {
      const part = samples.subarray(at, at + this.#length - this.#filled);
      this.#frame.set(part, this.#filled);
      this.#filled += part.length;
      at += part.length;
      if (this.#filled < this.#length) return;
      put(this.#frame);
      this.#frame = new Int16Array(this.#length);
      this.#filled = 0;
    }
  }
}
