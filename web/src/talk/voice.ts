/** Whether somebody speaks into the microphone, by its level alone; good enough to say when, not to decide anything. */

export const LOUD = 0.015; // of full scale, as the root of the mean square
const PAUSE_MS = 300; // a shorter hole belongs to the same speech

export function levelOf(pcm: Int16Array): number {
  let sum = 0;
  for (const sample of pcm) sum += sample * sample;
  return pcm.length ? Math.sqrt(sum / pcm.length) / 32768 : 0;
}

/** When the speech that is going on began, and when it was last heard; 0 where there was none. */
export interface Voice {
  beganAt: number;
  spokeAt: number;
}

export const SILENT: Voice = { beganAt: 0, spokeAt: 0 };

/** A frame that began at `at` and lasts `ms`. */
export function heardVoice(voice: Voice, level: number, at: number, ms: number): Voice {
  if (level <= LOUD) return voice;
  const anew = voice.spokeAt === 0 || at - voice.spokeAt > PAUSE_MS;
  return { beganAt: anew ? at : voice.beganAt, spokeAt: at + ms };
}
