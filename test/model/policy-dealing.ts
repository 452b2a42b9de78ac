/**
 * How many slots each KV head must keep of a prompt, from the policy's dealing and the budget, and which positions none may
 * lose: what test/model/policy-table.test.ts holds every cell against. Counted here once more, not read from the engine.
 * @module
 */
import * as assert from "uvu/assert";
import { layerBudgets, type PolicyName, type PolicySpec } from "../../host/policy.ts";
import type { SessionOptions } from "../../host/token-turn.ts";

/** A prompt whose every head holds positions [0, tokens). */
export interface Table {
  readonly nLayers: number;
  readonly nKvHeads: number;
  readonly tokens: number;
  /** Positions that are pinned. */
  readonly pin: { readonly first: number; readonly end: number };
  /** Heads over all layers, those of the lowest score first, for policies that deal by them. */
  readonly byScore: readonly number[];
}

export interface Budget {
  /** As an option of a session. */
  readonly options: SessionOptions;
  /** Slots of each head where all keep as many. */
  readonly slots: number;
  /** Share of all slots that stays. */
  readonly share: number;
  /** First and newest tokens that the session keeps in any case. */
  readonly sinks: number;
  readonly window: number;
}

/** Positions that no head may lose: sinks, window, pins, and what the policy itself never lets go. */
export function guarded(
  { tokens, pin }: Table,
  { name, values, sinks: own }: PolicySpec,
  { sinks, window, slots }: Budget,
): Set<number> {
  const value = (key: string): number => values.get(key) ?? 0;
  const first = name === "compactor" || name.startsWith("kvzip") ? value("sinks") : own;
  const looksBack = name !== "chunkkv" && name !== "simlayerkv";
  const ownNewest: Partial<Record<PolicyName, number>> = {
    tova: 1,
    h2o: Math.floor(slots * value("recent")),
    compactor: value("recent"),
  };
  const newest = ownNewest[name] ?? (looksBack ? value("window") : 0);
  const stays = (p: number): boolean =>
    p < Math.max(sinks, first) || p >= tokens - Math.max(window, newest) || (p >= pin.first && p < pin.end);
  return new Set(Array.from({ length: tokens }, (_, p) => p).filter(stays));
}

export const sum = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0);

/** Each head has so many slots as its budget and dealing say. */
export function checkDealing(table: Table, policy: PolicySpec, budget: Budget, kept: readonly Uint32Array[]): void {
  const { nLayers, nKvHeads, tokens: n, byScore } = table;
  const { slots, share } = budget;
  const nHeads = kept.length;
  const lengths = kept.map(({ length }) => length);
  const layers = Array.from({ length: nLayers }, (_, i) => lengths.slice(i * nKvHeads, (i + 1) * nKvHeads));
  const fewest = guarded(table, policy, budget).size;
  const alike = (counts: readonly number[]): number[] => counts.flatMap((count) => Array(nKvHeads).fill(count));
  if (share >= 1) assert.equal(lengths, Array(nHeads).fill(n), "all");
  else if (policy.name === "chunkkv") checkChunks(table, policy, budget, kept);
  else if (policy.dealing === "uniform") {
    assert.equal(lengths, Array(nHeads).fill(Math.max(slots, fewest)), "each head its budget");
  } else if (policy.dealing === "pyramid") {
    const counts = layerBudgets(policy, nLayers, n, share).map((count) => Math.max(1, count, fewest));
    assert.equal(lengths, alike(counts), "each layer its budget");
  } else if (policy.dealing === "adaptive") {
    const safe = Math.max(fewest, Math.floor(slots * (policy.values.get("safeguard") ?? 0)));
    assert.equal(layers.map(sum), Array(nLayers).fill(nKvHeads * Math.max(slots, fewest)), "each layer its budget");
    assert.ok(
      lengths.every((held) => held >= safe),
      `each head at least ${safe}: ${lengths}`,
    );
  } else if (policy.dealing === "overall") {
    const least = nKvHeads * fewest;
    const all = Math.floor(nHeads * n * share + 1e-9);
    const sums = layers.map(sum);
    const most = sums.every((held) => held > least) ? all : all + nLayers * least; // a layer may have protected slots only
    assert.ok(
      sums.every((held) => held >= least),
      `each layer what is protected: ${sums}`,
    );
    assert.ok(sum(sums) >= all && sum(sums) <= most, `all layers ${all} to ${most}: ${sums}`);
  } else {
    const few = streaming(policy, n);
    const most = Math.floor(nHeads * n * share + 1e-9);
    let streams = 0;
    while (streams < nHeads && (nHeads - streams) * n + streams * few > most) streams += 1;
    const expected = lengths.map((_, head) => (byScore.indexOf(head) < streams ? Math.max(few, fewest) : n));
    assert.equal(lengths, expected, `${streams} heads stream`);
  }
}

/** Slots that a head keeps of n which keeps the first and the newest only. */
export function streaming({ values }: PolicySpec, n: number): number {
  return values.get("sinks")! + Math.max(values.get("recent")!, Math.floor((values.get("buffer") ?? 0) * n));
}

/** Whole chunks, the same in the heads of a layer, as many as have room with what is protected; nothing else besides. */
function checkChunks(table: Table, policy: PolicySpec, budget: Budget, kept: readonly Uint32Array[]): void {
  const { nKvHeads, tokens: n } = table;
  const chunk = policy.values.get("chunk")!;
  const stays = guarded(table, policy, budget);
  const chunks = Array.from({ length: Math.ceil(n / chunk) }, (_, c) => {
    return Array.from({ length: Math.min(chunk, n - c * chunk) }, (_, i) => c * chunk + i);
  });
  const chosen = Math.max(1, Math.floor((chunks.length * budget.slots) / n));
  kept.forEach((positions, head) => {
    const held = new Set(positions);
    assert.equal(positions, kept[head - (head % nKvHeads)], "as in the layer's other heads");
    const whole = chunks.filter((of) => of.every((p) => held.has(p)));
    const more = whole.filter((of) => !of.every((p) => stays.has(p)));
    const most = Math.max(budget.slots, stays.size);
    if (stays.size === 0) assert.is(more.length, chosen, `${more.length} chunks`);
    else
      assert.ok(positions.length <= most && positions.length + chunk > budget.slots, `${positions.length} of ${most}`);
    const within = new Set(whole.flat());
    assert.ok(
      positions.every((p) => within.has(p) || stays.has(p)),
      "parts of chunks stay where they are protected",
    );
  });
}
