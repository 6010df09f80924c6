/** When to fetch again, without fetching: at most once in a while, never two at once, and the last wish is never lost. */

export class Paced {
  private asked = false;
  private running = false;
  private stopped = false;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private ranAtMs = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly run: () => Promise<void>,
    private readonly everyMs: number,
    private readonly nowMs: () => number = () => performance.now(),
  ) {}

  /** Run as soon as the pace allows; many wishes are one run. */
  ask(): void {
    this.asked = true;
    if (this.running || this.stopped || this.timer !== undefined) return;
    const waitMs = this.ranAtMs + this.everyMs - this.nowMs();
    if (waitMs <= 0) void this.go();
    else this.timer = setTimeout(() => void this.go(), waitMs);
  }

  /** Run now, whatever the pace: somebody pressed a button. */
  now(): void {
    this.ranAtMs = Number.NEGATIVE_INFINITY;
    clearTimeout(this.timer);
    this.timer = undefined;
    this.ask();
  }

  stop(): void {
    this.stopped = true;
    clearTimeout(this.timer);
  }

  private async go(): Promise<void> {
    this.timer = undefined;
    this.asked = false;
    this.running = true;
    this.ranAtMs = this.nowMs();
    try {
      await this.run();
    } finally {
      this.running = false;
      if (this.asked) this.ask();
    }
  }
}

/** What the server says of the journal's numbers with each message: where it is now, and where the message before had left it. */
export interface Numbered {
  sequence: number;
  after: number;
}

/**
 * The journal's number as this page has heard it. Numbers have holes, since not everything is told to everybody; something was
 * missed only where the message before this one went further than what has been heard.
 */
export class Heard {
  private last: number | null = null;

  /** True if something was missed before this message. */
  missed({ sequence, after }: Numbered): boolean {
    const missed = this.last !== null && after > this.last;
    this.last = Math.max(this.last ?? sequence, sequence);
    return missed;
  }

  /** Another connection may lead to a journal that begins anew. */
  forget(): void {
    this.last = null;
  }
}
