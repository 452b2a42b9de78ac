/**
 * What a part of the bench leaves behind: one JSON file with every sample, from which docs/benchmarks.md is written.
 * @module
 */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { availableParallelism, cpus, release } from "node:os";
import { join } from "node:path";
import { median } from "./statistics.ts";

/** What is known about one side: versions, build, options. */
export type SideInfo = Readonly<Record<string, string | number | readonly string[]>>;

/** A side that was not measured, and why. */
export interface Skipped {
  readonly side: string;
  readonly reason: string;
}

export interface CaseResult {
  readonly case: string;
  /** More is better, but for "s" and "bytes". */
  readonly unit: string;
  /** Round by round; the same index is the same round on all sides. */
  readonly samples: Readonly<Record<string, readonly number[]>>;
  /** Processor time over wall time, where known. */
  readonly cpu: Readonly<Record<string, readonly number[]>>;
}

export interface PartResult {
  readonly part: string;
  readonly sides: Readonly<Record<string, SideInfo>>;
  readonly skipped: readonly Skipped[];
  readonly cases: readonly CaseResult[];
  /** Text that belongs to the figures. */
  readonly notes?: readonly string[];
}

/** A part as it lies in its file. */
export interface StoredPart extends PartResult {
  readonly command: string;
  readonly date: string;
  readonly machine: Machine;
}

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly os: string;
  readonly node: string;
  /** SIMD extensions that matter to the peers, as Linux names them. */
  readonly simd: readonly string[];
}

const EXTENSIONS = ["avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "asimd", "asimddp", "i8mm"];

export async function describeMachine(): Promise<Machine> {
  const information = await readFile("/proc/cpuinfo", "utf8").catch(() => "");
  const flags = new Set(/^(?:flags|Features)\s*:(.*)$/m.exec(information)?.[1]?.trim().split(" "));
  return {
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cores: availableParallelism(),
    os: `${process.platform} ${release().split("-")[0]} ${process.arch}`,
    node: process.version,
    simd: EXTENSIONS.filter((name) => flags.has(name)),
  };
}

/** Writes `folder`/PART.json, a case's medians beside its samples. */
export async function storePart(folder: string, command: string, part: PartResult): Promise<string> {
  const cases = part.cases.map((each) => ({ ...each, medians: mediansOf(each) }));
  const date = new Date().toISOString().slice(0, 10);
  const stored: StoredPart = { ...part, command, date, machine: await describeMachine(), cases };
  await mkdir(folder, { recursive: true });
  const file = join(folder, `${part.part}.json`);
  await writeFile(file, `${linesOf(stored)}\n`);
  return file;
}

function mediansOf({ samples }: CaseResult): Record<string, number> {
  return Object.fromEntries(Object.entries(samples).map(([side, list]) => [side, median(list)]));
}

/** JSON with a list of samples on one line and five significant digits: files that can be read and compared. */
function linesOf(value: unknown): string {
  const rounded = (_: string, each: unknown): unknown =>
    typeof each === "number" ? Number(each.toPrecision(5)) : each;
  return JSON.stringify(value, rounded, 2).replace(/\[[\s\d.,e+-]+\]/g, (list) => list.replace(/\s+/g, " "));
}

export async function readPart(folder: string, part: string): Promise<StoredPart | undefined> {
  const text = await readFile(join(folder, `${part}.json`), "utf8").catch(() => undefined);
  return text === undefined ? undefined : (JSON.parse(text) as StoredPart);
}
