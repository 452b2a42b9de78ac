/** `npm run soak -- --rounds N`: the soak with a line for every hundred rounds of turns. @module */
import { parseArgs } from "node:util";
import { RSS_BOUND, soak, TURNS } from "./soak.ts";

const { values } = parseArgs({ options: { rounds: { type: "string", default: "1000" } } });
const { wasmBytes, arenaBytes, rss, rounds } = await soak(Number(values.rounds), (round, now) => {
  if ((round + 1) % 100 === 0) console.log(`${round + 1} rounds, ${(now / 1e6).toFixed(1)} MB resident`);
});
const isFlat = wasmBytes[0] === wasmBytes[1] && arenaBytes[0] === arenaBytes[1];
const grown = rss[1] - rss[0];
console.log(JSON.stringify({ turns: rounds * TURNS, wasmBytes, arenaBytes, rss, grown, bound: RSS_BOUND }));
if (!isFlat || grown > RSS_BOUND) process.exitCode = 1;
