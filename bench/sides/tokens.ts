/** The requests of the token benches, answered by any `Measurer`: tokens a second. @module */
import type { Request } from "../lib/interleave.ts";
import type { Measurer } from "../prompt.ts";

export async function measureTokens(measurer: Measurer, { op, context, tokens }: Request): Promise<number> {
  const n = Number(context);
  if (op === "prefill") return n / (await measurer.prefill(n));
  if (op === "decode") return measurer.decode(n, Number(tokens));
  throw new Error(`no measure ${op}`);
}

/** Compiled code settles, and a first pass maps memory: before any case, and besides its own warm-up rounds. */
export async function warmUp(measurer: Measurer): Promise<void> {
  await measurer.prefill(64);
  await measurer.decode(16, 8);
}
