/**
 * Ours against llama.cpp native on one model file: one thread each, one process, A B A B.
 *
 *   npx esbuild bench/versus-native.ts --bundle --packages=external --format=esm --platform=node --target=node20 \
 *     --outfile=build/bench/versus-native.js
 *   node build/bench/versus-native.js --model FILE.gguf --peers DIR
 *
 * Machines are shared and drift, so each round measures a case on both sides, one right after the other. Columns are
 * medians over the rounds; the ratio is the median of the rounds' own ratios, with their range. A first round is not
 * counted. "cpu" is processor time over wall time of all counted calls: 1.0 says that one thread did the work, less
 * says that other programs took the core.
 */

import { availableParallelism, cpus, release } from "node:os";
import { basename } from "node:path";
import { parseArgs } from "node:util";
import Table from "cli-table3";
import { measureNative } from "./native.ts";
import { measureOurs } from "./ours.ts";
import type { Measurer } from "./prompt.ts";

const USAGE = `node build/bench/versus-native.js --model FILE.gguf [options]
  --peers DIR      folder node-llama-cpp is installed in (default: THIMBLE_PEERS)
  --rounds N       counted rounds (default 5)
  --prefill LIST   prompt lengths, in tokens (default 128,512)
  --decode LIST    context lengths to decode behind, in tokens (default 128)
  --tokens N       tokens to decode (default 64)
  --flash MODE     llama.cpp flash attention: auto, on or off (default auto)
  --json           print an object instead of tables`;

const FLASH_MODES: Record<string, boolean | "auto"> = { auto: "auto", on: true, off: false };

interface Case {
  label: string;
  /** Tokens per second. */
  run(measurer: Measurer): Promise<number>;
}

interface Row {
  case: string;
  /** Tokens per second, round by round. */
  ours: number[];
  native: number[];
}

function casesOf(prefillLengths: number[], contextLengths: number[], nTokens: number): Case[] {
  return [
    ...prefillLengths.map((n) => ({ label: `prefill ${n}`, run: async (m: Measurer) => n / (await m.prefill(n)) })),
    ...contextLengths.map((n) => ({ label: `decode @${n}`, run: (m: Measurer) => m.decode(n, nTokens) })),
  ];
}

/** Rows of tokens per second, and processor time over wall time of each side. */
async function alternate(ours: Measurer, native: Measurer, cases: Case[], nRounds: number) {
  const rows: Row[] = cases.map(({ label }) => ({ case: label, ours: [], native: [] }));
  const sides = [
    { key: "ours", measurer: ours, cpu: 0, wall: 0 },
    { key: "native", measurer: native, cpu: 0, wall: 0 },
  ] as const;
  for (let round = -1; round < nRounds; ++round) {
    for (const [i, { run }] of cases.entries()) {
      for (const side of sides) {
        const cpuBefore = process.cpuUsage();
        const start = performance.now();
        const rate = await run(side.measurer);
        if (round < 0) continue;
        const { user, system } = process.cpuUsage(cpuBefore);
        Object.assign(side, { cpu: side.cpu + (user + system) / 1000, wall: side.wall + performance.now() - start });
        rows[i]![side.key].push(rate);
      }
    }
  }
  return { rows, cpuPerWall: { ours: sides[0].cpu / sides[0].wall, native: sides[1].cpu / sides[1].wall } };
}

function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function summarize({ case: label, ours, native }: Row) {
  const ratios = ours.map((rate, round) => rate / native[round]!);
  return {
    case: label,
    ours: median(ours),
    native: median(native),
    ratio: median(ratios),
    ratioMin: Math.min(...ratios),
    ratioMax: Math.max(...ratios),
  };
}

function lengths(list: string): number[] {
  const parsed = list.split(",").filter(Boolean).map(Number);
  if (parsed.some((n) => !Number.isInteger(n) || n < 1)) throw new RangeError(`[bench] "${list}": expected 128,512`);
  return parsed;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      model: { type: "string" },
      peers: { type: "string", default: process.env.THIMBLE_PEERS ?? "" },
      rounds: { type: "string", default: "5" },
      prefill: { type: "string", default: "128,512" },
      decode: { type: "string", default: "128" },
      tokens: { type: "string", default: "64" },
      flash: { type: "string", default: "auto" },
      json: { type: "boolean", default: false },
    },
  });
  const { model, peers } = values;
  if (model === undefined || peers === "") {
    console.error(USAGE);
    process.exitCode = 2;
    return;
  }
  const [nRounds, nTokens] = [lengths(values.rounds)[0]!, lengths(values.tokens)[0]!];
  const cases = casesOf(lengths(values.prefill), lengths(values.decode), nTokens);
  const flashAttention = FLASH_MODES[values.flash];
  if (flashAttention === undefined) throw new RangeError(`[bench] --flash ${values.flash}: auto, on or off`);

  const native = await measureNative({ peersDir: peers, model, threads: 1, flashAttention });
  const ours = await measureOurs({ model, threads: 1 });
  const { rows, cpuPerWall } = await alternate(ours, native, cases, nRounds);
  const machine = {
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cores: availableParallelism(),
    os: `${process.platform} ${release()} ${process.arch}`,
    node: process.version,
  };
  const summary = rows.map(summarize);
  if (values.json) {
    const report = {
      machine,
      model: basename(model),
      nRounds,
      nTokens,
      native: native.info,
      cpuPerWall,
      summary,
      rows,
    };
    console.log(JSON.stringify(report, null, 2));
  } else {
    const table = new Table({
      head: ["tokens/s, 1 thread", ours.name, native.name, "ratio", "range"],
      colAligns: ["left", "right", "right", "right", "right"],
      style: { head: [], border: [] },
    });
    for (const row of summary) {
      const range = `${row.ratioMin.toFixed(2)}-${row.ratioMax.toFixed(2)}`;
      table.push([row.case, row.ours.toFixed(1), row.native.toFixed(1), row.ratio.toFixed(2), range]);
    }
    table.push(["cpu", cpuPerWall.ours.toFixed(2), cpuPerWall.native.toFixed(2), "", ""]);
    console.log(`${basename(model)}, median of ${nRounds} rounds, ${nTokens} tokens decoded`);
    console.log(`${machine.cpu}, ${machine.cores} cores, ${machine.os}, node ${machine.node}`);
    console.log(`${native.info.release}, ${native.info.backend}, flash attention ${values.flash}`);
    console.log(native.info.systemInfo);
    console.log(table.toString());
  }
  await ours.close();
  await native.close();
}

await main();
