/**
 * A plan from where the file is: opens nothing but its header.
 * @module
 */
import { readHeader } from "./gguf.ts";
import { type Plan, type PlanOptions, planHeader } from "./plan.ts";
import type { ByteSource, ModelSource } from "./source.ts";
import { openSource } from "./sources.ts";

/** What decides the plan, and a signal that ends the reading of the header. */
export interface SourcePlanOptions extends PlanOptions {
  /** Aborts; the signal's reason is then thrown. */
  readonly signal?: AbortSignal;
}

/** As `plan`, of an open source, which is closed at the end whatever happens. @throws ThimbleError; see `planHeader` */
export async function planFrom(source: ByteSource, options: SourcePlanOptions = {}): Promise<Plan> {
  try {
    return planHeader(await readHeader(source, options.signal), options);
  } finally {
    await source.close();
  }
}

/**
 * What a GGUF model takes and what fits a budget, from its header alone; bindings also take paths and addresses.
 *
 * @example
 * const { fits, largestContext, ladder } = await plan(file, { budget: "128MB", contextLength: 4096 });
 *
 * @throws ThimbleError with the codes of `readHeader` and `planHeader`; the signal's reason when aborted
 */
export async function plan(source: ModelSource, options: SourcePlanOptions = {}): Promise<Plan> {
  return planFrom(openSource(source), options);
}
