/**
 * Pages of the KV cache read from the drawings in assembly/cache/page.ts and packed-page.ts, number by number, and the
 * formulas of assembly/cache/convert.ts in f32 arithmetic.
 * @module
 */
import { KvForm } from "../../assembly/memory/status.ts";
import { halfRef } from "./half.ts";
import { type Extras, hasChannels, isFew, readExtras } from "./sections.ts";

const f = Math.fround;

export interface PageDims {
  readonly keyDim: number;
  readonly valueDim: number;
  /** Dims that share a scale. */
  readonly group: number;
  /** KvSection word; default none. */
  readonly sections?: number | undefined;
}

/** Numbers of one token and group: f32, or codes with a scale and, for Q4 and Q3, a minimum. */
export interface PackedGroup {
  readonly codes: readonly number[];
  readonly scale: number;
  readonly minimum: number;
}

/** Keys or values of a page. */
export interface PagePart {
  readonly form: KvForm;
  /** [slot][group]; of f32, the numbers are the codes and the scale is 1. */
  readonly groups: readonly (readonly PackedGroup[])[];
  /** Codes in places that no dim has. */
  readonly padding: readonly number[];
  /** What it has beside codes and scales by token. */
  readonly extras: Extras;
}

export interface Page {
  readonly references: number;
  readonly isBroken: boolean;
  readonly keys: PagePart;
  readonly values: PagePart;
  /** Bytes up to the end of the values. */
  readonly nBytes: number;
}

/** Code of entry i = 0 .. 7, member e = 0 .. 3, of the block of 32 that begins at byte `at`, without the zero of keys. */
function codeOf(bytes: DataView, at: number, form: KvForm, isKeys: boolean, i: number, e: number): number {
  const j = 4 * i + e;
  if (form === KvForm.Q8) return isKeys ? bytes.getUint8(at + j) - 64 : bytes.getInt8(at + j);
  if (form === KvForm.Q4) return Math.floor(bytes.getUint8(at + (j % 16)) / 16 ** Math.floor(j / 16)) % 16;
  const low = (bytes.getUint8(at + (j % 8)) >> (2 * Math.floor(j / 8))) % 4;
  const high = (bytes.getUint8(at + 8 + Math.floor(j / 8)) >> (j % 8)) % 2;
  return low + 4 * high;
}

const BLOCK = [0, 32, 16, 12, 32, 16, 12] as const;
/** How the codes of a form lie. */
const CODES = [KvForm.F32, KvForm.Q8, KvForm.Q4, KvForm.Q3, KvForm.Q8_PLANES, KvForm.Q4, KvForm.Q3] as const;

function readPacked(bytes: DataView, form: KvForm, isKeys: boolean, dim: number, group: number, sections: number) {
  const padded = 16 * Math.ceil(dim / 16);
  const nGroups = Math.ceil(dim / group);
  const nBlocks = padded; // 32 slots x padded dims, 32 codes a block
  const codes = Array.from({ length: 32 }, () => new Array<number>(dim).fill(Number.NaN));
  const padding: number[] = [];
  const codeAt = (b: number, i: number, e: number): number => {
    if (form !== KvForm.Q8_PLANES) return codeOf(bytes, b * BLOCK[form], CODES[form], isKeys, i, e);
    const [high, low] = [b, nBlocks + b].map((block) => codeOf(bytes, block * 16, KvForm.Q4, isKeys, i, e));
    return 16 * high! + low! - 64;
  };
  for (let b = 0; b < nBlocks; ++b) {
    for (let i = 0; i < 8; ++i) {
      for (let e = 0; e < 4; ++e) {
        const fours = padded / 4;
        const slot = isKeys ? 8 * Math.floor(b / fours) + i : 4 * (b % 8) + e;
        const d = isKeys ? 4 * (b % fours) + e : 8 * Math.floor(b / 8) + i;
        const zero = isKeys && (form === KvForm.Q8 || form === KvForm.Q8_PLANES) ? 64 : 0;
        if (d < dim) codes[slot]![d] = codeAt(b, i, e);
        else padding.push(codeAt(b, i, e) + zero);
      }
    }
  }
  const scalesAt = nBlocks * BLOCK[form];
  const half = (at: number) => halfRef(bytes.getUint16(at, true));
  const isByToken = !hasChannels(form);
  const hasMinima = isByToken && isFew(form);
  const groups = codes.map((row, slot) =>
    Array.from({ length: nGroups }, (_, g) => ({
      codes: row.slice(g * group, (g + 1) * group),
      scale: isByToken ? half(scalesAt + (g * 32 + slot) * 2) : 1,
      minimum: hasMinima ? half(scalesAt + ((nGroups + g) * 32 + slot) * 2) : 0,
    })),
  );
  const end = scalesAt + (isByToken ? nGroups * 64 * (hasMinima ? 2 : 1) : 0);
  const { nBytes, ...extras } = readExtras(bytes, end, { form, isKeys, dim, group, sections });
  return { groups, padding, extras, nBytes: end + nBytes };
}

function readFloats(bytes: DataView, isKeys: boolean, dim: number, group: number) {
  const at = (slot: number, d: number): number => {
    if (isKeys) return Math.floor(slot / 16) * dim * 16 + d * 16 + (slot % 16);
    const dims = d < dim - (dim % 16) ? 16 : 4;
    const first = d - (d % dims);
    return 32 * first + slot * dims + (d - first);
  };
  const groups = Array.from({ length: 32 }, (_, slot) =>
    Array.from({ length: Math.ceil(dim / group) }, (_, g) => ({
      codes: Array.from({ length: Math.min(group, dim - g * group) }, (_, i) =>
        bytes.getFloat32(4 * at(slot, g * group + i), true),
      ),
      scale: 1,
      minimum: 0,
    })),
  );
  const extras: Extras = { channels: [], mean: [], factors: [], outliers: [], salient: [] };
  return { groups, padding: [], extras, nBytes: 128 * dim };
}

/** The page at `address`. */
export function readPage(
  memory: ArrayBufferLike,
  address: number,
  { keyDim, valueDim, group, sections = 0 }: PageDims,
): Page {
  const header = new DataView(memory, address, 16);
  const part = (isKeys: boolean, form: KvForm, at: number) => {
    const bytes = new DataView(memory, at);
    const dim = isKeys ? keyDim : valueDim;
    return form === KvForm.F32
      ? readFloats(bytes, isKeys, dim, group)
      : readPacked(bytes, form, isKeys, dim, group, sections);
  };
  const [keyForm, valueForm] = [header.getUint8(4) as KvForm, header.getUint8(5) as KvForm];
  const keys = part(true, keyForm, address + 16);
  const values = part(false, valueForm, address + 16 + keys.nBytes);
  return {
    references: header.getUint32(0, true),
    isBroken: header.getUint32(8, true) !== 0,
    keys: { form: keyForm, ...keys },
    values: { form: valueForm, ...values },
    nBytes: 16 + keys.nBytes + values.nBytes,
  };
}

/** What codes and scales alone stand for, [slot][dim]; with the signs of their terms taken away where `isSize`. */
function codedOf({ groups, extras: { channels } }: PagePart, isSize = false): number[][] {
  const size = (x: number): number => (isSize ? Math.abs(x) : x);
  return groups.map((row) => {
    const out: number[] = [];
    for (const { codes, scale, minimum } of row) {
      for (const code of codes) {
        const channel = channels[out.length];
        if (channel === undefined) out.push(scale * size(code) + size(minimum));
        else out.push(channel.scale * (size(code) + size(channel.zero)));
      }
    }
    return out;
  });
}

/** Adds to what the codes stand for what sections do. */
function addExtras(rows: number[][], { extras }: PagePart, group: number, isSize = false): number[][] {
  const { mean, factors, outliers, salient } = extras;
  const size = (x: number): number => (isSize ? Math.abs(x) : x);
  const out = rows.map((row) => row.map((x, d) => x * (factors[d] ?? 1) + size(mean[d] ?? 0)));
  for (const { channel, scale, codes } of outliers) {
    for (const [slot, row] of out.entries()) row[channel]! += scale * size(codes[slot]!);
  }
  for (const { slot, scales, codes } of salient) {
    for (const [d, code] of codes.entries()) out[slot]![d]! += scales[Math.floor(d / group)]! * size(code);
  }
  return out;
}

/** The dims of a part's groups; of one group any number will do. */
function groupOf({ groups }: PagePart): number {
  return groups[0]![0]!.codes.length;
}

/** The numbers a part stands for, [slot][dim], exact in f64. */
export function valuesOf(part: PagePart): number[][] {
  return addExtras(codedOf(part), part, groupOf(part));
}

/** Sizes of their terms, added: what sums of the terms are as large as. */
export function sizesOf(part: PagePart): number[][] {
  return addExtras(codedOf(part, true), part, groupOf(part), true);
}

/**
 * What the codes of the query as it is are multiplied with: codes and minima, but not of keys by channel, and what salient
 * slots lacked.
 */
export function integerOf(part: PagePart): number[][] {
  const { channels, factors, salient } = part.extras;
  const codes = codedOf(part).map((row) => (channels.length > 0 ? row.map(() => 0) : row));
  const extras: Extras = { channels, mean: [], factors, outliers: [], salient };
  return addExtras(codes, { ...part, extras }, groupOf(part));
}

/** To the nearest integer, ties to even. */
export function nearestEven(x: number): number {
  const below = Math.floor(x);
  const rest = x - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 !== 0) ? below + 1 : below;
}

/** The binary16 nearest to x, ties to even; never beyond 65504. */
export function nearestHalf(x: number): number {
  if (Number.isNaN(x)) return x;
  const size = Math.abs(x);
  if (size >= 65504) return Math.sign(x) * 65504;
  const unit = size < 2 ** -14 ? 2 ** -24 : 2 ** (Math.floor(Math.log2(size)) - 10);
  const rounded = nearestEven(size / unit) * unit;
  return x < 0 || Object.is(x, -0) ? -rounded : rounded;
}

/** One token's group of finite f32 by the formulas of convert.ts. */
export function quantizeGroup(x: readonly number[], form: KvForm, isKeys: boolean): PackedGroup {
  const [low, high] = [Math.min(...x), Math.max(...x)];
  const byte = isKeys ? 63 : 127;
  const top = [0, byte, 15, 7, byte][form]!;
  const minimum = isFew(form) ? nearestHalf(low) : 0;
  const range = isFew(form) ? Math.max(0, f(high - minimum)) : Math.max(-low, high);
  const scale = nearestHalf(f(range / top));
  const inverse = scale > 0 ? f(1 / scale) : 0;
  const codes = x.map((value) => {
    const code = nearestEven(f(f(value - minimum) * inverse));
    return Math.min(Math.max(code, isFew(form) ? 0 : -top), top) + 0;
  });
  return { codes, scale, minimum };
}
