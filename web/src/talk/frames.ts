/**
 * Audio frames of `rspp.v1`: twenty bytes, most significant first, and the sound behind them as PCM16.
 *
 *     byte 0 version · 1 flags (1: the turn's stream ends) · 2-3 turn · 4-7 sequence · 8-11 epoch · 12-19 sample index
 */

export const VERSION = 1;
export const HEADER_BYTES = 20;
export const FLAG_END = 1;

export interface FrameOut {
  sequence: number;
  epoch: number;
  /** Where the frame begins in its stream, in samples of the agreed rate. */
  sample: number;
  pcm: Int16Array;
}

export interface FrameIn {
  turn: number;
  end: boolean;
  sequence: number;
  epoch: number;
  sample: number;
  pcm: Int16Array;
}

/** One frame of the caller's sound; the turn is 0, which is what a client says. */
export function encodeFrame({ sequence, epoch, sample, pcm }: FrameOut): ArrayBuffer {
  const buffer = new ArrayBuffer(HEADER_BYTES + pcm.length * 2);
  const view = new DataView(buffer);
  view.setUint8(0, VERSION);
  view.setUint32(4, sequence);
  view.setUint32(8, epoch);
  view.setBigUint64(12, BigInt(sample));
  for (let index = 0; index < pcm.length; index++)
    view.setInt16(HEADER_BYTES + index * 2, pcm[index] ?? 0, true);
  return buffer;
}

/** What came over the line, or null for what is no frame of ours. An odd byte at the end makes it none. */
export function decodeFrame(buffer: ArrayBuffer): FrameIn | null {
  if (buffer.byteLength < HEADER_BYTES || (buffer.byteLength - HEADER_BYTES) % 2 !== 0) return null;
  const view = new DataView(buffer);
  if (view.getUint8(0) !== VERSION) return null;
  const pcm = new Int16Array((buffer.byteLength - HEADER_BYTES) / 2);
  for (let index = 0; index < pcm.length; index++) pcm[index] = view.getInt16(HEADER_BYTES + index * 2, true);
  return {
    turn: view.getUint16(2),
    end: (view.getUint8(1) & FLAG_END) === FLAG_END,
    sequence: view.getUint32(4),
    epoch: view.getUint32(8),
    sample: Number(view.getBigUint64(12)),
    pcm,
  };
}
