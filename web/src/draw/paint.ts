/** Puts a scene on a canvas, in the page's own colours, as sharp as the screen is. */
import { AXIS_PX, type Ink, type Scene } from "./scene";

export type Inks = Readonly<Record<Ink, string>>;
const NAMES: readonly Ink[] = [
  "accent",
  "ok-mark",
  "degraded-mark",
  "failed-mark",
  "notice-mark",
  "line-strong",
  "muted",
  "text",
  "line",
  "stage-token",
  "stage-llm",
];

/** The colours as they are now, light or dark, in a form that a canvas understands whatever the style says. */
export function inksOf(element: Element): Inks {
  const probe = document.createElement("span");
  element.append(probe);
  const made = NAMES.map((name) => {
    probe.style.color = `var(--${name})`;
    return [name, getComputedStyle(probe).color] as const;
  });
  probe.remove();
  return Object.fromEntries(made) as Inks;
}

/** `cursorX` is where the play head stands; null where it is out of sight. */
export function paint(canvas: HTMLCanvasElement, scene: Scene, inks: Inks, cursorX: number | null): void {
  const dense = Math.min(window.devicePixelRatio || 1, 3);
  const [wide, high] = [Math.round(scene.width * dense), Math.round(scene.height * dense)];
  if (canvas.width !== wide) canvas.width = wide;
  if (canvas.height !== high) canvas.height = high;
  const context = canvas.getContext("2d");
  if (!context) return;
  context.setTransform(dense, 0, 0, dense, 0, 0);
  context.clearRect(0, 0, scene.width, scene.height);
  context.font = `11px ${getComputedStyle(canvas).fontFamily}`;
  ground(context, scene, inks);
  context.save();
  context.beginPath();
  context.rect(scene.left, 0, scene.width - scene.left, scene.height);
  context.clip();
  shapes(context, scene, inks);
  words(context, scene, inks);
  if (cursorX !== null) {
    context.fillStyle = inks.text;
    context.fillRect(cursorX - 0.75, 0, 1.5, scene.height);
  }
  context.restore();
}

function ground(context: CanvasRenderingContext2D, scene: Scene, inks: Inks): void {
  context.fillStyle = inks.line;
  for (const { x } of scene.ticks) context.fillRect(Math.round(x), AXIS_PX - 4, 1, scene.height);
  for (const { y } of scene.bands) context.fillRect(0, y, scene.width, 1);
  context.fillStyle = inks.muted;
  context.textAlign = "center";
  for (const { x, text } of scene.ticks)
    if (x > scene.left + 14 && x < scene.width - 14) context.fillText(text, x, 13);
  context.textAlign = "left";
  for (const { name, y, high } of scene.bands) context.fillText(name, 10, y + high / 2 + 4, scene.left - 16);
}

function shapes(context: CanvasRenderingContext2D, scene: Scene, inks: Inks): void {
  for (const { kind, x, y, wide, high, ink, faint } of scene.shapes) {
    context.globalAlpha = faint ?? 1;
    context.fillStyle = context.strokeStyle = inks[ink];
    if (kind === "box") {
      context.beginPath();
      context.roundRect(x, y, wide, high, wide > 6 ? 3 : 0);
      context.fill();
    } else {
      context.beginPath();
      context.arc(x, y, wide / 2, 0, 2 * Math.PI);
      if (kind === "dot") context.fill();
      else context.stroke();
    }
  }
  context.globalAlpha = 1;
}

function words(context: CanvasRenderingContext2D, scene: Scene, inks: Inks): void {
  for (const { x, y, text, ink, wide } of scene.words) {
    context.fillStyle = inks[ink];
    context.fillText(fitted(context, text, wide), x, y);
  }
}

/** Cut rather than squeezed. */
function fitted(context: CanvasRenderingContext2D, text: string, wide: number): string {
  if (context.measureText(text).width <= wide) return text;
  let short = text;
  while (short.length > 1 && context.measureText(`${short}…`).width > wide) short = short.slice(0, -2);
  return `${short}…`;
}
