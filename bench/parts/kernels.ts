/**
 * GMAC/s of the kernels that take the time, each alone, all builds interleaved: linear layers with the weights in the
 * caches (1536 x 576, half a megabyte in 4 bits) and from memory (65536 x 576, 21 MB in 4 bits: more than the second-level
 * cache, though a third-level cache of a server may hold it), and attention over the f32 pages of all heads.
 * @module
 */
import { access } from "node:fs/promises";
import { type Case, interleave, type Plan, type Side, withSides } from "../lib/interleave.ts";
import { openLineSide, program } from "../lib/line-side.ts";
import type { PartResult } from "../lib/results.ts";
import type { Build } from "../lib/variants.ts";

/** The forms of quantized weights, and what tensor types they are for. */
const FORMS = {
  Q4: "Q4_0",
  Q4_MIN: "Q4_1",
  Q8: "Q8_0",
  Q8_MIN: "Q5_1",
  Q8_WIDE: "IQ4_XS",
  Q4_MIN_WIDE: "Q4_K",
  Q8_MIN_WIDE: "Q5_K",
  Q4_WIDE_16: "Q3_K",
  Q8_WIDE_16: "Q6_K",
  Q4_MIN_WIDE_16: "Q2_K",
} as const;
const PLACES = [
  ["cache", 1536],
  ["memory", 65536],
] as const;
const COLUMNS = 576;
const GEMM_TOKENS = 64;
const SLOTS = [128, 2048, 7168] as const;

/** @param builds - `test` builds by name; one that is not there or does not start is left out */
export async function kernelsPart(builds: readonly Build[], node: string, plan: Plan): Promise<PartResult> {
  const openers: Record<string, () => Promise<Side>> = {};
  for (const { name, file } of builds) {
    openers[name] = async () => {
      await access(file).catch(() => {
        throw new Error(`${file} was not built`);
      });
      const env = { THIMBLE_TEST_WASM: file };
      return openLineSide(name, { program: node, args: [program("sides/kernels")], env });
    };
  }
  const { result, sides, skipped } = await withSides(openers, plan.log, (open) => interleave(open, cases(), plan));
  return { part: "kernels", sides, skipped: [...skipped, ...result.skipped], cases: result.cases };
}

function cases(): Case[] {
  const all: Case[] = [];
  for (const [place, rows] of PLACES) {
    for (const [form, type] of Object.entries(FORMS)) {
      const shape = { form, rows, columns: COLUMNS };
      const label = `${form} (${type}), ${rows} x ${COLUMNS}, from ${place}`;
      all.push({ label: `GEMV ${label}`, unit: "GMAC/s", request: { kernel: "gemv", ...shape } });
      const request = { kernel: "gemm", ...shape, tokens: GEMM_TOKENS };
      all.push({ label: `GEMM ${label}`, unit: "GMAC/s", request });
    }
  }
  for (const slots of SLOTS) {
    all.push({ label: `attention, ${slots} slots`, unit: "GMAC/s", request: { kernel: "attention", slots } });
  }
  return all;
}
