/**
 * A document of any length in a cache of fixed bytes, and an account of what was given up for it: `npm run examples:build &&
 * node build/examples/long-context.js [MAX_BYTES] [POLICY]`.
 *
 * The session may hold `maxBytes` of keys and values. When they are full the policy says what goes: "streaming" the oldest pages
 * behind the first, others what they score lowest. What is pinned, the first and the newest stay. The ledger has every span that went, and `recall` brings one back.
 * @module
 */
import { loadModel } from "thimble";

const maxBytes = Number(process.argv[2] ?? 600_000);
const policy = process.argv[3] ?? "streaming";
const N_SECTIONS = 12;
const KEY = "The pass key is 48210. Remember it. 48210 is the pass key.";

const DAYS = ["the fox saw a bird", "a dog ran over the hill", "it rained in the forest", "the sun shone on the lake"];
const section = (n: number): string => {
  const days = Array.from({ length: 10 }, (_, i) => `On day ${n * 10 + i} ${DAYS[(n * 3 + i) % DAYS.length]}.`);
  return [...days.slice(0, 5), ...(n === 1 ? [KEY] : []), ...days.slice(5)].join(" ");
};

await using model = await loadModel(import.meta.resolve("thimble/models/thimble-15m.Q4_0.gguf"), {
  ...{ contextLength: 2048, policy },
});
await using session = model.session({ overflow: "evict", keep: { bytes: maxBytes } });
const options = { temperature: 0, maxTokens: 16 };

console.log("section   tokens   in the cache    bytes   WebAssembly");
for (let n = 0; n < N_SECTIONS; ++n) {
  await session.complete(`Read the text. ${section(n)}`, options);
  const { tokens, cacheBytes } = session.stats;
  const heads = session.kept().flat();
  const held = Math.round(heads.reduce((sum, positions) => sum + positions.length, 0) / heads.length);
  const row = [n, tokens, held, cacheBytes, model.stats.peakBytes];
  console.log(row.map((value, i) => String(value).padStart([7, 9, 15, 9, 14][i]!)).join(""));
}

const { evictedTokens, evictedBytes } = session.stats;
console.log(
  `\nForgotten: ${evictedTokens} tokens, ${evictedBytes} bytes, in ${session.ledger.length} spans; the longest:`,
);
const spans = [...session.ledger].sort((a, b) => b.end - b.first - (a.end - a.first));
for (const { first, end, turn, policy, heads, text } of spans.slice(0, 8)) {
  const words = text.replace(/\s+/g, " ").trim().slice(0, 48);
  console.log(`  ${first} to ${end} in turn ${turn} by ${policy} from ${heads} heads: ${words}`);
}

const ask = async (): Promise<string> => (await session.complete("What is the pass key?", options)).text.trim();
console.log(`\nWhat is the pass key? ${await ask()}`);
const at = session.text.indexOf(KEY);
const lost = session.ledger.filter(({ range }) => range.first < at + KEY.length && range.end > at);
for (const entry of lost) session.recall(entry);
if (lost.length > 0) console.log(`Recalled ${session.recalling.length} spans. What is the pass key? ${await ask()}`);
