/**
 * An instance with a configured cache, and what the tests of the cache and of attention do with one.
 * @module
 */
import * as assert from "uvu/assert";
import { Config, LayerField, RopeField, Size } from "../../assembly/memory/status.ts";
import { Instance, type Region } from "../kernel/instance.ts";

export interface Shape {
  readonly nLayers: number;
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly keyDim: number;
  readonly valueDim: number;
  readonly contextLength: number;
  /** Bytes for the test's own regions. */
  readonly slabBytes?: number;
  /** Rows, and rows with an output, of a forward call. */
  readonly maxRows?: number;
  /** Option bits of all layers. */
  readonly options?: number;
  /** Sliding window of each layer; default none. */
  readonly windows?: readonly number[];
}

/** One layer, one head each: what most tests need. */
export const SMALL: Shape = { nLayers: 1, nHeads: 1, nKvHeads: 1, keyDim: 8, valueDim: 8, contextLength: 100 };

/** Sizes that only `forward` looks at. */
export const HIDDEN_DIM = 8;
export const VOCAB_SIZE = 16;

export function createEngine(shape: Shape): Instance {
  const instance = new Instance(shape.slabBytes ?? 1 << 20);
  const { layoutRecords, layoutRunState, setConfig, setLayer, setRope } = instance.exports;
  const config: readonly (readonly [Config, number])[] = [
    [Config.N_LAYERS, shape.nLayers],
    [Config.HIDDEN_DIM, HIDDEN_DIM],
    [Config.FFN_DIM, 8],
    [Config.N_HEADS, shape.nHeads],
    [Config.N_KV_HEADS, shape.nKvHeads],
    [Config.KEY_DIM, shape.keyDim],
    [Config.VALUE_DIM, shape.valueDim],
    [Config.ROPE_DIM, 8],
    [Config.VOCAB_SIZE, VOCAB_SIZE],
    [Config.CONTEXT_LENGTH, shape.contextLength],
    [Config.MAX_ROWS, shape.maxRows ?? 1],
    [Config.MAX_OUTPUTS, shape.maxRows ?? 1],
    [Config.NORM_EPS, 1e-5],
    [Config.N_ROPES, 1],
    [Config.OPTIONS, shape.options ?? 0],
    [Config.EMBEDDING_SCALE, 1],
    [Config.RESIDUAL_SCALE, 1],
    [Config.LOGIT_SCALE, 1],
    [Config.SOURCE_KV_HEADS, shape.nKvHeads],
  ];
  for (const [field, value] of config) assert.is(setConfig(field, value), 0);
  assert.is(layoutRecords(), 0);
  assert.is(setRope(0, RopeField.BASE, 10000), 0);
  shape.windows?.forEach((window, layer) => {
    assert.is(setLayer(layer, LayerField.WINDOW, window), 0);
  });
  assert.is(layoutRunState(0), 0);
  return instance;
}

export function pageBytesOf(shape: Shape): number {
  return Size.PAGE_SLOTS * (shape.keyDim + shape.valueDim) * 4;
}

/** Pages of a head of `length` slots, by counting. */
export function pagesOf(length: number): number {
  return Math.ceil(length / 32);
}

/** A HeadView record (assembly/memory/records.ts) outside any session, with room for `nPages`. */
export function createHead(instance: Instance, nPages: number, window = 0): Region {
  const table = instance.output(nPages * 4);
  const head = instance.output(HEAD_BYTES);
  head.u32.set([0, 0, 0, table.address, window, 0, 0, 0]);
  return head;
}

/** Bytes of a HeadView, and of the Session record before them. */
export const HEAD_BYTES = 32;
export const SESSION_BYTES = 24;

/** Addresses of a head's pages; `head` is the address of its HeadView. */
export function pagesAt(instance: Instance, head: number): number[] {
  const [, , nPages, table] = new Uint32Array(instance.exports.memory.buffer, head, 4);
  return Array.from(new Uint32Array(instance.exports.memory.buffer, table!, nPages));
}

/** Where the drawing of an f32 page (assembly/cache/page.ts) has dim d of a slot's key: halves of keyDim x 16 slots. */
export function keyIndex(slot: number, d: number, keyDim: number): number {
  return Math.floor(slot / 16) * keyDim * 16 + d * 16 + (slot % 16);
}

/** And of its value: groups of 16 dims, the rest in groups of 4; in each 32 slots. */
export function valueIndex(slot: number, d: number, keyDim: number, valueDim: number): number {
  const dims = d < valueDim - (valueDim % 16) ? 16 : 4;
  const group = Math.floor(d / dims) * dims;
  return 32 * keyDim + 32 * group + slot * dims + (d - group);
}

/** The key and value of a slot, read as the drawing in cache/page.ts says. */
export function slotAt(instance: Instance, page: number, slot: number, keyDim: number, valueDim: number) {
  const f32 = new Float32Array(instance.exports.memory.buffer, page, 32 * (keyDim + valueDim));
  return {
    key: Array.from({ length: keyDim }, (_, d) => f32[keyIndex(slot, d, keyDim)]!),
    value: Array.from({ length: valueDim }, (_, d) => f32[valueIndex(slot, d, keyDim, valueDim)]!),
  };
}
