/** The timeline of a session: its lanes with the sound under one play head, and the same rows as a table. */
import { type Signal, useComputed, useSignalEffect } from "@preact/signals";
import { useMemo } from "preact/hooks";
import type { SessionItem, Sound as SoundGiven } from "../../api";
import { count, Empty, ErrorNote, Icon, Loading, Panel } from "../../parts";
import { Lanes } from "../../draw/Lanes";
import { clock } from "../../draw/view";
import type { HeadGiven } from "../session";
import { ROWS_MAX, useTimeline } from "./follow";
import { RowsTable } from "./rows";
import type { Sound } from "./sound";

interface Props {
  item: SessionItem;
  head: HeadGiven;
  sounds: readonly SoundGiven[];
  sound: Sound;
  /** Where somebody on the page wants to look. */
  seek: Signal<number | null>;
}

export function Timeline({ item, head, sounds, sound, seek }: Props) {
  const { transcript, turns } = head;
  const { rows, total, error, done } = useTimeline(item.tenant, item.id, item.state);
  const given = useMemo(() => {
    const ends = [
      rows.at(-1)?.atMs ?? 0,
      ...turns.map((turn) => turn.endedMs ?? turn.beganMs),
      ...sounds.map((one) => one.seconds * 1000),
      ...transcript.map((line) => line.atMs + (line.heardMs ?? 0)),
    ];
    return { rows, turns, said: transcript, sounds, endMs: Math.max(...ends) };
  }, [rows, turns, transcript, sounds]);
  useSignalEffect(() => {
    if (seek.value === null) return;
    sound.seek(seek.value);
    seek.value = null;
  });
  const nothing = done && rows.length === 0 && turns.length === 0;
  return (
    <Panel title="Timeline" side={<Sounding sound={sound} />}>
      {error !== null && <ErrorNote error={error} calm={rows.length > 0} />}
      {nothing ? (
        error === null && (
          <Empty title="No timeline">{head.withheld || "Nothing of this session is recorded."}</Empty>
        )
      ) : rows.length === 0 && !done ? (
        <Loading what="the timeline" lines={6} />
      ) : (
        <div class="stack">
          <Lanes
            given={given}
            atMs={sound.atMs}
            onSeek={(ms) => sound.seek(ms)}
            onPlay={() => sound.toggle()}
          />
          {total > ROWS_MAX && (
            <p class="muted">
              The first {count(ROWS_MAX)} of {count(total)} rows are drawn; the table has all of them.
            </p>
          )}
          <RowsTable
            tenant={item.tenant}
            id={item.id}
            rows={rows}
            turns={turns.map((turn) => turn.number)}
            onSeek={(ms) => sound.seek(ms)}
          />
        </div>
      )}
    </Panel>
  );
}

function Sounding({ sound }: { sound: Sound }) {
  const ready = sound.ready.value;
  const at = useComputed(() => clock(sound.atMs.value));
  return (
    <div class="sounding" data-testid="sound" data-ready={ready} data-playing={String(sound.playing.value)}>
      <span class="num muted" data-testid="sound-at">
        {at}
      </span>
      {ready === "none" ? (
        <span class="muted">no sound is recorded</span>
      ) : (
        <button
          type="button"
          class="button small"
          disabled={ready === "loading"}
          onClick={() => sound.toggle()}
          data-testid="play"
        >
          <Icon name={sound.playing.value ? "pause" : "play"} size={12} />
          {ready === "loading" ? "Loading" : sound.playing.value ? "Pause" : "Play"}
        </button>
      )}
      {sound.problem.value !== "" && (
        <span role="alert" class="sounding-problem">
          {sound.problem.value}
        </span>
      )}
    </div>
  );
}
