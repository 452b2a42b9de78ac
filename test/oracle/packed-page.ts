/**
 * Pages of the KV cache read from the drawings in assembly/cache/page.ts and packed-page.ts, number by number, and the
 * formulas of assembly/cache/convert.ts in f32 arithmetic.
 * @module
 */
import { KvForm } from "../../assembly/memory/status.ts";
import { halfRef } from "./half.ts";

const f = Math.fround;

export interface PageDims {
  readonly keyDim: number;
  readonly valueDim: number;
  /** Dims that share a scale. */
  readonly group: number;
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
}

export interface Page {
  readonly references: number;
  readonly isBroken: boolean;
  readonly keys: PagePart;
  readonly values: PagePart;
  /** Bytes up to the end of the values. */
  readonly nBytes: number;
}

/** Code i = 0 .. 15, pair member e, of the block of 32 that begins at byte `at`. */
function codeOf(bytes: DataView, at: number, form: KvForm, i: number, e: number): number {
  const j = 2 * i + e;
  if (form === KvForm.Q8) return bytes.getInt8(at + j);
  if (form === KvForm.Q4) return (bytes.getUint16(at + 2 * (2 * (i % 4) + e), true) >> (4 * Math.floor(i / 4))) % 16;
  const low = (bytes.getUint8(at + (j % 8)) >> (2 * Math.floor(j / 8))) % 4;
  const high = (bytes.getUint8(at + 8 + Math.floor(j / 8)) >> (j % 8)) % 2;
  return low + 4 * high;
}

const BLOCK = { [KvForm.Q8]: 32, [KvForm.Q4]: 16, [KvForm.Q3]: 12 } as const;

function readPacked(
  bytes: DataView,
  form: KvForm.Q8 | KvForm.Q4 | KvForm.Q3,
  isKeys: boolean,
  dim: number,
  group: number,
) {
  const padded = 16 * Math.ceil(dim / 16);
  const nGroups = Math.ceil(dim / group);
  const nBlocks = padded; // 32 slots x padded dims, 32 codes a block
  const codes = Array.from({ length: 32 }, () => new Array<number>(dim).fill(Number.NaN));
  const padding: number[] = [];
  for (let b = 0; b < nBlocks; ++b) {
    for (let i = 0; i < 16; ++i) {
      for (let e = 0; e < 2; ++e) {
        const code = codeOf(bytes, b * BLOCK[form], form, i, e);
        const pairs = dim / 2;
        const slot = isKeys ? 16 * Math.floor(b / pairs) + i : 2 * (b % 16) + e;
        const d = isKeys ? 2 * (b % pairs) + e : 16 * Math.floor(b / 16) + i;
        if (slot < 32 && d < dim) codes[slot]![d] = code;
        else padding.push(code);
      }
    }
  }
  const scalesAt = nBlocks * BLOCK[form];
  const half = (at: number) => halfRef(bytes.getUint16(at, true));
  const groups = codes.map((row, slot) =>
    Array.from({ length: nGroups }, (_, g) => ({
      codes: row.slice(g * group, (g + 1) * group),
      scale: half(scalesAt + (g * 32 + slot) * 2),
      minimum: form === KvForm.Q8 ? 0 : half(scalesAt + ((nGroups + g) * 32 + slot) * 2),
    })),
  );
  return { groups, padding, nBytes: scalesAt + nGroups * 64 * (form === KvForm.Q8 ? 1 : 2) };
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
  return { groups, padding: [], nBytes: 128 * dim };
}

/** The page at `address`. */
export function readPage(memory: ArrayBufferLike, address: number, { keyDim, valueDim, group }: PageDims): Page {
  const header = new DataView(memory, address, 16);
  const part = (isKeys: boolean, form: KvForm, at: number) => {
    const bytes = new DataView(memory, at);
    const dim = isKeys ? keyDim : valueDim;
    return form === KvForm.F32 ? readFloats(bytes, isKeys, dim, group) : readPacked(bytes, form, isKeys, dim, group);
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

function rowsOf(groups: PagePart["groups"], numberOf: (code: number, scale: number, minimum: number) => number) {
  return groups.map((row) => {
    const out: number[] = [];
    for (const { codes, scale, minimum } of row) for (const code of codes) out.push(numberOf(code, scale, minimum));
    return out;
  });
}

/** The numbers a part stands for, [slot][dim], exact in f64. */
export function valuesOf({ groups }: PagePart): number[][] {
  return rowsOf(groups, (code, scale, minimum) => scale * code + minimum);
}

/** scale |code| + |minimum|, [slot][dim]: what sums of the two terms are as large as. */
export function sizesOf({ groups }: PagePart): number[][] {
  return rowsOf(groups, (code, scale, minimum) => scale * Math.abs(code) + Math.abs(minimum));
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
export function quantizeGroup(x: readonly number[], form: KvForm.Q8 | KvForm.Q4 | KvForm.Q3): PackedGroup {
  const [low, high] = [Math.min(...x), Math.max(...x)];
  const top = { [KvForm.Q8]: 127, [KvForm.Q4]: 15, [KvForm.Q3]: 7 }[form];
  const minimum = form === KvForm.Q8 ? 0 : nearestHalf(low);
  const range = form === KvForm.Q8 ? Math.max(-low, high) : Math.max(0, f(high - minimum));
  const scale = nearestHalf(f(range / top));
  const inverse = scale > 0 ? f(1 / scale) : 0;
  const codes = x.map((value) => {
    const code = nearestEven(f(f(value - minimum) * inverse));
    return Math.min(Math.max(code, form === KvForm.Q8 ? -top : 0), top) + 0;
  });
  return { codes, scale, minimum };
}
