/**
 * `THIMBLE_TEST_WASM=FILE node kernels.js`: the kernels of a `test` build as a side (lib/line-side.ts), in GMAC/s.
 *
 *   {kernel: "gemv", form, rows, columns}               one token, quantized before
 *   {kernel: "gemm", form, rows, columns, tokens}       the same with several tokens, as prefill does it
 *   {kernel: "linear", form, rows, columns, tokens}     with the quantization of the activations in the time
 *   {kernel: "attention", slots}                        one token of all heads of SmolLM2-135M
 * @module
 */
import type { Request } from "../lib/interleave.ts";
import { serveLines } from "../lib/serve-lines.ts";
import { attentionRun } from "./attention-run.ts";
import { linearRun } from "./linear-run.ts";
import type { Run } from "./run.ts";

/** A sample repeats its run for this long: above the clock's steps, below what a busy machine takes away in one piece. */
const SAMPLE_MS = 80;

const prepared = { key: "", run: undefined as Run | undefined };

/** Inputs are made once for a case and used in all its rounds. */
async function runOf(request: Request): Promise<Run> {
  const key = JSON.stringify(request);
  if (prepared.key !== key || prepared.run === undefined) {
    prepared.run = request.kernel === "attention" ? attentionRun(Number(request.slots)) : linearRun(request);
    prepared.key = key;
  }
  return prepared.run;
}

await serveLines({ runtime: "thimble, kernels alone", host: `Node ${process.version}` }, async (request) => {
  const { macs, call } = await runOf(request);
  const start = performance.now();
  let calls = 0;
  let elapsed = 0;
  do {
    call();
    ++calls;
    elapsed = performance.now() - start;
  } while (elapsed < SAMPLE_MS);
  return (calls * macs) / elapsed / 1e6;
});
