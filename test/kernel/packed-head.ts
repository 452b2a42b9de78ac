/**
 * A KV head with pages of any form, for the tests of attention: what its pages stand for, and how far from exact arithmetic
 * over that the kernel may be.
 * @module
 */
import { KvForm } from "../../assembly/memory/status.ts";
import { type Aging, pagesAt } from "../cache/engine.ts";
import { type AttendOptions, attend64 } from "../oracle/attention.ts";
import { integerOf, type Page, type PagePart, readPage, sizesOf, valuesOf } from "../oracle/packed-page.ts";
import { sameBits, UNIT, within } from "./compare.ts";
import { growingHead, spannedKeys } from "./growing-head.ts";
import { bells, draws, floats } from "./values.ts";

/** Query heads of a group. */
export const HEADS = [1, 2, 3, 4, 7];

type Head = ReturnType<typeof growingHead>;

export interface Data {
  readonly q: Float32Array;
  readonly keyDim: number;
  readonly valueDim: number;
  readonly group: number;
  /** KvSection word; default none. */
  readonly sections?: number | undefined;
}

/** What the head's pages stand for from its base on, slots before it 0; sizes of the terms beside them. */
export function contents(head: Head, n: number, { keyDim, valueDim, group, sections }: Data) {
  const [, base] = head.head.u32;
  const pages = pagesAt(head.instance, head.head.address).map((page) =>
    readPage(head.instance.exports.memory.buffer, page, { keyDim, valueDim, group, sections }),
  );
  const flat = (dim: number, rowsOf: (page: Page) => number[][]): Float64Array => {
    const out = new Float64Array(n * dim);
    for (const [p, page] of pages.entries()) {
      rowsOf(page).forEach((row, slot) => {
        const at = base! + 32 * p + slot;
        if (at < n) out.set(row, at * dim);
      });
    }
    return out;
  };
  return {
    base: base!,
    pages,
    keys: flat(keyDim, (page) => valuesOf(page.keys)),
    values: flat(valueDim, (page) => valuesOf(page.values)),
    integers: flat(keyDim, (page) => integerOf(page.keys)),
    keySizes: flat(keyDim, (page) => sizesOf(page.keys)),
    valueSizes: flat(valueDim, (page) => sizesOf(page.values)),
  };
}

/** Most that a code differs from what it stands for, of the largest: half a unit, and the rounding of x (127 / absmax) in f32. */
const STEP = (0.5 + 127 * 3 * UNIT) / 127;

/** How many terms sections add to a score: a mean's sum in four lanes, a few roundings for each outlier and group of a salient slot. */
function sectionTerms({ extras }: PagePart, dim: number, group: number): number {
  return (
    (extras.mean.length > 0 ? dim / 4 + 6 : 0) +
    4 * extras.outliers.length +
    (extras.salient.length > 0 ? 4 * Math.ceil(dim / group) : 0)
  );
}

/**
 * What the codes of keys by channel add to a score's error, in units of STEP: the query times scales is coded for itself, by
 * its own largest entry, and multiplied with code + zero.
 */
function channelError({ extras: { channels }, groups }: PagePart, q: Float32Array, slot: number): number {
  const codes = groups[slot]!.flatMap((group) => group.codes);
  const absmax = channels.reduce((most, { scale }, d) => Math.max(most, Math.abs(q[d]! * scale)), 0);
  return absmax * channels.reduce((sum, { zero }, d) => sum + Math.abs(codes[d]! + zero), 0);
}

/**
 * |out - exact| of one head, exact over what the pages stand for.
 *
 * A score: the query's codes are off by STEP absmax(q) at most, so that q.k is by STEP absmax(q) sum_d |k_d|,
 * sections that take q itself left out, and by channelError; f32 rounds the terms of each group, their sums and the factors:
 * 4 groups + 8 times UNIT of the terms' sizes, and those of sections; in an f32 page keyDim + 5 times. The soft cap adds 6 cap UNIT. Weights are then off by e^(2 e) - 1 of themselves for an error e, and by 2 UNIT.
 *
 * A value: a weight's code is off by STEP pmax, pmax the largest weight times scale of its page, so that a dim is by
 * STEP pmax sum_j |code_j| for each page; f32 rounds sums of at most 1,024 slots, or of two terms a page.
 *
 * `step` in place of STEP: 0 where all codes are 127 or 0, and nothing is rounded to them.
 */
export function boundOf(
  all: ReturnType<typeof contents>,
  q: Float32Array,
  n: number,
  data: Data,
  options: AttendOptions,
  step = STEP,
) {
  const { keyDim, valueDim, group } = data;
  const { first = 0, scale = 1 / Math.sqrt(keyDim), softcap = 0 } = options;
  const exact = attend64(q, all.keys, all.values, n, options);
  const absmax = q.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  let scoreError = 0;
  for (let j = first; j < n; ++j) {
    let keySum = 0;
    let terms = 0;
    const { keys } = all.pages[(j - all.base) >> 5]!;
    const isByChannel = keys.extras.channels.length > 0;
    for (let d = 0; d < keyDim; ++d) {
      keySum += Math.abs(all.integers[j * keyDim + d]!);
      terms += Math.abs(q[d]!) * all.keySizes[j * keyDim + d]!;
    }
    const isPacked = keys.form !== KvForm.F32;
    const rounding = isPacked ? 4 * Math.ceil(keyDim / group) + 8 + sectionTerms(keys, keyDim, group) : keyDim + 5;
    const coded = absmax * keySum + (isByChannel ? channelError(keys, q, (j - all.base) & 31) : 0);
    const error = (isPacked ? step * coded : 0) + rounding * UNIT * terms;
    scoreError = Math.max(scoreError, Math.abs(scale) * error);
  }
  const weightError = Math.expm1(2 * (scoreError + 6 * softcap * UNIT)) + 4 * UNIT;
  const bound = floats(valueDim, (d) => weightError * exact.size[d]!);
  const sizes = new Float64Array(valueDim);
  for (let j = first; j < n; ++j) {
    for (let d = 0; d < valueDim; ++d) sizes[d]! += exact.weights[j - first]! * all.valueSizes[j * valueDim + d]!;
  }
  for (const [p, { values }] of all.pages.entries()) {
    const start = all.base + 32 * p;
    if (values.form === KvForm.F32 || start + 31 < first || start >= n) continue;
    for (let d = 0; d < valueDim; ++d) {
      let [pmax, codes] = [0, 0];
      for (const [slot, groups] of values.groups.entries()) {
        const { scale, codes: own } = groups[Math.floor(d / group)]!;
        pmax = Math.max(pmax, (exact.weights[start + slot - first] ?? 0) * scale);
        codes += Math.abs(own[d % group]!);
      }
      bound[d]! += step * (1 + weightError) * pmax * codes * (values.extras.factors[d] ?? 1);
    }
  }
  for (let d = 0; d < valueDim; ++d) bound[d]! += (1 + weightError) * (Math.min(n, 1024) + 40) * UNIT * sizes[d]!;
  return { exact, bound };
}

/**
 * The kernel's bits for groups of every size are the reference's; two heads of it near exact over `all`, where it is given.
 * Share of the bound.
 */
export function check(
  head: Head,
  n: number,
  data: Data,
  options: AttendOptions,
  what: string,
  all?: ReturnType<typeof contents>,
): number {
  const { q, keyDim, valueDim } = data;
  const expected = head.attend("ref", q, n, options);
  for (const nHeads of HEADS) {
    const out = head.attend("op", q.subarray(0, nHeads * keyDim), n, options);
    sameBits(out, expected.slice(0, nHeads * valueDim), `${what}, ${nHeads} heads`);
  }
  let worst = 0;
  for (const h of all === undefined ? [] : [0, 5]) {
    const own = q.subarray(h * keyDim, (h + 1) * keyDim);
    const { exact, bound } = boundOf(all!, own, n, data, options);
    const out = expected.subarray(h * valueDim, (h + 1) * valueDim);
    worst = Math.max(
      worst,
      within(out, exact.out, (d) => bound[d]!, `${what}, head ${h}`),
    );
  }
  return worst;
}

/** A head for these forms: spans of different score sizes, values with a mean that a minimum stands for. */
export function randomHead(keyDim: number, valueDim: number, slots: number, aging: Aging, window = 0) {
  const draw = draws(keyDim + 7 * valueDim + slots);
  const keys = spannedKeys(slots, keyDim, keyDim).map((x, i) => x + ((i % keyDim) % 3));
  const values = bells(slots * valueDim, draw).map((x, i) => x * 2 ** ((i % 7) - 3) + 0.5);
  const head = growingHead(keyDim, valueDim, keys, values, window, aging);
  return {
    head,
    data: { q: bells(7 * keyDim, draw), keyDim, valueDim, group: aging.group!, sections: aging.sections },
  };
}
