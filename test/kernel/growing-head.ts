/**
 * A KV head for the tests of attention: it grows as in decoding, and attends with the kernel or its reference.
 * @module
 */
import * as assert from "uvu/assert";
import { type Aging, createEngine, createHead, pagesAt, SMALL, TASK_BYTES } from "../cache/engine.ts";
import type { AttendOptions } from "../oracle/attention.ts";
import type { Instance } from "./instance.ts";
import { bells, draws } from "./values.ts";

/**
 * A KV head that grows as in decoding; the slots after the last are NaN, keys and values. With a window it gives pages
 * back on the way, but sees only what `first` says.
 */
export function growingHead(
  keyDim: number,
  valueDim: number,
  keys: Float32Array,
  values: Float32Array,
  window = 0,
  aging: Aging = {},
) {
  const shape = { ...SMALL, keyDim, valueDim, slabBytes: 1 << 23, ...aging };
  const instance = createEngine(shape);
  const { append, attend, attendRef, attendScratch, closeFull, poolReserve, sectionScratch, writeSlot } =
    instance.exports;
  const slots = keys.length / keyDim;
  const nPages = Math.ceil(slots / 32);
  assert.is(Number(poolReserve(nPages)), 1);
  const head = createHead(instance, shape, nPages, window);
  const stored = [instance.input(keys).address, instance.input(values).address] as const;
  const [k, v] = stored;
  const nothing = instance.output(Math.max(keyDim, valueDim) * 4).address;
  const scratch = instance.output(attendScratch(keyDim, valueDim)).address;
  const extra = instance.output(sectionScratch(keyDim, valueDim)).address;
  return {
    instance,
    /** The HeadView. */
    head,
    growTo(n: number): void {
      for (let slot = head.u32[0]!; slot < n; ++slot) {
        append(head.address, k + slot * keyDim * 4, v + slot * valueDim * 4, keyDim, valueDim);
        closeFull(head.address);
      }
      const last = pagesAt(instance, head.address).at(-1)!;
      for (let slot = n; slot % 32 !== 0; ++slot) writeSlot(last, slot % 32, nothing, nothing, keyDim, valueDim);
    },
    /** Writes another key and value over those of a slot whose page the head still has. */
    overwrite(slot: number, key: Float32Array, value: Float32Array): void {
      const page = pagesAt(instance, head.address)[(slot - head.u32[1]!) >> 5]!;
      writeSlot(page, slot % 32, instance.input(key).address, instance.input(value).address, keyDim, valueDim);
    },
    attend(op: "op" | "ref", q: Float32Array, n: number, options: AttendOptions = {}): Float32Array {
      const group = q.length / keyDim;
      const { first = 0, scale = 1 / Math.fround(Math.sqrt(keyDim)), softcap = 0 } = options;
      const task = instance.output(TASK_BYTES);
      task.u32.fill(0);
      task.u32.set([head.address, first, n, group, keyDim, valueDim, 0, 0, aging.group ?? 64, scratch]);
      task.f32.set([scale, softcap], 6);
      task.u32[16] = aging.sections ?? 0;
      task.f32[17] = aging.flat ?? 0;
      task.u32[18] = extra;
      const out = instance.output(group * valueDim * 4);
      (op === "op" ? attend : attendRef)(out.address, instance.input(q).address, task.address);
      return out.f32.slice();
    },
  };
}

/** Keys that make the second span's scores larger than the first's, and the third's smaller. */
export function spannedKeys(slots: number, keyDim: number, seed: number): Float32Array {
  const draw = draws(seed);
  const size = (slot: number) => [1, 2, 0.5][slot >> 10]! * 1.3;
  const all = bells(slots * keyDim, draw);
  return all.map((value, i) => value * size(Math.floor(i / keyDim)));
}

/** The exp of the numeric contract, as attendContract takes it. */
export function contractExp(instance: Instance): (x: number) => number {
  const [x, y] = [instance.output(4), instance.output(4)];
  return (value) => {
    x.f32[0] = value;
    instance.exports.expRowRef(y.address, x.address, 1);
    return y.f32[0]!;
  };
}
