/**
 * What sessions of a random life forget, counted from outside: of every head the positions it holds, and for every position
 * that a head lacks a span of the ledger.
 *
 *   head without a window: held positions go up and are below the number of tokens computed
 *   a position that some head lacks is in a span of the ledger, and every position of a span is lacked by some head
 *   what is pinned, and was there when it was pinned or came later, is there
 * @module
 */
import * as assert from "uvu/assert";
import type { Model } from "../../host/model.ts";
import type { Session } from "../../host/session.ts";
import type { Pin } from "../../host/token-turn.ts";

/** Positions by head, over the layers that see everything. */
function heldBy({ config }: Model, session: Session): number[][] {
  return session
    .kept()
    .filter((_, layer) => config.layers[layer]!.window === 0)
    .flat();
}

/** How many of those heads lack each position. */
function lacking(held: readonly (readonly number[])[], nTokens: number): Uint32Array {
  const lack = new Uint32Array(nTokens).fill(held.length);
  for (const positions of held) for (const position of positions) lack[position]! -= 1;
  return lack;
}

/** Positions of a pin that can be kept: those that no head has forgotten yet. */
export function guardedBy(model: Model, session: Session, { first, end }: Pin): number[] {
  const { cachedTokens } = session.stats;
  const lack = lacking(heldBy(model, session), cachedTokens);
  return Array.from({ length: end - first }, (_, i) => first + i).filter((p) => p >= cachedTokens || lack[p] === 0);
}

/** @throws Error that says what does not add up */
export function checkForgotten(model: Model, session: Session, guarded: ReadonlySet<number>): void {
  const { cachedTokens, evictedTokens } = session.stats;
  const held = heldBy(model, session);
  for (const [i, positions] of held.entries()) {
    const wrong = positions.findIndex((p, at) => p >= cachedTokens || (at > 0 && p <= positions[at - 1]!));
    if (wrong >= 0) throw new Error(`position ${positions[wrong]} of head ${i} is out of order, of ${cachedTokens}`);
  }
  const lack = lacking(held, cachedTokens);
  const told = new Uint8Array(cachedTokens);
  for (const { first, end, heads, bytes } of session.ledger) {
    assert.ok(first < end && end <= cachedTokens && heads > 0 && bytes > 0, `a span ${first} to ${end}`);
    told.fill(1, first, end);
  }
  lack.forEach((heads, p) => {
    if (heads > 0 !== (told[p] === 1)) throw new Error(`${heads} heads lack token ${p}; in the ledger: ${told[p]}`);
    if (heads > 0 && guarded.has(p)) throw new Error(`${heads} heads lack token ${p}, which is pinned`);
  });
  assert.is(
    evictedTokens,
    told.reduce((sum, one) => sum + one, 0),
    "tokens of the ledger",
  );
}
