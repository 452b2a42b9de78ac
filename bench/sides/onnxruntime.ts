/**
 * `node onnxruntime.js PEERS_DIR`: onnxruntime-web's CPU provider as a side (lib/line-side.ts), one thread, in GMAC/s.
 *
 *   {graph: "int8" | "q4" | "q4 int8", rows, k, n}      DynamicQuantizeMatMul, MatMulNBits, the latter at accuracy level 4
 *
 * A sample runs the session as an application does: x goes in and y comes out through its tensors.
 * @module
 */
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { createRandom } from "../../host/random.ts";
import type { Request } from "../lib/interleave.ts";
import { dynamicQuantizeMatMul, matMulNBits, type ProductShape, type Protobuf } from "../lib/onnx-graph.ts";
import { serveLines } from "../lib/serve-lines.ts";
import type { Run } from "./run.ts";

/** As in kernels.ts, and long enough for several runs of 128 rows. */
const SAMPLE_MS = 200;

/** What is used of onnxruntime-web, which is no dependency of ours. */
interface Session {
  run(feeds: Record<string, unknown>): Promise<Record<string, { readonly data: Float32Array }>>;
  release(): Promise<void>;
}
interface OnnxRuntime {
  readonly env: { logLevel: string; readonly wasm: { numThreads: number } };
  readonly InferenceSession: { create(model: Uint8Array, options: object): Promise<Session> };
  readonly Tensor: new (type: "float32", data: Float32Array, dims: readonly number[]) => unknown;
}

const modules = resolve(process.argv[2]!, "node_modules");
const requirePeer = createRequire(pathToFileURL(join(modules, "x.js")));
const ort = (await import(pathToFileURL(join(modules, "onnxruntime-web/dist/ort.node.min.mjs")).href)) as OnnxRuntime;
const protobuf = requirePeer("protobufjs") as Protobuf;
const { version } = JSON.parse(await readFile(join(modules, "onnxruntime-web/package.json"), "utf8"));
ort.env.wasm.numThreads = 1;
ort.env.logLevel = "error";

const GRAPHS: Readonly<Record<string, (shape: ProductShape) => Uint8Array>> = {
  int8: (shape) => dynamicQuantizeMatMul(protobuf, shape),
  q4: (shape) => matMulNBits(protobuf, shape, 0),
  "q4 int8": (shape) => matMulNBits(protobuf, shape, 4),
};

const prepared = { key: "", run: undefined as (Omit<Run, "call"> & { call(): Promise<unknown> }) | undefined };

async function prepare({ graph, rows, k, n }: Request) {
  const shape = { rows: Number(rows), k: Number(k), n: Number(n) };
  const make = GRAPHS[String(graph)];
  if (make === undefined) throw new Error(`no graph ${graph}`);
  const session = await ort.InferenceSession.create(make(shape), { executionProviders: ["wasm"] });
  const random = createRandom(7);
  const data = Float32Array.from({ length: shape.rows * shape.k }, () => 2 * random.next() - 1);
  const x = new ort.Tensor("float32", data, [shape.rows, shape.k]);
  const { y } = await session.run({ x });
  if (!y?.data.every(Number.isFinite)) throw new Error(`${graph} gave no numbers`);
  return { macs: shape.rows * shape.k * shape.n, call: () => session.run({ x }) };
}

const info = {
  runtime: `onnxruntime-web ${version}`,
  host: `Node ${process.version}`,
  threads: 1,
};
await serveLines(info, async (request) => {
  const key = JSON.stringify(request);
  if (prepared.key !== key || prepared.run === undefined) {
    prepared.run = await prepare(request);
    prepared.key = key;
  }
  const { macs, call } = prepared.run;
  const start = performance.now();
  let calls = 0;
  let elapsed = 0;
  do {
    await call();
    ++calls;
    elapsed = performance.now() - start;
  } while (elapsed < SAMPLE_MS);
  return (calls * macs) / elapsed / 1e6;
});
