/**
 * The one call of this tab. It outlives the page that began it, so that an operator can look at its session while they speak;
 * signing out ends it.
 */
import { signal } from "@preact/signals";
import { onSignedOut } from "../api";
import { Call } from "./call";
import { NO_TALK, type Talk } from "./conversation";
import { placeOf, routeAgain } from "./places";

const SHOWN_EVERY_MS = 50; // a person sees no more than that, and frames come faster

export const talk = signal<Talk>(NO_TALK);
export const level = signal(0);
export const calling = signal(false);
export const muted = signal(false);

let call: Call | null = null;
let next: Talk = NO_TALK;
let timer: ReturnType<typeof setTimeout> | undefined;

onSignedOut(() => {
  hangUp();
  show(NO_TALK);
});

export function begin(tenant: string, pipeline: string, listening: boolean): void {
  if (call) return;
  show(NO_TALK);
  calling.value = true;
  muted.value = false;
  const mine = new Call({
    changed: (happened) => {
      if (call === mine) later(happened); // its line may still speak after it is over
    },
    level: (is) => {
      level.value = is;
    },
    over: () => {
      if (call !== mine) return;
      call = null;
      level.value = 0;
      calling.value = false;
    },
    place: () => placeOf(tenant, pipeline),
    again: (session, resume) => routeAgain(tenant, pipeline, session, resume),
  });
  call = mine;
  void mine.start(tenant, listening);
}

export function hangUp(): void {
  call?.hangUp();
}

export function type(text: string): void {
  call?.type(text);
}

export function interrupt(): void {
  call?.interrupt();
}

export function mute(is: boolean): void {
  muted.value = is;
  call?.muted(is);
}

/** What happened is shown soon, and all that happened meanwhile at once. */
function later(happened: Talk): void {
  next = happened;
  timer ??= setTimeout(() => show(next), SHOWN_EVERY_MS);
}

function show(shown: Talk): void {
  clearTimeout(timer);
  timer = undefined;
  next = shown;
  talk.value = shown;
}
