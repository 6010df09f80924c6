/** Where each turn's time went: one bar a turn, its stages in the order in which they add up, and the same in figures. */
import { duration } from "../parts";
import { STAGE_INKS } from "./scene";
import { barOf, highest, STAGES, stageWords, type Waited } from "./waterfall";
import "./stages.css";
import "./waterfall.css";

interface Given extends Waited {
  outcome: string;
  interruptStopMs: number | null;
}

const tone = (name: string): string => `stage-${STAGE_INKS[name] === undefined ? "unknown" : name}`;

export function Waterfall({ turns, onTurn }: { turns: readonly Given[]; onTurn: (number: number) => void }) {
  const bars = turns.map((turn) => ({ ...barOf(turn), turn }));
  const most = highest(bars.map(({ turn, ...bar }) => ({ ...bar, turn: turn.number })));
  return (
    <div class="waterfall">
      <ul class="waterfall-legend" aria-hidden="true">
        {STAGES.map((name) => (
          <li key={name}>
            <span class={`waterfall-mark ${tone(name)}`} />
            {stageWords(name)}
          </li>
        ))}
      </ul>
      <ol>
        {bars.map(({ turn, pieces, wholeMs }) => (
          <li key={turn.number} data-testid="turn" data-turn={turn.number} data-heard-after-ms={wholeMs}>
            <button
              type="button"
              class="waterfall-turn"
              onClick={() => onTurn(turn.number)}
              aria-label={`Turn ${turn.number}: show it in the timeline`}
            >
              {turn.number}
            </button>
            <div
              class="waterfall-bar"
              role="img"
              aria-label={
                pieces.length
                  ? pieces
                      .map((piece) => `${stageWords(piece.name)} ${Math.round(piece.toMs - piece.fromMs)} ms`)
                      .join(", ")
                  : "nothing was heard"
              }
            >
              {pieces.map((piece) => (
                <span
                  key={piece.name}
                  class={`waterfall-piece ${tone(piece.name)}`}
                  title={`${stageWords(piece.name)}: ${Math.round(piece.toMs - piece.fromMs)} ms`}
                  style={{
                    left: `${(piece.fromMs / most) * 100}%`,
                    width: `${((piece.toMs - piece.fromMs) / most) * 100}%`,
                  }}
                />
              ))}
            </div>
            <span class="waterfall-whole num">
              {wholeMs === null ? (
                <span class="muted">{turn.outcome === "open" ? "goes on" : "not heard"}</span>
              ) : (
                duration(wholeMs)
              )}
            </span>
            {turn.interruptStopMs !== null && (
              <span class="waterfall-stop muted num">
                interrupted, silent after {duration(turn.interruptStopMs)}
              </span>
            )}
          </li>
        ))}
      </ol>
    </div>
  );
}
