/**
 * Threads that compute one token together: instances of the module in workers, over one shared memory. The caller hands out
 * a task, does its own part and waits for the others; results do not depend on how many there are, since every part writes
 * its own outputs. Only in builds with threads; elsewhere `parallel` is a call.
 *
 *   pool:  | task, caller may sleep, stop, workers ready | .. 64 | part 1's flag | .. 128 | part 2's flag | ..
 *
 * A flag is 1 while its part is handed out and not yet done; worker and caller wait on the same word. Who waits spins a
 * little before it sleeps: tasks of a token follow each other within microseconds. A page's main thread may not sleep and
 * only spins; elsewhere the caller sleeps too, or it would take the core that a worker needs.
 */
import { arenaAlloc } from "../memory/arena";
import { Engine, engine } from "../memory/records";

const TASK: usize = 0;
const CALLER_SLEEPS: usize = 4;
const STOP: usize = 8;
const READY: usize = 12;
const LINE: usize = 64;
/**
 * Looks before sleeping, some hundreds of microseconds: longer than what the caller does between two tasks of a token, since
 * waking a sleeper takes as long as such a task (5,000 looks: decode with two threads 0.54 times that with one; 200,000: 1.67).
 */
const SPINS: u32 = 200000;

/** A task: part `part` of `parts`; what it is about lies in the engine's `job`. */
export type Task = (part: u32, parts: u32) => void;

/** Lays out the pool; after the configuration. */
export function layoutPool(e: Engine): void {
  if (e.nThreads == 0) e.nThreads = 1;
  if (ASC_FEATURE_THREADS) e.pool = arenaAlloc(<u64>e.nThreads * LINE);
}

/** Runs all parts of a task and returns when they are done. */
// @ts-ignore: decorator
@inline
export function parallel(e: Engine, task: Task): void {
  if (ASC_FEATURE_THREADS) {
    if (e.nThreads > 1) {
      handOut(e, task);
      return;
    }
  }
  task(0, 1);
}

/** The same for a task over few or many rows: with few, handing it out would take longer than doing it. */
// @ts-ignore: decorator
@inline
export function parallelRows(e: Engine, nRows: u32, task: Task): void {
  if (nRows < 8) task(0, 1);
  else parallel(e, task);
}

function handOut(e: Engine, task: Task): void {
  const pool = e.pool;
  const end = pool + <usize>e.nThreads * LINE;
  store<usize>(pool, changetype<usize>(task), TASK);
  for (let flag = pool + LINE; flag < end; flag += LINE) {
    atomic.store<i32>(flag, 1);
    atomic.notify(flag, 1);
  }
  task(0, e.nThreads);
  const sleeps = load<u32>(pool, CALLER_SLEEPS) != 0;
  for (let flag = pool + LINE; flag < end; flag += LINE) waitWhile(flag, 1, sleeps);
}

/** Returns when the word is not `value` any more. */
function waitWhile(word: usize, value: i32, sleeps: bool): void {
  for (let spins: u32 = 0; atomic.load<i32>(word) == value; ++spins) {
    if (sleeps && spins >= SPINS) atomic.wait<i32>(word, value, -1);
  }
}

/** A worker's whole life: waits for tasks and does part `part` of each, until the pool stops. */
export function work(part: u32): void {
  if (ASC_FEATURE_THREADS) {
    const e = engine();
    const pool = e.pool;
    const flag = pool + <usize>part * LINE;
    atomic.add<i32>(pool + READY, 1);
    for (;;) {
      waitWhile(flag, 0, true);
      if (atomic.load<i32>(pool + STOP) != 0) return;
      changetype<Task>(load<usize>(pool, TASK))(part, e.nThreads);
      atomic.store<i32>(flag, 0);
      atomic.notify(flag, 1);
    }
  }
}

/** Workers that have begun. */
export function workersReady(): u32 {
  if (ASC_FEATURE_THREADS) return atomic.load<u32>(engine().pool + READY);
  return 0;
}

/** Whether the caller's thread may sleep. */
export function letCallerSleep(may: u32): void {
  if (ASC_FEATURE_THREADS) store<u32>(engine().pool, may, CALLER_SLEEPS);
}

/** Lets `nThreads` - 1 workers return from `work`. */
export function stopWorkers(nThreads: u32): void {
  if (ASC_FEATURE_THREADS) {
    const pool = engine().pool;
    atomic.store<i32>(pool + STOP, 1);
    for (let part: u32 = 1; part < nThreads; ++part) {
      atomic.store<i32>(pool + part * LINE, 1);
      atomic.notify(pool + part * LINE, 1);
    }
  }
}

/** First index of a part when n things are shared out evenly, in order. */
// @ts-ignore: decorator
@inline
export function partStart(n: u32, part: u32, parts: u32): u32 {
  return <u32>((<u64>n * part) / parts);
}
