/**
 * The sections of a page read from the drawings in assembly/sections, number by number, and their formulas in f32
 * arithmetic, in the order of assembly/sections/pack.ts.
 * @module
 */
import { KvForm, KvSection } from "../../assembly/memory/status.ts";
import { halfRef } from "./half.ts";
import { nearestEven, nearestHalf, type PackedGroup, quantizeGroup } from "./packed-page.ts";

const f = Math.fround;

/** What a part has beside its codes; lists are empty where a section is off. */
export interface Extras {
  /** Scale and zero of each channel, of keys by channel. */
  readonly channels: readonly { readonly scale: number; readonly zero: number }[];
  readonly mean: readonly number[];
  readonly factors: readonly number[];
  readonly outliers: readonly { readonly channel: number; readonly scale: number; readonly codes: readonly number[] }[];
  readonly salient: readonly {
    readonly slot: number;
    readonly scales: readonly number[];
    readonly codes: readonly number[];
  }[];
}

export interface PartShape {
  readonly form: KvForm;
  readonly isKeys: boolean;
  readonly dim: number;
  readonly group: number;
  readonly sections: number;
}

export const isFew = (form: KvForm): boolean => form > KvForm.Q8 && form !== KvForm.Q8_PLANES;
export const hasChannels = (form: KvForm): boolean => form >= KvForm.Q4_CHANNELS;
const to16 = (n: number): number => 16 * Math.ceil(n / 16);

/** 8 bits without sign: 5 of exponent, 3 of fraction. */
function unsignedFloat(bits: number): number {
  const [exponent, fraction] = [bits >> 3, bits & 7];
  return exponent === 0 ? fraction * 2 ** -17 : (1 + fraction / 8) * 2 ** (exponent - 15);
}

/** 8 bits with sign: 5 of exponent, 2 of fraction. */
function signedFloat(bits: number): number {
  const [exponent, fraction] = [(bits >> 2) & 31, bits & 3];
  const size = exponent === 0 ? fraction * 2 ** -16 : (1 + fraction / 4) * 2 ** (exponent - 15);
  return bits >= 128 ? -size : size;
}

/** Counts of a word, and which sections a part of this form has. */
function sectionsOf({ form, isKeys, sections }: PartShape) {
  const on = isFew(form);
  return {
    hasMean: on && isKeys && (sections & KvSection.MEAN) !== 0,
    hasFactors: on && !isKeys && (sections & KvSection.FACTORS) !== 0,
    nOutliers: on && isKeys ? (sections >> KvSection.OUTLIERS_SHIFT) & 255 : 0,
    nSalient: on ? (sections >> KvSection.SALIENT_SHIFT) & 255 : 0,
  };
}

/** What begins at byte `at`, behind codes and scales by token; and its bytes. */
export function readExtras(bytes: DataView, start: number, shape: PartShape): Extras & { readonly nBytes: number } {
  const { form, dim, group } = shape;
  const { hasMean, hasFactors, nOutliers, nSalient } = sectionsOf(shape);
  const half = (at: number): number => halfRef(bytes.getUint16(at, true));
  const list = <T>(n: number, item: (i: number) => T): T[] => Array.from({ length: n }, (_, i) => item(i));
  let at = start;
  const channels = list(hasChannels(form) ? dim : 0, (d) => ({
    scale: unsignedFloat(bytes.getUint8(at + d)),
    zero: bytes.getInt8(at + dim + d),
  }));
  if (hasChannels(form)) at += to16(2 * dim);
  const first = at;
  const mean = list(hasMean ? dim : 0, (d) => signedFloat(bytes.getUint8(at + d)));
  const factors = list(hasFactors ? dim : 0, (d) => unsignedFloat(bytes.getUint8(at + d)));
  if (hasMean || hasFactors) at += dim;
  const outliers = list(nOutliers, (i) => ({
    channel: bytes.getUint16(at + 34 * nOutliers + 2 * i, true),
    scale: half(at + 32 * nOutliers + 2 * i),
    codes: list(32, (slot) => bytes.getInt8(at + 32 * i + slot)),
  }));
  at += 36 * nOutliers;
  const [row, groups] = [to16(dim) / 2, Math.ceil(dim / group)];
  const salient = list(nSalient, (i) => ({
    slot: bytes.getUint8(at + nSalient * (row + 2 * groups) + i),
    scales: list(groups, (g) => half(at + nSalient * row + 2 * (i * groups + g))),
    codes: list(dim, (d) => {
      const pair = bytes.getUint8(at + i * row + 8 * Math.floor(d / 16) + (d % 8));
      return (d % 16 < 8 ? pair % 16 : pair >> 4) - 8;
    }),
  }));
  at += nSalient * (row + 2 * groups + 1);
  return { channels, mean, factors, outliers, salient, nBytes: first - start + to16(at - first) };
}

/** The smallest float without sign that is not below the half nearest to x. */
function roundUp(x: number): number {
  const half = nearestHalf(x);
  for (let bits = 0; bits < 0xf7; ++bits) if (unsignedFloat(bits) >= half) return unsignedFloat(bits);
  return unsignedFloat(0xf7);
}

/** The float with sign nearest to the half nearest to x, ties to the even one. */
function roundSigned(x: number): number {
  const half = nearestHalf(x);
  let best = 0;
  for (let bits = 1; bits <= 0x7b; ++bits) {
    const [was, is] = [Math.abs(Math.abs(half) - signedFloat(best)), Math.abs(Math.abs(half) - signedFloat(bits))];
    if (is < was || (is === was && bits % 2 === 0)) best = bits;
  }
  return half < 0 || Object.is(half, -0) ? -signedFloat(best) : signedFloat(best);
}

const clamp = (x: number, low: number, high: number): number => Math.min(Math.max(x, low), high) + 0;
const inverseOf = (scale: number): number => (scale > 0 ? f(1 / scale) : 0);
const column = (x: number[][], d: number): number[] => x.map((row) => row[d]!);
const absmaxOf = (x: readonly number[]): number => Math.max(...x.map(Math.abs));

/** The largest entries' indices, of equal ones the first. */
function largest(sizes: readonly number[], n: number): number[] {
  return sizes
    .map((size, i) => ({ size, i }))
    .sort((a, b) => b.size - a.size || a.i - b.i)
    .slice(0, n)
    .map(({ i }) => i);
}

function packChannels(x: number[][], dim: number, top: number) {
  const channels = Array.from({ length: dim }, (_, d) => {
    const own = column(x, d);
    const [low, high] = [Math.min(...own), Math.max(...own)];
    const scale = roundUp(Math.max(f(f(high - low) / top), f(Math.abs(low) / 127)));
    return { scale, zero: clamp(nearestEven(f(low * inverseOf(scale))), -127, 127) };
  });
  const codes = x.map((row) =>
    row.map((value, d) => {
      const { scale, zero } = channels[d]!;
      return clamp(nearestEven(f(value * inverseOf(scale))) - zero, 0, top);
    }),
  );
  return { channels, codes };
}

/** Codes [slot][group] and sections of x [32][dim], finite f32. */
export function packRef(from: readonly (readonly number[])[], shape: PartShape): Extras & { groups: PackedGroup[][] } {
  const { form, isKeys, dim, group } = shape;
  const { hasMean, hasFactors, nOutliers, nSalient } = sectionsOf(shape);
  let x = from.map((row) => [...row]);
  const dims = Array.from({ length: dim }, (_, d) => d);
  const mean = (hasMean ? dims : []).map((d) =>
    roundSigned(f(column(x, d).reduce((sum, value) => f(sum + value), 0) / 32)),
  );
  if (hasMean) x = x.map((row) => row.map((value, d) => f(value - mean[d]!)));
  let rest = x.map((row) => [...row]);
  const chosen = largest(
    dims.map((d) => absmaxOf(column(x, d))),
    nOutliers,
  );
  x = x.map((row) => row.map((value, d) => (chosen.includes(d) ? 0 : value)));
  const factors = (hasFactors ? dims : []).map((d) => roundUp(absmaxOf(column(x, d))));
  if (hasFactors) x = x.map((row) => row.map((value, d) => f(value * inverseOf(factors[d]!))));

  let groups: PackedGroup[][];
  let channels: { scale: number; zero: number }[] = [];
  if (hasChannels(form)) {
    const packed = packChannels(x, dim, form === KvForm.Q4_CHANNELS ? 15 : 7);
    channels = packed.channels;
    groups = packed.codes.map((codes) =>
      splitGroups(codes, group).map((own) => ({ codes: own, scale: 1, minimum: 0 })),
    );
  } else {
    groups = x.map((row) => splitGroups(row, group).map((own) => quantizeGroup(own, form, isKeys)));
  }
  rest = rest.map((row, slot) =>
    row.map((value, d) => {
      const { codes, scale, minimum } = groups[slot]![Math.floor(d / group)]!;
      const code = codes[d % group]!;
      const channel = channels[d];
      const held = channel === undefined ? f(f(code * scale) + minimum) : f(channel.scale * (code + channel.zero));
      return f(value - (hasFactors ? f(held * factors[d]!) : held));
    }),
  );
  const outliers = chosen.map((channel) => {
    const own = column(rest, channel);
    const scale = nearestHalf(f(absmaxOf(own) / 127));
    const codes = own.map((value) => clamp(nearestEven(f(value * inverseOf(scale))), -127, 127));
    codes.forEach((code, slot) => {
      rest[slot]![channel] = f(own[slot]! - f(code * scale));
    });
    return { channel, scale, codes };
  });
  const salience = rest.map((row) => row.reduce((sum, value) => f(sum + f(value * value)), 0));
  const salient = largest(salience, nSalient).map((slot) => {
    const parts = splitGroups(rest[slot]!, group).map((own) => {
      const scale = nearestHalf(f(absmaxOf(own) / 7));
      return { scale, codes: own.map((value) => clamp(nearestEven(f(value * inverseOf(scale))), -7, 7)) };
    });
    return { slot, scales: parts.map(({ scale }) => scale), codes: parts.flatMap(({ codes }) => codes) };
  });
  return { groups, channels, mean, factors, outliers, salient };
}

function splitGroups(row: readonly number[], group: number): number[][] {
  return Array.from({ length: Math.ceil(row.length / group) }, (_, g) => row.slice(g * group, (g + 1) * group));
}
