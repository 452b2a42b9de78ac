/**
 * `THIMBLE_TEST_WASM=FILE node attention.js`: attention of one token over pages that no cache holds, as a side
 * (lib/line-side.ts), in GB/s of page bytes.
 *
 *   {form: "q8" | "q4" | ..., slots}                  all heads, one after the other
 *   {form, slots, what: "roof"}                         a loop that only reads the same pages
 * @module
 */
import { compileRoof } from "../lib/roof-module.ts";
import { serveLines } from "../lib/serve-lines.ts";
import { coldAttention } from "./cold-attention.ts";

const SAMPLE_MS = 300;

const roof = await WebAssembly.compile(await compileRoof(true));
const prepared = { key: "", run: undefined as ReturnType<typeof coldAttention> | undefined };

await serveLines({ runtime: "thimble, attention alone", host: `Node ${process.version}` }, async (request) => {
  const { what, form, slots } = request;
  const key = `${form} ${slots}`;
  if (prepared.key !== key || prepared.run === undefined) {
    prepared.run = undefined; // the pages of the case before go first
    prepared.run = coldAttention(String(form), Number(slots), roof);
    prepared.key = key;
  }
  const { bytes, attend, read } = prepared.run;
  const call = what === "roof" ? read : attend;
  const start = performance.now();
  let calls = 0;
  let elapsed = 0;
  do {
    call();
    ++calls;
    elapsed = performance.now() - start;
  } while (elapsed < SAMPLE_MS);
  return (calls * bytes) / elapsed / 1e6;
});
