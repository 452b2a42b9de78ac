/**
 * A RopeTable record (assembly/memory/records.ts) as the engine lays one out, with its frequencies computed.
 * @module
 */
import type { RopeScaling } from "../oracle/rope-scaling.ts";
import type { Instance, Region } from "./instance.ts";

/** `magnitude`: the file's own factor of cosines and sines; default 1. */
export interface TableOptions extends RopeScaling {
  readonly magnitude?: number;
}

export interface Table {
  readonly address: number;
  /** f64 [d / 2]. */
  readonly frequencies: Region;
  /** The factor of cosines and sines, after `ropeFrequencies`. */
  readonly magnitude: number;
  /** Gives the table rotations by the digits of shifts. */
  setTurns(turns: Region): void;
}

export function createTable(instance: Instance, options: TableOptions): Table {
  const { d, base, factor = 1, magnitude = 1, divisors, yarn } = options;
  const frequencies = instance.output(d * 4);
  const divisorsAt = divisors === undefined ? 0 : instance.input(Float32Array.from(divisors)).address;
  const table = instance.output(64);
  table.u32.set([frequencies.address, 0, divisorsAt, 0]);
  table.f64.set([magnitude, base, factor, yarn?.context ?? 0, yarn?.fast ?? 0, yarn?.slow ?? 0], 2);
  const before = table.u8.slice();
  instance.exports.ropeFrequencies(table.address, d);
  const after = table.f64[2]!;
  // Nothing of the record but the magnitude is the kernel's to change.
  table.f64[2] = magnitude;
  if (Buffer.compare(table.u8, before) !== 0) throw new Error("ropeFrequencies changed its table's options");
  table.f64[2] = after;
  return {
    address: table.address,
    frequencies,
    magnitude: after,
    setTurns: ({ address }) => {
      table.u32[3] = address;
    },
  };
}
