/** Small drawings of figures. Each has a sentence that says the same, for whoever does not see it. */
import type { Tone } from "./level";

/** A line over the values in order; null leaves a hole. */
export function Sparkline({
  values,
  label,
  width = 160,
  height = 36,
  max,
}: {
  values: readonly (number | null)[];
  label: string;
  width?: number;
  height?: number;
  max?: number;
}) {
  // Room above the highest value, so that a steady line does not look like a full box.
  const top = max ?? 1.25 * Math.max(...values.map((value) => value ?? 0), 1e-9);
  const step = values.length > 1 ? width / (values.length - 1) : width;
  const y = (value: number): number => height - 2 - (value / top) * (height - 4);
  let line = "";
  let area = "";
  let began: number | null = null;
  values.forEach((value, index) => {
    const x = index * step;
    if (value === null) {
      if (began !== null) area += `L${(x - step).toFixed(1)} ${height}Z`;
      began = null;
      return;
    }
    const at = `${x.toFixed(1)} ${y(value).toFixed(1)}`;
    line += `${began === null ? "M" : "L"}${at}`;
    area += began === null ? `M${x.toFixed(1)} ${height}L${at}` : `L${at}`;
    began ??= x;
  });
  if (began !== null) area += `L${((values.length - 1) * step).toFixed(1)} ${height}Z`;
  return (
    <svg
      class="sparkline"
      viewBox={`0 0 ${width} ${height}`}
      preserveAspectRatio="none"
      role="img"
      aria-label={label}
    >
      <path class="sparkline-area" d={area} />
      <path class="sparkline-line" d={line} vector-effect="non-scaling-stroke" />
    </svg>
  );
}

/** A share of a whole, as a bar; `text` stands beside it and says the figures. */
export function Bar({
  value,
  max,
  label,
  text,
  tone,
}: {
  value: number;
  max: number;
  label: string;
  text?: string;
  tone?: Tone;
}) {
  const share = max > 0 ? Math.min(1, Math.max(0, value / max)) : 0;
  const chosen = tone ?? (share >= 0.95 ? "failed" : share >= 0.8 ? "degraded" : "accent");
  return (
    <span class="bar-line">
      <span
        class="bar"
        role="meter"
        aria-label={label}
        aria-valuenow={value}
        aria-valuemin={0}
        aria-valuemax={Math.max(max, value, 1)}
        aria-valuetext={text ?? `${value} of ${max}`}
      >
        <span class={`bar-fill tone-${chosen}`} style={{ width: `${(share * 100).toFixed(1)}%` }} />
      </span>
      {text !== undefined && (
        <span class="bar-text num" aria-hidden="true">
          {text}
        </span>
      )}
    </span>
  );
}
