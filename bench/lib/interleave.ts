/**
 * How everything here is timed: each round measures a case on all sides, one right after the other (A B A B), because the
 * machine is shared and drifts. Cases are the outer loop, so that a side keeps what a case needs (a cache of 7,000 tokens)
 * from round to round. Rounds before the first counted one warm up.
 * @module
 */
import type { CaseResult, SideInfo, Skipped } from "./results.ts";

/** What a side is asked to measure: plain data, since most sides live in processes of their own. */
export type Request = Readonly<Record<string, string | number>>;

export interface Sample {
  /** In the case's unit. */
  readonly value: number;
  /** Processor time over wall time, where the side can tell: 1 says that one thread did the work undisturbed. */
  readonly cpu?: number;
}

/** One runtime, ready to measure. */
export interface Side {
  readonly name: string;
  readonly info: SideInfo;
  measure(request: Request): Promise<Sample>;
  close(): Promise<void>;
}

export interface Case {
  readonly label: string;
  readonly unit: string;
  readonly request: Request;
  /** Names of the sides that can measure it. Default: all. */
  readonly only?: readonly string[];
}

export interface Plan {
  readonly rounds: number;
  /** Uncounted rounds. */
  readonly warmups: number;
  /** Takes a line of progress. */
  readonly log: (line: string) => void;
}

/** Cases with samples round by round. A side that fails is left out from that case on, and its error is kept. */
export async function interleave(
  sides: readonly Side[],
  cases: readonly Case[],
  { rounds, warmups, log }: Plan,
): Promise<{ cases: CaseResult[]; skipped: Skipped[] }> {
  const failed = new Set<Side>();
  const skipped: Skipped[] = [];
  const results: CaseResult[] = [];
  for (const { label, unit, request, only } of cases) {
    const taking = sides.filter((side) => !failed.has(side) && (only?.includes(side.name) ?? true));
    const samples = new Map<Side, Sample[]>(taking.map((side) => [side, []]));
    for (let round = -warmups; round < rounds; ++round) {
      const line: string[] = [];
      for (const side of samples.keys()) {
        try {
          const sample = await side.measure(request);
          if (round >= 0) samples.get(side)!.push(sample);
          line.push(`${side.name} ${sample.value.toPrecision(4)}`);
        } catch (error) {
          failed.add(side);
          samples.delete(side);
          skipped.push({ side: side.name, reason: `${label}: ${messageOf(error)}` });
          line.push(`${side.name} failed: ${messageOf(error)}`);
        }
      }
      log(`${label}, ${round < 0 ? "warm-up" : `round ${round + 1} of ${rounds}`}: ${line.join(", ")} ${unit}`);
    }
    results.push(caseResult(label, unit, samples));
  }
  return { cases: results, skipped };
}

function caseResult(label: string, unit: string, measured: ReadonlyMap<Side, readonly Sample[]>): CaseResult {
  const of = (pick: (sample: Sample) => number | undefined): Record<string, number[]> => {
    const entries = [...measured].map(([side, list]) => [side.name, list.map(pick)] as const);
    return Object.fromEntries(entries.filter((entry): entry is [string, number[]] => !entry[1].includes(undefined)));
  };
  return { case: label, unit, samples: of(({ value }) => value), cpu: of(({ cpu }) => cpu) };
}

/** Opens what can be opened, closes all at the end, and says what could not be opened. */
export async function withSides<T>(
  openers: Readonly<Record<string, () => Promise<Side>>>,
  log: (line: string) => void,
  body: (sides: readonly Side[]) => Promise<T>,
): Promise<{ result: T; sides: Record<string, SideInfo>; skipped: Skipped[] }> {
  const sides: Side[] = [];
  const skipped: Skipped[] = [];
  try {
    for (const [name, open] of Object.entries(openers)) {
      try {
        sides.push(await open());
      } catch (error) {
        skipped.push({ side: name, reason: messageOf(error) });
        log(`${name} left out: ${messageOf(error)}`);
      }
    }
    const infos = Object.fromEntries(sides.map((side) => [side.name, side.info]));
    return { result: await body(sides), sides: infos, skipped };
  } finally {
    for (const side of sides) await side.close();
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
