/** Where numbers are missing in a journal that was read whole. */
import type { StateChange } from "../../api/types";

/** The stretches of numbers that are missing between records, which are in order. */
export function gaps(records: readonly StateChange[]): { after: number; missing: number }[] {
  const found: { after: number; missing: number }[] = [];
  for (let index = 1; index < records.length; index += 1) {
    const [before, now] = [records[index - 1]!.sequence, records[index]!.sequence];
    if (now > before + 1) found.push({ after: before, missing: now - before - 1 });
  }
  return found;
}
