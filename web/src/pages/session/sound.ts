/**
 * The recorded sound of both sides as one player with one clock. Files are fetched when somebody first wants to hear them,
 * with the caller's token, and let go of with the page.
 */
import { type ReadonlySignal, signal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { blobOf, faultOf, type Sound as Given } from "../../api";

export type Ready = "none" | "waiting" | "loading" | "ready" | "failed";

export interface Sound {
  ready: ReadonlySignal<Ready>;
  problem: ReadonlySignal<string>;
  playing: ReadonlySignal<boolean>;
  atMs: ReadonlySignal<number>;
  seek(ms: number): void;
  toggle(): void;
}

const DRIFT_S = 0.08; // two sides farther apart than that are heard apart

class Player implements Sound {
  readonly ready = signal<Ready>("none");
  readonly problem = signal("");
  readonly playing = signal(false);
  readonly atMs = signal(0);
  #files: readonly Given[] = [];
  #sides: HTMLAudioElement[] = [];
  #urls: string[] = [];
  #frame = 0;
  #closed = false;

  given(files: readonly Given[]): void {
    if (this.#sides.length || this.ready.peek() === "loading") return;
    this.#files = files.filter((file) => file.url !== "" && file.seconds > 0);
    this.ready.value = this.#files.length ? "waiting" : "none";
  }

  seek(ms: number): void {
    this.atMs.value = Math.max(0, ms);
    for (const side of this.#sides)
      side.currentTime = Math.min(this.atMs.peek() / 1000, side.duration || Infinity);
  }

  toggle(): void {
    if (this.playing.peek()) this.#pause();
    else void this.#play();
  }

  close(): void {
    this.#closed = true;
    this.#pause();
    this.#release();
  }

  #release(): void {
    for (const url of this.#urls) URL.revokeObjectURL(url);
    this.#urls = [];
  }

  async #play(): Promise<void> {
    if (this.ready.peek() === "waiting" || this.ready.peek() === "failed") await this.#load();
    const longest = this.#longest();
    if (this.ready.peek() !== "ready" || !longest || this.#closed) return;
    if (longest.ended) this.seek(0);
    this.playing.value = true;
    await Promise.all(
      this.#sides.filter((side) => side.currentTime < side.duration).map((side) => side.play()),
    ).catch((problem: unknown) => {
      this.#pause();
      this.problem.value = faultOf(problem).message;
    });
    if (this.playing.peek()) this.#follow();
  }

  #pause(): void {
    cancelAnimationFrame(this.#frame);
    for (const side of this.#sides) side.pause();
    this.playing.value = false;
  }

  #longest(): HTMLAudioElement | undefined {
    return [...this.#sides].sort((one, other) => other.duration - one.duration)[0];
  }

  readonly #follow = (): void => {
    const lead = this.#longest();
    if (!lead || !this.playing.peek()) return;
    this.atMs.value = lead.currentTime * 1000;
    for (const side of this.#sides)
      if (!side.paused && Math.abs(side.currentTime - lead.currentTime) > DRIFT_S)
        side.currentTime = lead.currentTime;
    if (lead.ended) this.#pause();
    else this.#frame = requestAnimationFrame(this.#follow);
  };

  async #load(): Promise<void> {
    this.ready.value = "loading";
    this.problem.value = "";
    try {
      const blobs = await Promise.all(this.#files.map((file) => blobOf(file.url)));
      if (this.#closed) return;
      this.#urls = blobs.map((blob) => URL.createObjectURL(blob));
      this.#sides = await Promise.all(this.#urls.map(opened));
      this.ready.value = "ready";
      this.seek(this.atMs.peek());
    } catch (problem) {
      this.#release();
      this.ready.value = "failed";
      this.problem.value = faultOf(problem).message;
    }
  }
}

function opened(url: string): Promise<HTMLAudioElement> {
  return new Promise((resolve, reject) => {
    const side = new Audio(url);
    side.preload = "auto";
    side.onloadedmetadata = () => resolve(side);
    side.onerror = () => reject(new Error("This browser cannot play the recorded sound."));
  });
}

export function useSound(files: readonly Given[]): Sound {
  const player = useMemo(() => new Player(), []);
  useEffect(() => player.given(files), [files]);
  useEffect(() => () => player.close(), []);
  return player;
}
