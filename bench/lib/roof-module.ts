/**
 * The memory roof: a WebAssembly loop that only reads, 64 bytes a step, so that what limits it is the memory (or the cache)
 * the bytes come from. Compiled when needed, from these lines of AssemblyScript.
 * @module
 */
import asc from "assemblyscript/asc";

const SOURCE = `
/** Sums n bytes, a multiple of 64, in four independent chains. */
export function sum(at: usize, n: usize): i64 {
  let a = i64x2.splat(0), b = a, c = a, d = a;
  for (const end = at + n; at < end; at += 64) {
    a = i64x2.add(a, v128.load(at));
    b = i64x2.add(b, v128.load(at, 16));
    c = i64x2.add(c, v128.load(at, 32));
    d = i64x2.add(d, v128.load(at, 48));
  }
  a = i64x2.add(i64x2.add(a, b), i64x2.add(c, d));
  return i64x2.extract_lane(a, 0) + i64x2.extract_lane(a, 1);
}`;

/** First byte of the buffer in the module's memory. */
const START = 65536;

/** @param importMemory - reads a memory that it is given as env.memory, in place of one of its own */
export async function compileRoof(importMemory = false): Promise<Uint8Array<ArrayBuffer>> {
  const { error, stderr, binary } = await asc.compileString(SOURCE, {
    importMemory,
    optimizeLevel: 3,
    runtime: "stub",
    enable: ["simd"],
  });
  if (binary === null) throw new Error(`the roof's loop does not compile: ${error?.message ?? stderr.toString()}`);
  return new Uint8Array(binary);
}

/** Reads `bytes` of memory of its own over and over. */
export class Roof {
  readonly #sum: (at: number, n: number) => bigint;

  constructor(
    module: BufferSource,
    private readonly bytes: number,
  ) {
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(module), {});
    const memory = exports.memory as WebAssembly.Memory;
    memory.grow(Math.ceil((START + bytes) / 65536));
    new Uint8Array(memory.buffer, START, bytes).fill(1); // mapped, every page its own
    this.#sum = exports.sum as (at: number, n: number) => bigint;
  }

  /** GB/s over at least `ms` milliseconds. */
  measure(ms: number): number {
    const start = performance.now();
    let read = 0;
    let elapsed = 0;
    do {
      this.#sum(START, this.bytes);
      read += this.bytes;
      elapsed = performance.now() - start;
    } while (elapsed < ms);
    return read / elapsed / 1e6;
  }
}
