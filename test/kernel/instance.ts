/**
 * Instances of the `test` build, and regions of their memory that notice a kernel writing where it must not.
 *
 *   | 64 bytes of poison | region | poison up to the next 64, and 64 more |
 *
 * Poison is 0x7fa0 in every 16 bits: NaN as f32, binary16 and bfloat16, and a large integer. As f32 it is a signaling NaN,
 * which arithmetic changes to a quiet one: a kernel that computes past an end in place shows too. Outputs start as poison
 * as well, so that a value not written shows; inputs must be what they were at the end.
 * @module
 */
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { KernelExports } from "./exports.ts";

const POISON = 0x7fa0;
const GUARD = 64;

/** Compiled once; the mutation check points it at another build. */
const MODULE = new WebAssembly.Module(readFileSync(process.env.THIMBLE_TEST_WASM ?? "build/wasm/test.wasm"));

/** Views are taken anew each time: memory that grows detaches old ones. */
export class Region {
  constructor(
    private readonly memory: WebAssembly.Memory,
    readonly address: number,
    readonly nBytes: number,
  ) {}

  get f32(): Float32Array {
    return new Float32Array(this.memory.buffer, this.address, this.nBytes >> 2);
  }
  get f64(): Float64Array {
    return new Float64Array(this.memory.buffer, this.address, this.nBytes >> 3);
  }
  get u32(): Uint32Array {
    return new Uint32Array(this.memory.buffer, this.address, this.nBytes >> 2);
  }
  get i32(): Int32Array {
    return new Int32Array(this.memory.buffer, this.address, this.nBytes >> 2);
  }
  get i16(): Int16Array {
    return new Int16Array(this.memory.buffer, this.address, this.nBytes >> 1);
  }
  get u16(): Uint16Array {
    return new Uint16Array(this.memory.buffer, this.address, this.nBytes >> 1);
  }
  get u8(): Uint8Array {
    return new Uint8Array(this.memory.buffer, this.address, this.nBytes);
  }
}

/** A copy of a region's f32: what a test keeps of a result before the next call. */
export function copyOf(region: Region): Float32Array {
  return region.f32.slice();
}

/** One WebAssembly instance and a stretch of its arena that regions are cut from. */
export class Instance {
  readonly exports = new WebAssembly.Instance(MODULE, {}).exports as unknown as KernelExports;
  private readonly start: number;
  private readonly end: number;
  private top: number;
  private regions: { region: Region; before: Uint8Array | undefined }[] = [];

  constructor(slabBytes = 1 << 24) {
    this.exports.arenaStart();
    this.start = this.exports.arenaAlloc(BigInt(slabBytes));
    assert.is.not(this.start, 0, "no memory for the test's regions");
    this.end = this.start + slabBytes;
    this.top = this.start;
  }

  /** Checks all regions and starts over: the old ones are gone. */
  reset(): void {
    this.check();
    this.forget();
  }

  /** Starts over without a look. */
  forget(): void {
    this.regions = [];
    this.top = this.start;
  }

  /** A region for results, or one that a kernel changes in place. */
  output(nBytes: number): Region {
    return this.cut(nBytes, undefined);
  }

  /** f32 that a kernel changes in place. */
  floats(values: ArrayLike<number>): Region {
    const region = this.cut(values.length << 2, undefined);
    region.f32.set(values);
    return region;
  }

  /** A copy of `values` that nobody may change. */
  input(values: Float32Array | Float64Array | Uint32Array | Uint16Array | Int16Array | Uint8Array): Region {
    return this.cut(values.byteLength, new Uint8Array(values.buffer, values.byteOffset, values.byteLength).slice());
  }

  /** Fails when poison was overwritten or an input changed. */
  check(): void {
    for (const { region, before } of this.regions) {
      const { address, nBytes } = region;
      const tail = guardedEnd(address + nBytes) - address - nBytes;
      for (const [at, n] of [[address - GUARD, GUARD] as const, [address + nBytes, tail] as const]) {
        const bytes = new Uint8Array(this.exports.memory.buffer, at, n);
        const wrong = bytes.findIndex((byte, i) => byte !== ((at + i) & 1 ? POISON >> 8 : POISON & 255));
        if (wrong >= 0) assert.unreachable(`byte ${at + wrong - address} of a region of ${nBytes} was written`);
      }
      if (before !== undefined && Buffer.compare(region.u8, before) !== 0) assert.unreachable("an input was changed");
    }
  }

  private cut(nBytes: number, before: Uint8Array | undefined): Region {
    const address = this.top + GUARD;
    const end = guardedEnd(address + nBytes);
    if (end > this.end) throw new Error(`regions of this test need more than ${this.end - this.start} bytes`);
    new Uint16Array(this.exports.memory.buffer, this.top, (end - this.top) >> 1).fill(POISON);
    this.top = end;
    const region = new Region(this.exports.memory, address, nBytes);
    if (before !== undefined) region.u8.set(before);
    this.regions.push({ region, before });
    return region;
  }
}

function guardedEnd(end: number): number {
  return ((end + 63) & ~63) + GUARD;
}

/**
 * A suite whose tests begin without regions and end with their check. Not by hooks: when `after.each` throws, uvu 0.5.6
 * loses the error, skips the rest of the suite and reports success.
 */
export function checkedSuite(name: string, instance: Instance) {
  const inner = suite(name);
  const test = (title: string, body: () => void): void =>
    inner(title, () => {
      instance.forget();
      body();
      instance.reset();
    });
  test.run = () => inner.run();
  return test;
}
