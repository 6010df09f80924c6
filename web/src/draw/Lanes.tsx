/**
 * The lanes of a session on a canvas: wheel with Ctrl zooms, dragging and the wheel sideways pan, a click puts the play head
 * there. The keyboard does the same: arrows pan, plus and minus zoom, Home and End go to the ends, space plays.
 */
import { type ReadonlySignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { inksOf, paint } from "./paint";
import { hotAt, sceneOf, type Given } from "./scene";
import { clamped, clock, following, panned, scaleOf, spanOf, zoomed, type View } from "./view";
import { useLooks, useWidth } from "./looks";
import "./stages.css";
import "./lanes.css";

const FIRST_MS = 60000; // in sight at the beginning
const DRAGGED_PX = 4; // less is a click

interface Props {
  given: Given;
  /** Where the play head stands. */
  atMs: ReadonlySignal<number>;
  onSeek: (ms: number) => void;
  onPlay: () => void;
}

export function Lanes({ given, atMs, onSeek, onPlay }: Props) {
  const frame = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const width = useWidth(frame),
    looks = useLooks();
  const end = Math.max(given.endMs, 1000);
  const [view, setView] = useState<View>(() => clamped(0, Math.min(end, FIRST_MS), end));
  const [tip, setTip] = useState("");
  const scene = useMemo(() => sceneOf(given, view, width), [given, view, width]);
  const inks = useMemo(() => (frame.current ? inksOf(frame.current) : null), [looks, width]);
  const scale = scaleOf(view, scene.left, width);
  useLayoutEffect(() => {
    if (canvas.current && width > 0) canvas.current.style.height = `${scene.height}px`;
  }, [scene.height, width]);
  useEffect(() => {
    const draw = (at: number): void => {
      if (!canvas.current || !frame.current || !width) return;
      const shown = at >= view.fromMs && at <= view.toMs;
      paint(canvas.current, scene, inks ?? inksOf(frame.current), shown ? scale.x(at) : null);
    };
    return atMs.subscribe((at) => {
      if (following(view, at, end) !== view && at > 0) setView(following(view, at, end));
      else draw(at);
    });
  }, [scene, inks, end]);
  useEffect(() => setView((old) => clamped(old.fromMs, spanOf(old), end)), [end]);
  const pan = (part: number): void => setView((old) => panned(old, part, end));
  const zoom = (factor: number, around = (view.fromMs + view.toMs) / 2): void =>
    setView((old) => zoomed(old, factor, around, end));
  const moves: Readonly<Record<string, () => void>> = {
    ArrowLeft: () => pan(-0.15),
    ArrowRight: () => pan(0.15),
    "+": () => zoom(0.5),
    "=": () => zoom(0.5),
    "-": () => zoom(2),
    "0": () => setView(clamped(0, end, end)),
    Home: () => onSeek(0),
    End: () => onSeek(end),
    " ": onPlay,
  };
  const key = (event: KeyboardEvent): void => {
    const move = moves[event.key];
    if (!move || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    move();
  };
  const pointer = usePointer(
    view,
    width - scene.left,
    (from, part) => setView(panned(from, part, end)),
    (x) => onSeek(Math.max(0, scale.ms(x))),
  );
  const over = (event: PointerEvent): void => {
    pointer.move(event);
    const box = canvas.current?.getBoundingClientRect();
    if (box) setTip(hotAt(scene, event.clientX - box.left, event.clientY - box.top)?.text ?? "");
  };
  useWheel(frame, (event, x) => {
    if (event.ctrlKey) zoom(event.deltaY > 0 ? 1.25 : 0.8, scale.ms(x));
    else pan((event.deltaX || event.deltaY) / 1000);
  });
  return (
    <div class="lanes">
      <div class="lanes-tools">
        <button type="button" class="button small" onClick={() => pan(-0.5)} aria-label="Earlier">
          ←
        </button>
        <button type="button" class="button small" onClick={() => pan(0.5)} aria-label="Later">
          →
        </button>
        <button type="button" class="button small" onClick={() => zoom(0.5)} aria-label="Look closer">
          +
        </button>
        <button type="button" class="button small" onClick={() => zoom(2)} aria-label="Look from farther">
          −
        </button>
        <button type="button" class="button small" onClick={() => setView(clamped(0, end, end))}>
          All
        </button>
        <output>
          {clock(view.fromMs)} to {clock(view.toMs)} of {clock(end)}
        </output>
      </div>
      <div
        ref={frame}
        class="lanes-frame"
        role="application"
        tabIndex={0}
        data-testid="lanes"
        data-rows={given.rows.length}
        aria-label="Timeline. Arrow keys pan, plus and minus zoom, zero shows all, Home and End go to the ends, space plays. The same as a table follows below."
        onKeyDown={key}
        onPointerDown={pointer.down}
        onPointerMove={over}
        onPointerUp={pointer.up}
        onPointerLeave={() => setTip("")}
      >
        <canvas ref={canvas} aria-hidden="true" />
      </div>
      <p class="lanes-tip" aria-live="off">
        {tip || "Point at a mark to see what it is; click to go there."}
      </p>
    </div>
  );
}

/** Dragging pans from where it began; a click that moved nothing seeks. */
function usePointer(
  view: View,
  wide: number,
  drag: (from: View, part: number) => void,
  click: (x: number) => void,
) {
  const held = useRef<{ x: number; view: View; moved: boolean } | null>(null);
  return {
    down: (event: PointerEvent): void => {
      held.current = { x: event.clientX, view, moved: false };
      (event.currentTarget as Element).setPointerCapture(event.pointerId);
    },
    move: (event: PointerEvent): void => {
      const from = held.current;
      if (!from) return;
      from.moved ||= Math.abs(event.clientX - from.x) > DRAGGED_PX;
      if (from.moved && wide > 0) drag(from.view, (from.x - event.clientX) / wide);
    },
    up: (event: PointerEvent): void => {
      const from = held.current;
      held.current = null;
      if (from && !from.moved)
        click(event.clientX - (event.currentTarget as Element).getBoundingClientRect().left);
    },
  };
}

/** The page goes on scrolling, except where the wheel means the drawing. */
function useWheel(
  frame: { readonly current: HTMLElement | null },
  turn: (event: WheelEvent, x: number) => void,
): void {
  const latest = useRef(turn);
  latest.current = turn;
  useEffect(() => {
    const element = frame.current;
    const wheel = (event: WheelEvent): void => {
      const sideways = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
      if (!event.ctrlKey && !sideways) return;
      event.preventDefault();
      latest.current(event, event.clientX - (element?.getBoundingClientRect().left ?? 0));
    };
    element?.addEventListener("wheel", wheel, { passive: false });
    return () => element?.removeEventListener("wheel", wheel);
  }, []);
}
