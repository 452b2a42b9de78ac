/**
 * Runs drawn cases of changed model files and keeps the ones that fail. The drawing depends on the seed alone.
 * @module
 */
import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { baseFiles, LIMITS, runCase } from "./model-case.ts";
import { arbitraryCase, type MutatedCase, mutate } from "./model-mutation.ts";
import { writeSizes } from "./model-sizes.ts";

/** Every input that ever failed, replayed by `npm test`. */
export const CORPUS = "test/golden/fuzz";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;
/** Instances are garbage that the collector does not hurry to take; a growth of this much asks it to. */
const COLLECT_BYTES = 256 << 20;

const bases = baseFiles();
const cases = arbitraryCase(bases.length);

/** How many cases ended how: "ran" or the code of a refusal, with "text: " before it for what text met. */
export type Tally = Map<string, number>;

export interface FuzzOptions {
  readonly seed: number;
  readonly runs: number;
  /** Called before each case. */
  readonly onCase?: (drawn: MutatedCase) => void;
}

/** @throws fast-check's report of the smallest case that fails, after writing its file into `CORPUS` */
export async function fuzz({ seed, runs, onCase }: FuzzOptions): Promise<Tally> {
  const tally: Tally = new Map();
  let floor = process.memoryUsage.rss();
  const check = async (drawn: MutatedCase): Promise<void> => {
    onCase?.(drawn);
    const bytes = fileOf(drawn);
    const { end, text } = await runCase(bytes, drawn);
    for (const what of text === end ? [end] : [end, `text: ${text}`]) tally.set(what, (tally.get(what) ?? 0) + 1);
    if (process.memoryUsage.rss() < floor + COLLECT_BYTES) return;
    collect();
    floor = process.memoryUsage.rss();
    const grown = await measureGrowth(bytes, drawn);
    const allowed = bytes.byteLength + LIMITS.bytesBesidesFile;
    if (grown > allowed) throw new Error(`a file of ${bytes.byteLength} bytes made the process grow by ${grown}`);
  };
  const details = await fc.check(fc.asyncProperty(cases, check), { seed, numRuns: runs });
  if (!details.failed) return tally;
  const [smallest] = details.counterexample ?? [];
  const path = smallest === undefined ? "nothing" : save(fileOf(smallest));
  const cause = details.errorInstance;
  const stack = cause instanceof Error ? cause.stack : String(cause);
  throw new Error(`seed ${seed}: ${JSON.stringify(smallest)} fails and is written to ${path}: ${stack}`);
}

/** The file of a case. */
export function fileOf(drawn: MutatedCase): Uint8Array<ArrayBuffer> {
  const base = typeof drawn.base === "number" ? bases[drawn.base]! : writeSizes(drawn.base);
  return new Uint8Array(mutate(base, drawn));
}

/** How much the process grows by one case when nothing is left over from others: the last of three tries. */
async function measureGrowth(bytes: Uint8Array<ArrayBuffer>, options: MutatedCase): Promise<number> {
  let grown = 0;
  for (let attempt = 0; attempt < 3; ++attempt) {
    collect();
    const before = process.memoryUsage.rss();
    await runCase(bytes, options);
    grown = process.memoryUsage.rss() - before;
  }
  return grown;
}

/** Writes a file into the corpus and says where. */
export function save(bytes: Uint8Array): string {
  mkdirSync(CORPUS, { recursive: true });
  const path = `${CORPUS}/${createHash("sha256").update(bytes).digest("hex").slice(0, 12)}.gguf`;
  writeFileSync(path, bytes);
  return path;
}
