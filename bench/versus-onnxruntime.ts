/**
 * Our 4-bit linear kernels against onnxruntime-web's matrix products, one thread, on one Node: [rows][576] times
 * [576][12288], the activations f32 on both sides and quantized inside the time. Cases of our own side and of each of its
 * operators are rounds of one run.
 * @module
 */
import { type Case, interleave, type Plan, type Side, withSides } from "./lib/interleave.ts";
import { openLineSide, program } from "./lib/line-side.ts";
import { installPeers, ONNXRUNTIME } from "./lib/peers-folder.ts";
import type { PartResult } from "./lib/results.ts";
import { builtVariants, kernelsWasm } from "./lib/variants.ts";

const K = 576;
const N = 12288;
const ROWS = [128, 1] as const;
/** Names of their sides, and the graph each runs. */
const GRAPHS = {
  "int8 DynamicQuantizeMatMul": "int8",
  "4-bit MatMulNBits": "q4",
  "4-bit MatMulNBits, accuracy level 4": "q4 int8",
} as const;

export async function versusOnnxruntime(options: {
  readonly peersDir: string;
  readonly node: string;
  readonly plan: Plan;
}): Promise<PartResult> {
  const { peersDir, node, plan } = options;
  const { variants, skipped } = await builtVariants(kernelsWasm);
  const openers: Record<string, () => Promise<Side>> = {};
  for (const variant of variants) {
    openers[variant] = async () => {
      const env = { THIMBLE_TEST_WASM: kernelsWasm(variant) };
      const side = await openLineSide(variant, { program: node, args: [program("sides/kernels")], env });
      const measure: Side["measure"] = ({ rows }) =>
        side.measure({ kernel: "linear", form: "Q4", rows: N, columns: K, tokens: rows! });
      return { ...side, measure };
    };
  }
  await installPeers(peersDir, ONNXRUNTIME, plan.log);
  for (const [name, graph] of Object.entries(GRAPHS)) {
    openers[name] = async () => {
      const side = await openLineSide(name, { program: node, args: [program("sides/onnxruntime"), peersDir] });
      return { ...side, measure: ({ rows }) => side.measure({ graph, rows: rows!, k: K, n: N }) };
    };
  }
  const cases = ROWS.map((rows): Case => ({ label: `${rows} x ${K} x ${N}`, unit: "GMAC/s", request: { rows } }));
  const twice = { ...plan, warmups: 2, rounds: 3 * plan.rounds }; // samples are short
  const { result, ...rest } = await withSides(openers, plan.log, (sides) => interleave(sides, cases, twice));
  const all = [...skipped, ...rest.skipped, ...result.skipped];
  return { part: "onnxruntime", sides: rest.sides, skipped: all, cases: result.cases };
}
