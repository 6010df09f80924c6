"use strict";
// Draws the lanes and the rows of one session. Whatever a peer wrote is only ever set as text.

const data = JSON.parse(document.getElementById("session").textContent);
const FIELDS = ["at", "lasts", "lane", "direction", "kind", "name", "node", "turn", "text", "what", "count"];
const rows = data.rows.map((values, index) => {
  const row = { index };
  FIELDS.forEach((field, place) => { row[field] = values[place]; });
  return row;
});
const byId = (id) => document.getElementById(id);
const drawing = byId("drawing"), overview = byId("overview"), player = byId("player");
const end = Math.max(data.duration, 1000);
const view = { from: 0, to: end };
const SPAN_LEAST = 200;  // ms; closer there is nothing more to see
const ROWS_AT_ONCE = 300;
let head = 0;            // where the playhead is, in ms
let picked = null;
let limit = ROWS_AT_ONCE;

// ---- small things -------------------------------------------------------------------------------------------------

function draw(parent, name, attributes, words) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (words !== undefined) made.textContent = words;
  parent.append(made);
  return made;
}

function add(parent, name, words, className) {
  const made = document.createElement(name);
  if (words !== undefined && words !== null) made.textContent = words;
  if (className) made.className = className;
  parent.append(made);
  return made;
}

const seconds = (ms, digits = 3) => (ms / 1000).toFixed(digits);

function classOf(row) {
  const name = row.name || "";
  if (row.kind !== "signal") return row.direction === "in" ? "in" : "";
  if (/cancel|abort|error|fail|reject|stale|refused|dropped|shed|exhausted|barge_in|stop$|disconnected|stall|downgraded/.test(name)) return "bad";
  if (/^(turn_|commit|close|plan_)/.test(name)) return "turn";
  if (/^(speech_|end_of_utterance|backchannel|interruption)/.test(name)) return "speech";
  if (/^(playback_|output_)/.test(name)) return "play";
  return "";
}

const described = (row) => [
  `${seconds(row.at)} s · ${row.lane} · ${row.kind}${row.name ? " " + row.name : ""}`,
  [row.node, row.turn && `turn ${row.turn}`, row.count > 1 && `${row.count} in ${seconds(row.lasts, 2)} s`].filter(Boolean).join(" · "),
  row.text, row.what,
].filter(Boolean).join("\n");

// ---- the lanes ----------------------------------------------------------------------------------------------------

const nodes = [...new Set(rows.filter((row) => row.lane === "data").map((row) => row.node || "other"))];
const lanes = [
  { name: "turns", high: 26, paint: paintTurns },
  { name: "voice", high: 40, paint: paintCaller },
  ...(data.waits.length ? [{ name: "waiting", high: 20, paint: paintWaits }] : []),
  { name: "reply", high: 40, paint: paintAssistant },
  { name: "control", high: 46, paint: (box) => paintMarks(box, rows.filter((row) => row.lane === "control"), 3) },
  ...nodes.map((node) => ({
    name: node, high: 20,
    paint: (box) => paintMarks(box, rows.filter((row) => row.lane === "data" && (row.node || "other") === node), 1),
  })),
  { name: "telemetry", high: 20, paint: (box) => paintMarks(box, rows.filter((row) => row.lane === "telemetry"), 1) },
];
const AXIS = 20;

function render() {
  const width = Math.max(drawing.clientWidth, 280);
  const gutter = width < 560 ? 80 : 96;
  const high = lanes.reduce((sum, lane) => sum + lane.high, 0) + AXIS;
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${high}`);
  const x = (ms) => gutter + (ms - view.from) / (view.to - view.from) * (width - gutter);
  let y = AXIS;
  paintAxis(svg, x, width, high);
  lanes.forEach((lane, number) => {
    draw(svg, "rect", { x: 0, y, width, height: lane.high, class: number % 2 ? "lane odd" : "lane" });
    const clip = draw(svg, "svg", { x: gutter, y, width: width - gutter, height: lane.high, viewBox: `${gutter} 0 ${width - gutter} ${lane.high}` });
    lane.paint({ svg: clip, x, high: lane.high, width });
    draw(svg, "text", { x: 6, y: y + lane.high / 2 + 4, class: "lane-name" }, lane.name.slice(0, 14));
    y += lane.high;
  });
  for (const at of data.gaps) if (inView(at)) draw(svg, "line", { x1: x(at), x2: x(at), y1: AXIS, y2: high, class: "gap" });
  if (inView(head)) draw(svg, "line", { x1: x(head), x2: x(head), y1: 0, y2: high, class: "playhead", id: "playhead" });
  drawing.replaceChildren(svg);
  drawing.x = x;
  drawing.msAt = (px) => view.from + (px - gutter) / (width - gutter) * (view.to - view.from);
  byId("window").textContent = `${seconds(view.from, 1)} to ${seconds(view.to, 1)} s of ${seconds(end, 1)} s`;
  renderOverview(width);
}

const inView = (at, lasts = 0) => at + lasts >= view.from && at <= view.to;

function paintAxis(svg, x, width, high) {
  const most = Math.max(3, Math.floor(width / 90));
  const raw = (view.to - view.from) / most, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= raw);
  for (let at = Math.ceil(view.from / step) * step; at <= view.to; at += step) {
    draw(svg, "line", { x1: x(at), x2: x(at), y1: AXIS - 4, y2: high, class: "grid" });
    draw(svg, "text", { x: Math.min(x(at), width - 4), y: 12, class: x(at) > width - 18 ? "tick last" : "tick" }, `${+(at / 1000).toFixed(3)} s`);
  }
}

function paintTurns({ svg, x, high }) {
  for (const turn of data.turns) {
    const to = turn.to === null ? end : turn.to;
    if (!inView(turn.from, to - turn.from)) continue;
    const left = x(turn.from), wide = Math.max(x(to) - left, 2);
    const fine = turn.ends === "commit";
    const band = draw(svg, "rect", { x: left, y: 3, width: wide, height: high - 6, rx: 4, class: fine ? "band" : "band bad-end" });
    tips(band, `turn ${turn.number}: ${seconds(turn.from)} to ${seconds(to)} s\n${turn.ends}`);
    if (wide > 26) draw(svg, "text", { x: Math.max(left, x(view.from)) + 6, y: high / 2 + 4 }, wide > 110 ? `${turn.number} · ${turn.ends}`.slice(0, wide / 6.5) : turn.number);
  }
}

function paintLevels({ svg, x, high, width }, levels, className) {
  const first = Math.max(0, Math.floor(view.from / data.level_ms)), last = Math.min(levels.length, Math.ceil(view.to / data.level_ms) + 1);
  const step = Math.max(1, Math.floor((last - first) / width));
  const up = [], down = [];
  for (let index = first; index < last; index += step) {
    let level = 0;
    for (let one = index; one < Math.min(index + step, last); one++) level = Math.max(level, levels[one]);
    const tall = Math.max(level / 100 * (high / 2 - 2), .4), px = x(index * data.level_ms).toFixed(1);
    up.push(`${px},${(high / 2 - tall).toFixed(1)}`);
    down.unshift(`${px},${(high / 2 + tall).toFixed(1)}`);
  }
  if (up.length > 1) draw(svg, "polygon", { points: up.concat(down).join(" "), class: className });
}

function paintCaller(box) {
  const { svg, x, high } = box;
  if (data.caller.length) { paintLevels(box, data.caller, "voice"); return; }
  const shown = data.scores.filter(([at]) => inView(at, 40));
  const step = Math.max(1, Math.floor(shown.length / 1500)), points = [];
  for (let index = 0; index < shown.length; index += step) {
    const score = Math.max(...shown.slice(index, index + step).map((one) => one[1]));
    points.push(`${x(shown[index][0]).toFixed(1)},${(high - 2 - score * (high - 6)).toFixed(1)}`);
  }
  if (points.length > 1) {
    const left = x(shown[0][0]), right = x(shown[shown.length - 1][0]);
    draw(svg, "polygon", { points: [`${left},${high - 2}`, ...points, `${right},${high - 2}`].join(" "), class: "voice" });
  }
}

/** From the end of the caller's speech to the first sound of the answer, stage by stage. */
function paintWaits({ svg, x, high }) {
  for (const { turn, from, whole, stages } of data.waits) {
    if (!inView(from, whole)) continue;
    const parts = Object.entries(stages).filter(([, lasts]) => lasts > 0);
    const words = [`turn ${turn}: the caller waited ${whole} ms`, ...parts.map(([stage, lasts]) => `${stage.replaceAll("_", " ")} ${lasts} ms`)].join("\n");
    let at = from;
    for (const [stage, lasts] of parts.length ? parts : [["unknown", whole]]) {
      const piece = draw(svg, "rect", { x: x(at), y: 4, width: Math.max(x(at + lasts) - x(at), .75), height: high - 8, class: `bar ${stage}` });
      tips(piece, words);
      at += lasts;
    }
  }
}

function paintAssistant(box) {
  const { svg, x, high } = box;
  for (const [from, to] of data.played) {
    if (!inView(from, to - from)) continue;
    const band = draw(svg, "rect", { x: x(from), y: 5, width: Math.max(x(to) - x(from), 1), height: high - 10, rx: 4, class: "reply-band" });
    tips(band, `heard from ${seconds(from)} to ${seconds(to)} s`);
  }
  if (data.assistant.length) paintLevels(box, data.assistant, "reply");
}

function paintMarks({ svg, x, high, width }, those, tiers) {
  const shown = those.filter((row) => inView(row.at, row.lasts));
  const free = Array(tiers).fill(-Infinity);  // where each tier has room again
  shown.forEach((row, number) => {
    const left = x(row.at), stream = row.lasts > 0;
    let tier = free.findIndex((until) => until <= left);
    if (tier < 0) tier = free.indexOf(Math.min(...free));
    const y = high / tiers * (tier + .5), className = `mark ${stream ? "stream" : ""} ${classOf(row)} ${row === picked ? "picked" : ""}`;
    const mark = stream
      ? draw(svg, "rect", { x: left, y: y - 4, width: Math.max(x(row.at + row.lasts) - left, 2), height: 8, rx: 2, class: className })
      : draw(svg, "circle", { cx: left, cy: y, r: 4, class: className });
    mark.dataset.row = row.index;
    tips(mark, described(row));
    free[tier] = left + 9;
    const next = shown[number + tiers], label = row.name || row.kind;
    if (tiers > 1 && !stream && (!next || x(next.at) - left > 14 + label.length * 6) && left < width - 40) {
      draw(svg, "text", { x: left + 8, y: y + 4 }, label);
      free[tier] = left + 14 + label.length * 6;
    }
  });
}

function renderOverview(width) {
  const high = 26, svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${high}`);
  const x = (ms) => ms / end * width;
  for (const turn of data.turns) {
    const to = turn.to === null ? end : turn.to;
    draw(svg, "rect", { x: x(turn.from), y: 4, width: Math.max(x(to) - x(turn.from), 1), height: high - 8, class: turn.ends === "commit" ? "band" : "band bad-end" });
  }
  for (const [from, to] of data.played) draw(svg, "rect", { x: x(from), y: 9, width: Math.max(x(to) - x(from), 1), height: high - 18, class: "reply" });
  draw(svg, "rect", { x: x(view.from) + 1, y: 1, width: Math.max(x(view.to) - x(view.from) - 2, 4), height: high - 2, rx: 3, class: "viewport" });
  draw(svg, "line", { x1: x(head), x2: x(head), y1: 0, y2: high, class: "playhead" });
  overview.replaceChildren(svg);
}

// ---- moving -------------------------------------------------------------------------------------------------------

function show(from, to) {
  const span = Math.min(Math.max(to - from, SPAN_LEAST), end);
  view.from = Math.min(Math.max(from, 0), end - span);
  view.to = view.from + span;
  render();
  if (byId("by-window").checked) renderRows();
}

function zoom(factor, around = (view.from + view.to) / 2) {
  const span = (view.to - view.from) * factor;
  const part = (around - view.from) / (view.to - view.from);
  show(around - span * part, around + span * (1 - part));
}

const pan = (part) => { const by = (view.to - view.from) * part; show(view.from + by, view.to + by); };
const moves = { back: () => pan(-.4), on: () => pan(.4), in: () => zoom(.5), out: () => zoom(2), all: () => show(0, end) };
document.querySelectorAll("[data-do]").forEach((button) => button.addEventListener("click", moves[button.dataset.do]));

const keys = { ArrowLeft: () => pan(-.15), ArrowRight: () => pan(.15), "+": moves.in, "=": moves.in, "-": moves.out, Home: () => goTo(0), End: () => goTo(end), 0: moves.all };
drawing.addEventListener("keydown", (event) => {
  if (event.key === " " && player) { event.preventDefault(); player.paused ? player.play() : player.pause(); return; }
  if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  keys[event.key]();
});
drawing.addEventListener("wheel", (event) => {
  const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY);
  if (!event.ctrlKey && !event.shiftKey && !sideways) return;
  event.preventDefault();
  if (event.ctrlKey) zoom(event.deltaY > 0 ? 1.25 : .8, drawing.msAt(event.clientX - drawing.getBoundingClientRect().left));
  else pan((sideways ? event.deltaX : event.deltaY) / 1000);
}, { passive: false });

let drag = null;
drawing.addEventListener("pointerdown", (event) => { drag = { x: event.clientX, from: view.from, to: view.to, moved: false, row: event.target.dataset.row }; });
addEventListener("pointermove", (event) => {
  if (!drag) return;
  const px = event.clientX - drag.x;
  if (Math.abs(px) > 4) drag.moved = true;
  if (!drag.moved) return;
  hideTip();
  const by = px / drawing.clientWidth * (drag.to - drag.from);
  show(drag.from - by, drag.to - by);
});
addEventListener("pointerup", (event) => {
  const over = drag;
  drag = null;
  if (!over || over.moved) return;
  if (over.row !== undefined) { pick(rows[over.row]); return; }
  goTo(drawing.msAt(event.clientX - drawing.getBoundingClientRect().left));
});

let sliding = false;
function slide(event) {
  const box = overview.getBoundingClientRect(), at = (event.clientX - box.left) / box.width * end, half = (view.to - view.from) / 2;
  show(at - half, at + half);
}
overview.addEventListener("pointerdown", (event) => { sliding = true; overview.setPointerCapture(event.pointerId); slide(event); });
overview.addEventListener("pointermove", (event) => { if (sliding) slide(event); });
overview.addEventListener("pointerup", () => { sliding = false; });

/** Put the playhead there, in sight; the sound follows. */
function goTo(at) {
  head = Math.min(Math.max(at, 0), end);
  if (player) player.currentTime = head / 1000;
  const span = view.to - view.from;
  if (inView(head)) render(); else show(head - span / 2, head + span / 2);
}

document.querySelectorAll(".jump").forEach((link) => link.addEventListener("click", (event) => {
  event.preventDefault();
  const at = Number(link.dataset.at);
  if (view.to - view.from > 15000) show(at - 3000, at + 9000);
  goTo(at);
  byId("lanes").scrollIntoView({ block: "nearest" });
}));

if (player) {
  const follow = () => {
    head = player.currentTime * 1000;
    if (!inView(head)) show(head - (view.to - view.from) * .1, head + (view.to - view.from) * .9); else render();
  };
  player.addEventListener("seeked", follow);
  const tick = () => { if (!player.paused) { follow(); setTimeout(() => requestAnimationFrame(tick), 60); } };
  player.addEventListener("play", tick);
}

// ---- what a mark is -------------------------------------------------------------------------------------------------

const tip = add(document.body, "div");
tip.id = "tip";
tip.hidden = true;
function hideTip() { tip.hidden = true; }
function tips(mark, words) {
  mark.addEventListener("pointerenter", (event) => {
    if (drag && drag.moved) return;
    tip.textContent = words;
    tip.hidden = false;
    const left = Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 8);
    tip.style.left = `${Math.max(left, 4)}px`;
    tip.style.top = `${event.clientY + 16 + tip.offsetHeight > innerHeight ? event.clientY - tip.offsetHeight - 10 : event.clientY + 16}px`;
  });
  mark.addEventListener("pointerleave", hideTip);
}

// ---- the rows -------------------------------------------------------------------------------------------------------

const choices = { lane: (row) => row.lane, kind: (row) => row.kind, node: (row) => row.node, turn: (row) => row.turn, signal: (row) => row.kind === "signal" ? row.name : null };
for (const [name, of] of Object.entries(choices)) {
  const values = [...new Set(rows.map(of).filter((value) => value !== null && value !== undefined && value !== ""))];
  values.sort((one, other) => typeof one === "number" && typeof other === "number" ? one - other : String(one).localeCompare(String(other)));
  for (const value of values) add(byId(`by-${name}`), "option", String(value)).value = String(value);
}

function wanted() {
  const asked = Object.entries(choices).map(([name, of]) => [byId(`by-${name}`).value, of]).filter(([value]) => value !== "");
  const find = byId("by-find").value.trim().toLowerCase(), inside = byId("by-window").checked;
  return rows.filter((row) => asked.every(([value, of]) => String(of(row)) === value)
    && (!inside || inView(row.at, row.lasts))
    && (!find || [row.kind, row.name, row.node, row.text, row.what].some((one) => one && String(one).toLowerCase().includes(find))));
}

function renderRows() {
  const found = wanted(), body = byId("table").tBodies[0];
  const made = found.slice(0, limit).map((row) => {
    const line = document.createElement("tr");
    if (row === picked) line.className = "picked";
    const time = add(line, "td", null, "number"), button = add(time, "button", seconds(row.at));
    button.type = "button";
    button.addEventListener("click", () => pick(row, true));
    add(line, "td", `${row.direction === "in" ? "▸" : "●"} ${row.lane}`, row.lane);
    add(line, "td", row.kind);
    add(line, "td", row.name);
    add(line, "td", row.node);
    add(line, "td", row.turn);
    add(line, "td", row.text);
    add(line, "td", row.count > 1 ? `${row.what} (${row.count})` : row.what);
    return line;
  });
  body.replaceChildren(...made);
  const left = data.left_out ? `, ${data.left_out} more are not in this page` : "";
  byId("count").textContent = `${found.length} of ${rows.length} rows${left}`;
  byId("more").hidden = found.length <= limit;
}

/** Show a row's mark and the row itself. */
function pick(row, fromTable = false) {
  picked = row;
  const at = wanted().indexOf(row);
  if (at >= limit) limit = at + ROWS_AT_ONCE;
  if (!inView(row.at) || view.to - view.from > 30000) show(row.at - 4000, row.at + 8000);
  goTo(row.at);
  renderRows();
  const line = byId("table").querySelector("tr.picked");
  if (!line) return;
  if (fromTable) line.querySelector("button").focus(); else line.scrollIntoView({ block: "center" });
}

byId("filters").addEventListener("submit", (event) => event.preventDefault());
byId("filters").addEventListener("input", () => { limit = ROWS_AT_ONCE; renderRows(); });
byId("more").addEventListener("click", () => { limit += ROWS_AT_ONCE; renderRows(); });
addEventListener("resize", render);

show(0, Math.min(end, 60000));
renderRows();
