/** Figures as people read them, alike on every page. What is not known is a dash, never a zero. */

export const DASH = "–";

/** "840 ms", "1.24 s", "12 s". */
export function duration(ms: number | null | undefined): string {
  if (ms === null || ms === undefined) return DASH;
  if (ms < 10) return `${trimmed(ms, 1)} ms`;
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 10_000) return `${(ms / 1_000).toFixed(2)} s`;
  if (ms < 120_000) return `${(ms / 1_000).toFixed(1)} s`;
  return `${Math.round(ms / 60_000)} min`;
}

export function count(value: number | null | undefined): string {
  return value === null || value === undefined ? DASH : value.toLocaleString("en");
}

export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined) return DASH;
  if (value < 1_024) return `${value} B`;
  const units = ["KiB", "MiB", "GiB", "TiB"];
  let scaled = value / 1_024;
  let unit = 0;
  while (scaled >= 1_024 && unit < units.length - 1) {
    scaled /= 1_024;
    unit += 1;
  }
  return `${trimmed(scaled, scaled < 10 ? 1 : 0)} ${units[unit]}`;
}

/** "99.7 %" of 0.997. */
export function percent(share: number | null | undefined, digits = 1): string {
  return share === null || share === undefined ? DASH : `${trimmed(share * 100, digits)} %`;
}

/** A name of the code, readable: "provider_health" is "Provider health". */
export function named(code: string): string {
  const words = code.replace(/[_-]+/g, " ").trim();
  return words === "" ? DASH : words[0]!.toUpperCase() + words.slice(1);
}

const MODALITIES: Readonly<Record<string, string>> = {
  stt: "Speech to text",
  llm: "Language model",
  tts: "Text to speech",
  vad: "Voice activity",
};

/** What a provider is called for, and so a stage of an answer. */
export function kindOf(modality: string): string {
  return MODALITIES[modality] ?? named(modality);
}

const ID_CHARACTERS_MAX = 28;

/** A name that a machine made is recognised by how it begins; the whole of it belongs into a title beside it. */
export function brief(id: string): string {
  return id.length > ID_CHARACTERS_MAX ? `${id.slice(0, 12)}…` : id;
}

/** One thing, some things. */
export function plural(many: number, one: string, more = `${one}s`): string {
  return `${count(many)} ${many === 1 ? one : more}`;
}

function trimmed(value: number, digits: number): string {
  return value.toFixed(digits).replace(/\.0+$/, "");
}
