/** A sample of the soak; `npm run soak` runs as many rounds as wanted. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { RSS_BOUND, soak, TURNS } from "./soak.ts";

const ROUNDS = 60;

test(`${ROUNDS * TURNS} turns: WebAssembly memory is flat, and the process does not grow`, async () => {
  const { wasmBytes, arenaBytes, rss } = await soak(ROUNDS);
  assert.is(wasmBytes[1], wasmBytes[0]);
  assert.is(arenaBytes[1], arenaBytes[0]);
  assert.ok(rss[1] - rss[0] <= RSS_BOUND, `resident memory went from ${rss[0]} to ${rss[1]} bytes`);
});

test.run();
