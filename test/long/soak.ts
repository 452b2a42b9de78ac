/**
 * Hundreds of turns of sessions that open, fork, are saved, restored, trimmed and closed, on one model: what they take they
 * give back. After a first round WebAssembly memory does not grow by a byte, and after the warm-up the process does not
 * either but for what its allocators keep.
 *
 *   npm run soak -- --rounds 1000
 *
 * Resident memory is read after garbage collection, as the median of some rounds: of the last ones against the first ones
 * after the warm-up.
 * @module
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { Model } from "../../host/model.ts";
import type { Session } from "../../host/session.ts";
import { DEFAULT_MODEL, load, randomIds } from "../model/load.ts";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

/** Most bytes that resident memory may be higher at the end. */
export const RSS_BOUND = 4 << 20;
/** Turns of a round. */
export const TURNS = 6;
/** Rounds in which code is compiled and heaps find their size, and rounds of which a median is taken. */
const WARM_UP = 15;
const WINDOW = 9;

export interface Soak {
  readonly rounds: number;
  /** WebAssembly memory after the first round and at the end, and the arena's used part. */
  readonly wasmBytes: readonly [number, number];
  readonly arenaBytes: readonly [number, number];
  /** Medians of resident memory after the warm-up and at the end. */
  readonly rss: readonly [number, number];
}

/** @param rounds - at least the warm-up and two medians. @throws Error where pages are left after a round */
export async function soak(rounds: number, onRound?: (round: number, rss: number) => void): Promise<Soak> {
  const fewest = WARM_UP + 2 * WINDOW;
  if (!Number.isSafeInteger(rounds) || rounds < fewest) throw new RangeError(`rounds must be ${fewest} or more`);
  await using model = await load(DEFAULT_MODEL, { budget: "24MB", contextLength: 1024, keys: "q4", values: "q4" });
  const { runtime } = model.engine;
  const first: number[] = [];
  const rss: number[] = [];
  for (let round = 0; round < rounds; ++round) {
    await runRound(model, round);
    const { exports } = runtime;
    const lost = exports.poolPages() - exports.poolFreePages();
    if (lost !== 0) throw new Error(`round ${round} left ${lost} pages in use`);
    if (round === 0) first.push(runtime.memoryBytes(), exports.arenaBytes() >>> 0);
    collect();
    rss.push(process.memoryUsage.rss());
    onRound?.(round, rss.at(-1)!);
  }
  const last = [runtime.memoryBytes(), runtime.exports.arenaBytes() >>> 0];
  return {
    rounds,
    wasmBytes: [first[0]!, last[0]!],
    arenaBytes: [first[1]!, last[1]!],
    rss: [median(rss.slice(WARM_UP, WARM_UP + WINDOW)), median(rss.slice(-WINDOW))],
  };
}

/** The same steps with other tokens each time, so that the first round takes as much memory as any. */
async function runRound(model: Model, round: number): Promise<void> {
  const ids = (n: number, seed: number): number[] => randomIds(n, 4000, round * 10 + seed).map((id) => id + 50);
  const turn = (session: Session, n: number, seed: number) =>
    session.complete({ ids: ids(n, seed) }, { maxTokens: 12, seed: round, temperature: 1, ignoreEos: true });
  const session = model.session();
  await turn(session, 130, 1);
  const fork = session.fork();
  await turn(fork, 30, 2);
  const capsule = new Uint8Array(await new Response(session.save()).arrayBuffer());
  await turn(session, 20, 3);
  session.close();
  const restored = await model.restore(capsule);
  await turn(restored, 40, 4);
  restored.trim("half");
  await turn(restored, 10, 5);
  for await (const _ of fork.generate({ ids: ids(30, 6) }, { ignoreEos: true, seed: 1 })) break;
  fork.close();
  restored.close();
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}
