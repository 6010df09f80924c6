/** Latencies by stage: one bar a stage on one scale, so that the slow one is seen before it is read. */
import type { Load, Point } from "../api";
import { count, duration, Empty, kindOf } from "../parts";

export function Latencies({ load }: { load: Load }) {
  const points = [...load.stages, ...(load.answer.count > 0 ? [load.answer] : [])];
  const top = Math.max(1, ...points.map((point) => point.p95Ms ?? 0));
  if (points.length === 0)
    return (
      <Empty title="No turn has been measured yet">
        Latencies appear with the first answers. <a href="#/talk">Talk to it</a>
      </Empty>
    );
  return (
    <div class="table-frame" role="region" aria-label="Latency by stage" tabIndex={0}>
      <table class="latencies">
        <thead>
          <tr>
            <th scope="col">Stage</th>
            <th scope="col" class="latency-column">
              <span class="visually-hidden">p50 and p95 drawn</span>
            </th>
            <th scope="col" class="end">
              p50
            </th>
            <th scope="col" class="end">
              p95
            </th>
            <th scope="col" class="end wide">
              p99
            </th>
            <th scope="col" class="end wide">
              Count
            </th>
          </tr>
        </thead>
        <tbody>
          {points.map((point) => (
            <Line key={point.name} point={point} top={top} whole={point === load.answer} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Line({ point, top, whole }: { point: Point; top: number; whole: boolean }) {
  const share = (ms: number | null): string => `${((100 * (ms ?? 0)) / top).toFixed(1)}%`;
  return (
    <tr class={whole ? "latency-whole" : undefined}>
      <th scope="row">{whole ? "Whole answer" : kindOf(point.name)}</th>
      <td class="latency-column">
        <span class="latency" aria-hidden="true">
          <span class="latency-p95" style={{ width: share(point.p95Ms) }} />
          <span class="latency-p50" style={{ width: share(point.p50Ms) }} />
        </span>
      </td>
      <td class="end">{duration(point.p50Ms)}</td>
      <td class="end">{duration(point.p95Ms)}</td>
      <td class="end wide">{duration(point.p99Ms)}</td>
      <td class="end wide">{count(point.count)}</td>
    </tr>
  );
}
