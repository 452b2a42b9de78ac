/**
 * An instance with a configured cache, and what the tests of the cache and of attention do with one.
 * @module
 */
import * as assert from "uvu/assert";
import { Config, KvForm, KvSection, LayerField, RopeField, Size } from "../../assembly/memory/status.ts";
import { Instance, type Region } from "../kernel/instance.ts";

/** How pages age; by default they stay f32. */
export interface Aging {
  readonly keyForm?: KvForm;
  readonly valueForm?: KvForm;
  /** Dims that share a scale; default 64. */
  readonly group?: number;
  readonly recentPages?: number;
  readonly sinkPages?: number;
  /** KvSection word; default none. */
  readonly sections?: number;
  /** Keys in planes: the least probability that is not flat. */
  readonly flat?: number;
}

export interface Shape extends Aging {
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
    [Config.N_THREADS, 1],
    [Config.KEY_FORM, shape.keyForm ?? KvForm.F32],
    [Config.VALUE_FORM, shape.valueForm ?? KvForm.F32],
    [Config.KV_GROUP, shape.group ?? 64],
    [Config.RECENT_PAGES, shape.recentPages ?? 0],
    [Config.SINK_PAGES, shape.sinkPages ?? 0],
    [Config.KV_SECTIONS, shape.sections ?? 0],
    [Config.KV_FLAT, shape.flat ?? 0],
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

/** Dims of a head's keys and values, and how its pages age. */
export type HeadShape = Pick<Shape, "keyDim" | "valueDim"> & Aging;

const to16 = (n: number): number => 16 * Math.ceil(n / 16);
const isFew = (form: KvForm): boolean => form > KvForm.Q8 && form !== KvForm.Q8_PLANES;

/** Bytes of 32 slots' keys or values. */
function partBytes(form: KvForm, isKeys: boolean, dim: number, group: number, sections: number): number {
  if (form === KvForm.F32) return Size.PAGE_SLOTS * dim * 4;
  const codes = 32 * to16(dim);
  const scales = 32 * Math.ceil(dim / group) * 2;
  if (!isFew(form)) return codes + scales;
  const bits = form === KvForm.Q4 || form === KvForm.Q4_CHANNELS ? 4 : 3;
  const own = form >= KvForm.Q4_CHANNELS ? to16(2 * dim) : 2 * scales;
  const bit = isKeys ? KvSection.MEAN : KvSection.FACTORS;
  const outliers = isKeys ? (sections >> KvSection.OUTLIERS_SHIFT) & 255 : 0;
  const salient = ((sections >> KvSection.SALIENT_SHIFT) & 255) * (to16(dim) / 2 + 2 * Math.ceil(dim / group) + 1);
  return (codes * bits) / 8 + own + to16((sections & bit ? dim : 0) + 36 * outliers + salient);
}

function bytesOf(
  { keyDim, valueDim, group = 64, sections = 0 }: HeadShape,
  keyForm: KvForm,
  valueForm: KvForm,
): number {
  const keys = partBytes(keyForm, true, keyDim, group, sections);
  return Size.PAGE_HEADER + keys + partBytes(valueForm, false, valueDim, group, sections);
}

/** Bytes of a page of the pool. */
export function pageBytesOf(shape: HeadShape): number {
  return bytesOf(shape, shape.keyForm ?? KvForm.F32, shape.valueForm ?? KvForm.F32);
}

/** Bytes of an open page. */
export function openBytesOf(shape: HeadShape): number {
  return bytesOf(shape, KvForm.F32, KvForm.F32);
}

/** Bytes of a sink or recent page. */
export function recentBytesOf({ keyForm = KvForm.F32, valueForm = KvForm.F32, ...shape }: HeadShape): number {
  return bytesOf(shape, Math.min(keyForm, KvForm.Q8), Math.min(valueForm, KvForm.Q8));
}

/** Whether pages go from 8 bits to fewer: then the session keeps sinks and recent pages of its own. */
export function agesTwice({ keyForm = KvForm.F32, valueForm = KvForm.F32 }: Aging): boolean {
  return isFew(keyForm) || isFew(valueForm);
}

/** Bytes of a head's own pages: the open one, the sinks, the recent ones. */
export function ownBytesOf(shape: HeadShape): number {
  const nFixed = agesTwice(shape) ? (shape.sinkPages ?? 0) + (shape.recentPages ?? 0) : 0;
  return openBytesOf(shape) + nFixed * recentBytesOf(shape);
}

/** Pages of a head of `length` slots, the open one among them, by counting. */
export function pagesOf(length: number): number {
  return Math.ceil(length / 32);
}

/** Full pages of a head of `length` slots: those of the pool where pages age once at most. */
export function closedOf(length: number): number {
  return Math.floor(length / 32);
}

/**
 * A HeadView record (assembly/memory/records.ts) outside any session, with room for `nPages` and pages of its own: the
 * open one is poison but for its header, what it holds at 8 bits zero.
 */
export function createHead(instance: Instance, shape: HeadShape, nPages: number, window = 0): Region {
  const table = instance.output(nPages * 4);
  const head = instance.output(HEAD_BYTES);
  const open = instance.output(openBytesOf(shape));
  open.u32.fill(0, 0, Size.PAGE_HEADER / 4);
  const fixed = instance.output(ownBytesOf(shape) - openBytesOf(shape));
  fixed.u32.fill(0);
  head.u32.fill(0);
  head.u32.set([0, 0, 0, table.address, window, open.address, fixed.address]);
  return head;
}

/** Bytes of an AttendTask, with some to spare. */
export const TASK_BYTES = 128;

/** Bytes of a HeadView, and of the Session record before them; offset of a HeadView's sum of squares. */
export const HEAD_BYTES = 56;
export const SESSION_BYTES = 80;
export const SQUARES_AT = 32;

/** Address of a head's open page. */
export function openAt(instance: Instance, head: number): number {
  return new Uint32Array(instance.exports.memory.buffer, head, 6)[5]!;
}

/** Addresses of a head's pages; `head` is the address of its HeadView. */
export function pagesAt(instance: Instance, head: number): number[] {
  const [, , nPages, table] = new Uint32Array(instance.exports.memory.buffer, head, 4);
  return Array.from(new Uint32Array(instance.exports.memory.buffer, table!, nPages));
}

/** Where the drawing of an f32 page (assembly/cache/page.ts) has dim d of a slot's key, behind the header: halves of keyDim x 16 slots. */
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
  const f32 = new Float32Array(instance.exports.memory.buffer, page + Size.PAGE_HEADER, 32 * (keyDim + valueDim));
  return {
    key: Array.from({ length: keyDim }, (_, d) => f32[keyIndex(slot, d, keyDim)]!),
    value: Array.from({ length: valueDim }, (_, d) => f32[valueIndex(slot, d, keyDim, valueDim)]!),
  };
}
