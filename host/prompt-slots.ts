/**
 * What the heads of a session would hold once more tokens were computed and before any of them goes.
 * @module
 */
import { Size } from "../assembly/memory/status.ts";
import { SPARE } from "./cache-pages.ts";
import type { Engine } from "./engine.ts";
import { heldPositions } from "./prompt-end.ts";

/** Slots of the head that would have most. */
export function longestAfter(engine: Engine, session: number, rows: number): number {
  const { exports } = engine.runtime;
  return Math.max(
    ...heldPositions(engine, session).map(({ length }, head) => {
      const { window } = engine.config.layers[Math.floor(head / engine.config.nKvHeads)]!;
      if (window === 0) return length + rows;
      const base = exports.headBase(session, head);
      const end = base + exports.headSlots(session, head) + rows;
      return end - Math.max(base, firstKept(end, window));
    }),
  );
}

/** First slot that a head with a window has kept of `end`: see dropHidden of assembly/cache/window.ts. */
function firstKept(end: number, window: number): number {
  return Size.PAGE_SLOTS * Math.floor(Math.max(0, end - window - SPARE) / Size.PAGE_SLOTS);
}

/**
 * Positions that each head would hold: those `before`, and [from, end). Heads with windows hold what they hold now, since nothing
 * of theirs goes at a prompt's end.
 */
export function heldAfter(
  engine: Engine,
  session: number,
  before: readonly Uint32Array[],
  from: number,
  end: number,
): Uint32Array[] {
  const { layers, nKvHeads } = engine.config;
  const now = heldPositions(engine, session);
  return before.map((positions, head) => {
    if (layers[Math.floor(head / nKvHeads)]!.window !== 0) return now[head]!;
    const held = new Uint32Array(positions.length + end - from);
    held.set(positions);
    for (let position = from; position < end; ++position) held[positions.length + position - from] = position;
    return held;
  });
}
