/** What policies keep while streaming, a file for each model and size of session: bench/results/stream-policies. @module */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Found } from "./needles.ts";

export const FOLDER = "bench/results/stream-policies";

export interface PolicyResult {
  readonly policy: string;
  /** Tokens that a head can hold. */
  readonly context: number;
  readonly date: string;
  readonly machine: string;
  /** Of a full session's pages, and of what the policy keeps for each slot that a head can have. */
  readonly bytes: number;
  /** Mean nats of each block of tokens, from where every session has lost some. */
  readonly nats: readonly number[];
  readonly found: readonly Found[];
}

/** Sessions of one size. */
export interface PolicyResults {
  readonly model: string;
  readonly slots: number;
  readonly forms: string;
  readonly tokens: number;
  readonly command: string;
  /** Of 4,096 tokens' keys and values in f16: the whole that shares are of. */
  readonly f16Bytes: number;
  readonly policies: PolicyResult[];
}

export async function readPolicies(): Promise<PolicyResults[]> {
  const names = (await readdir(FOLDER).catch(() => [])).filter((name) => name.endsWith(".json"));
  const all = await Promise.all(
    names.map(async (name) => JSON.parse(await readFile(join(FOLDER, name), "utf8")) as PolicyResults),
  );
  return all.sort((a, b) => a.model.localeCompare(b.model, "en") || b.slots - a.slots);
}
