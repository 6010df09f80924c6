/** The microphone and the loudspeaker of this page, and the one clock by which both are timed. */

import type { Order, Report, Spoken } from "./worklet";
import workletUrl from "./worklet.ts?worker&url";

export const IN_RATE = 16000;
export const FRAME_MS = 20;
const OUT_RATES = [16000, 24000, 48000];
const FIRST_MS = 40; // of a turn are there before it is played: one late frame is not heard
const TOLD_MS = 200;
const QUEUE_MS_MAX = 30000; // a whole long answer that comes at once

export interface SoundHandlers {
  /** `at` is when it was spoken, as `performance.now()` counts. */
  spoken(pcm: Int16Array, at: number): void;
  /** `at` is when it is to be heard. */
  heard(report: Report, at: number): void;
  /** The microphone went away. */
  lost(why: string): void;
}

export interface Sound {
  /** What the other side shall send. */
  readonly outRate: number;
  order(order: Order): void;
  muted(is: boolean): void;
  close(): void;
}

/** Asks for the microphone and starts both worklets; an Error's message says what a person can do. */
export async function openSound(handlers: SoundHandlers): Promise<Sound> {
  const media = await microphone();
  let audio: AudioContext | null = null;
  try {
    audio = new AudioContext({ latencyHint: "interactive" });
    await audio.resume();
    await audio.audioWorklet.addModule(workletUrl);
    return wired(media, audio, handlers);
  } catch (problem) {
    stop(media, audio);
    throw new Error(`The sound of this browser cannot be started (${words(problem)}).`);
  }
}

function wired(media: MediaStream, audio: AudioContext, handlers: SoundHandlers): Sound {
  const outRate = OUT_RATES.find((rate) => rate === audio.sampleRate) ?? 48000;
  const ear = new AudioWorkletNode(audio, "ear", {
    numberOfOutputs: 0,
    processorOptions: { rate: IN_RATE, frame: (IN_RATE * FRAME_MS) / 1000 },
  });
  const mouth = new AudioWorkletNode(audio, "mouth", {
    numberOfInputs: 0,
    outputChannelCount: [1],
    processorOptions: { rate: outRate, firstMs: FIRST_MS, toldMs: TOLD_MS, queueMsMax: QUEUE_MS_MAX },
  });
  audio.createMediaStreamSource(media).connect(ear);
  mouth.connect(audio.destination);
  ear.port.onmessage = ({ data }: MessageEvent<Spoken>) =>
    handlers.spoken(data.pcm, takenAt(audio, data.time));
  mouth.port.onmessage = ({ data }: MessageEvent<Report>) => handlers.heard(data, momentOf(audio, data.time));
  const tracks = media.getAudioTracks();
  for (const track of tracks)
    track.onended = () => handlers.lost("The microphone was unplugged or taken away.");
  return {
    outRate,
    order: (order) => mouth.port.postMessage(order),
    muted: (is) =>
      tracks.forEach((track) => {
        track.enabled = !is;
      }),
    close: () => stop(media, audio),
  };
}

function stop(media: MediaStream, audio: AudioContext | null): void {
  for (const track of media.getTracks()) {
    track.onended = null;
    track.stop();
  }
  if (audio !== null && audio.state !== "closed") void audio.close();
}

/** When a moment of the audio clock is, or was, at the loudspeaker; now, where the browser does not tell. */
function momentOf(audio: AudioContext, time: number): number {
  const { contextTime, performanceTime } = audio.getOutputTimestamp();
  if (!contextTime || !performanceTime) return performance.now();
  return performanceTime + (time - contextTime) * 1000;
}

/** When a frame of the microphone began; the way from its membrane into the browser is not known, and not counted. */
function takenAt(audio: AudioContext, time: number): number {
  return Math.min(momentOf(audio, time) - audio.outputLatency * 1000, performance.now()) - FRAME_MS;
}

async function microphone(): Promise<MediaStream> {
  if (!window.isSecureContext || !navigator.mediaDevices) {
    throw new Error(
      "Browsers give the microphone to pages over https or on localhost only. Open this page there.",
    );
  }
  try {
    return await navigator.mediaDevices.getUserMedia({
      audio: { channelCount: 1, echoCancellation: true, noiseSuppression: true, autoGainControl: true },
    });
  } catch (problem) {
    throw new Error(refusal(problem instanceof DOMException ? problem.name : "", words(problem)));
  }
}

/** What a refused microphone means, and what to do about it. */
export function refusal(name: string, detail: string): string {
  switch (name) {
    case "NotAllowedError":
      return "The microphone was not allowed. Allow it in the browser's address bar, then call again; or type instead.";
    case "NotFoundError":
      return "No microphone was found. Plug one in and call again; or type instead.";
    case "NotReadableError":
      return "Another program has the microphone. Close it and call again; or type instead.";
    default:
      return `The microphone cannot be used (${detail || name}).`;
  }
}

const words = (problem: unknown): string => (problem instanceof Error ? problem.message : String(problem));
