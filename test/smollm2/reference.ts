/**
 * What the SmolLM2 suites need from outside: THIMBLE_SMOLLM2 names SmolLM2-135M-Instruct.Q4_1.gguf; THIMBLE_REFERENCE, when
 * set, the folder of references with the texts that are not in the project.
 */
import { readFileSync } from "node:fs";

export const modelPath = process.env.THIMBLE_SMOLLM2;
export const referencePath = process.env.THIMBLE_REFERENCE;

const OWN = "test/golden/smollm2";

export interface Prompt {
  readonly name: string;
  readonly text: string;
  readonly ids: readonly number[];
  readonly last_logits: { readonly file: string };
  readonly greedy64: readonly number[];
  readonly greedy64_top1_minus_top2: readonly number[];
  readonly greedy64_text: string;
}

interface GoldenFile {
  readonly prompts: readonly Prompt[];
  readonly nll?: { readonly ids: readonly number[]; readonly mean_nll: number };
}

/** The golden prompts (all three with the reference folder, else our two), their logits, and the NLL text's ids. */
export function readGolden(): {
  prompts: readonly Prompt[];
  lastLogits(prompt: Prompt): Float32Array;
  nll: GoldenFile["nll"];
} {
  const folder = referencePath === undefined ? OWN : `${referencePath}/golden`;
  const golden = JSON.parse(readFileSync(`${folder}/golden.json`, "utf8")) as GoldenFile;
  return {
    prompts: golden.prompts,
    nll: golden.nll,
    lastLogits(prompt) {
      const bytes = readFileSync(`${folder}/${prompt.last_logits.file}`);
      return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
    },
  };
}

/** Says what a suite cannot run and why; never silently. */
export function notRun(what: string, variable: string): void {
  console.log(`not run: ${what} (set ${variable})`);
}
