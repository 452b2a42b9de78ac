/**
 * From disk to the first token, and what there is to download.
 *
 * A sample is a process of its own that loads the model and reads a one-token prompt: the whole process by the parent's
 * clock, and from `loadModel` on by its own. Once with the file in the system's page cache, once dropped from it before
 * (GNU dd's "nocache", which asks for this one file; left out where it does not work).
 * @module
 */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { type Case, interleave, type Plan, type Request, type Sample, type Side } from "../lib/interleave.ts";
import { errorLine, program } from "../lib/line-side.ts";
import type { PartResult } from "../lib/results.ts";
import { builtVariants, productWasm } from "../lib/variants.ts";
import { sizes } from "./sizes.ts";

const run = promisify(execFile);

export async function loadPart(model: string, node: string, plan: Plan): Promise<PartResult> {
  const { variants, skipped } = await builtVariants(productWasm);
  const sides = variants.map((variant): Side => {
    const args = [program("sides/first-token"), model, variant];
    const measure = (request: Request): Promise<Sample> => firstToken(request, { node, args, model });
    return { name: variant, info: { runtime: `thimble, ${variant}` }, measure, close: async () => {} };
  });
  const measured = await interleave(sides, cases(await canDrop(model)), plan);
  const bytes = await sizes();
  return {
    part: "load",
    sides: Object.fromEntries(sides.map(({ name, info }) => [name, info])),
    skipped: [...skipped, ...measured.skipped],
    cases: [...measured.cases, ...bytes],
  };
}

function cases(dropping: boolean): Case[] {
  const all: Case[] = [];
  for (const file of dropping ? ["cached", "dropped"] : ["cached"]) {
    const where = file === "cached" ? "file in the page cache" : "file dropped from the page cache";
    all.push({ label: `process start to first token, ${where}`, unit: "s", request: { file, from: "process" } });
    all.push({ label: `loadModel to first token, ${where}`, unit: "s", request: { file, from: "loadModel" } });
  }
  return all;
}

interface Start {
  readonly node: string;
  readonly args: readonly string[];
  readonly model: string;
}

async function firstToken({ file, from }: Request, { node, args, model }: Start): Promise<Sample> {
  if (file === "dropped") await drop(model);
  const start = performance.now();
  const { stdout } = await run(node, args).catch((error: { readonly stderr?: string }) => {
    throw new Error(errorLine(error.stderr ?? String(error)));
  });
  const whole = (performance.now() - start) / 1000;
  const { seconds, cpuSeconds } = JSON.parse(stdout) as { seconds: number; cpuSeconds: number };
  return { value: from === "process" ? whole : seconds, cpu: cpuSeconds / whole };
}

/** Asks the system to forget its copy of the file. */
async function drop(file: string): Promise<void> {
  await run("dd", [`if=${file}`, "iflag=nocache", "count=0", "status=none"]);
}

/** Whether `drop` works here: fincore tells how much of a file is in memory. */
async function canDrop(file: string): Promise<boolean> {
  try {
    await drop(file);
    const { stdout } = await run("fincore", ["--bytes", "--noheadings", "--output", "RES", file]);
    return Number(stdout.trim()) < 1 << 20;
  } catch {
    return false;
  }
}
