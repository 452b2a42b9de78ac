/**
 * Changes to model files that hostile or damaged files could have, as data that fast-check draws and shrinks: places are
 * drawn as plain numbers and taken modulo what the file has.
 * @module
 */
import fc from "fast-check";
import { findSites, type Sites } from "./gguf-sites.ts";
import type { Sizes } from "./model-sizes.ts";

/** A piece of the file replaced by other bytes. */
interface Edit {
  readonly at: number;
  readonly end: number;
  readonly bytes: Uint8Array;
}

export interface Mutation {
  readonly kind: keyof typeof KINDS;
  readonly a: number;
  readonly b: number;
  readonly c: number;
}

export interface MutatedCase {
  /** The file that is changed: its index, or a model made of sizes that agree with each other. */
  readonly base: number | Sizes;
  readonly mutations: readonly Mutation[];
  /** Pad a header whose length changed, so that the tensors' data stays where it belongs. */
  readonly pad: boolean;
  readonly fromStream: boolean;
  readonly activations: "int8" | "f32";
}

/** Numbers at which sums, products and conversions go wrong, as unsigned 64-bit values. */
const INTERESTING: readonly bigint[] = [
  0n,
  1n,
  2n,
  3n,
  7n,
  8n,
  16n,
  31n,
  32n,
  33n,
  64n,
  127n,
  128n,
  255n,
  256n,
  4095n,
  65_535n,
  65_536n,
  100_000n,
  131_072n,
  1_000_000n,
  (1n << 24n) - 1n,
  1n << 24n,
  (1n << 31n) - 1n,
  1n << 31n,
  (1n << 32n) - 1n,
  1n << 32n,
  (1n << 32n) + 1n,
  (1n << 32n) + 32n,
  (1n << 53n) - 1n,
  1n << 53n,
  1n << 61n,
  (1n << 63n) - 1n,
  1n << 63n,
  (1n << 64n) - 32n,
  (1n << 64n) - 1n,
  0x7f800000n,
  0xff800000n,
  0x7fc00000n,
  0x7f7fffffn,
  0x00000001n,
  0x7ff0000000000000n,
];

const TEXTS: readonly Uint8Array[] = [
  "",
  "a",
  "__proto__",
  "constructor",
  "llama",
  "gpt2",
  "token_embd.weight",
  "<|im_end|>",
  "\u0000",
  "\ufeff",
  "a b",
  "x".repeat(70_000),
  "{% for i in range(99999999) %}x{% endfor %}",
  "{{ ".repeat(2000),
  "(".repeat(5000),
  "🜂",
  "{% for m in messages %}{{ m.content }}{% endfor %}",
]
  .map((text) => new TextEncoder().encode(text))
  .concat(new Uint8Array([0xff, 0xfe, 0xc0, 0x80, 0xed, 0xa0, 0x80]));

/** Half floats that are infinite, NaN, the largest, and negative zero. */
const HALVES = [0x7c00, 0xfc00, 0x7e00, 0x7bff, 0xfbff, 0x8000];

const KINDS = {
  /** A byte of the header. */
  flipHeader: ({ headerEnd }, _bytes, { a, b }) => [set(a % headerEnd, [b & 255])],
  /** A byte of the tensors' data. */
  flipData: ({ dataOffset }, bytes, { a, b }) => [set(dataOffset + (a % (bytes.length - dataOffset)), [b & 255])],
  /** A field becomes a number at which arithmetic goes wrong. */
  number: ({ fields }, _bytes, { a, b }) => {
    const field = pick(
      fields.filter(({ kind }) => kind !== "text"),
      a,
    );
    return [{ ...field, bytes: littleEndian(pick(INTERESTING, b), field.end - field.at) }];
  },
  /** A field moves by a little. */
  nudge: ({ fields }, bytes, { a, b }) => {
    const field = pick(
      fields.filter(({ kind }) => kind !== "text"),
      a,
    );
    let value = 0n;
    for (let i = field.end - 1; i >= field.at; --i) value = (value << 8n) | BigInt(bytes[i]!);
    return [{ ...field, bytes: littleEndian(value + BigInt((b % 65) - 32), field.end - field.at) }];
  },
  /** Two fields of one kind and width change places. */
  swap: ({ fields }, bytes, { a, b }) => {
    const first = pick(fields, a);
    const second = pick(
      fields.filter(({ kind }) => kind === first.kind),
      b,
    );
    return [
      { ...first, bytes: bytes.slice(second.at, second.end) },
      { ...second, bytes: bytes.slice(first.at, first.end) },
    ];
  },
  /** A type becomes another one, known or not. */
  type: ({ fields }, _bytes, { a, b }) => {
    const field = pick(
      fields.filter(({ kind }) => kind === "type"),
      a,
    );
    return [{ ...field, bytes: littleEndian(BigInt(b % 45), 4) }];
  },
  /** A string becomes another one, of its right length. */
  text: ({ fields }, _bytes, { a, b }) => {
    const field = pick(
      fields.filter(({ kind }) => kind === "text"),
      a,
    );
    const text = pick(TEXTS, b);
    return [{ at: field.at - 8, end: field.end, bytes: join(littleEndian(BigInt(text.length), 8), text) }];
  },
  /** The file ends early. */
  cut: (_sites, bytes, { a }) => [{ at: a % bytes.length, end: bytes.length, bytes: new Uint8Array(0) }],
  insert: ({ headerEnd }, bytes, { a, b, c }) => {
    const at = a % (c % 4 === 0 ? bytes.length : headerEnd);
    return [{ at, end: at, bytes: new Uint8Array((b % 70) + 1).fill(c & 255) }];
  },
  remove: ({ headerEnd }, bytes, { a, b, c }) => {
    const at = a % (c % 4 === 0 ? bytes.length : headerEnd);
    return [{ at, end: Math.min(bytes.length, at + (b % 70) + 1), bytes: new Uint8Array(0) }];
  },
  /** A tensor is there twice, as it is or under a changed name. */
  twice: ({ tensors }, bytes, { a, b }) => {
    const { at, end } = pick(tensors, a);
    const copy = bytes.slice(at, end);
    if (b % 2 === 1) copy[8] = b & 255;
    return [{ at: end, end, bytes: copy }, count(bytes, 8, 1n)];
  },
  /** A tensor is gone from the table. */
  without: ({ tensors }, bytes, { a }) => [{ ...pick(tensors, a), bytes: new Uint8Array(0) }, count(bytes, 8, -1n)],
  keyTwice: ({ keys }, bytes, { a, b }) => {
    const { at, end } = pick(keys, a);
    const copy = bytes.slice(at, end);
    if (b % 2 === 1) copy[8] = b & 255;
    return [{ at: end, end, bytes: copy }, count(bytes, 16, 1n)];
  },
  keyWithout: ({ keys }, bytes, { a }) => [{ ...pick(keys, a), bytes: new Uint8Array(0) }, count(bytes, 16, -1n)],
  /** A tensor's data begins where another's does, or a little beside. */
  overlap: ({ tensors }, bytes, { a, b, c }) => {
    const from = pick(tensors, b).end - 8;
    const to = pick(tensors, a).end - 8;
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const offset = view.getBigUint64(from, true) + BigInt((c % 3) * 32);
    return [{ at: to, end: to + 8, bytes: littleEndian(offset, 8) }];
  },
  /** Arrays in arrays, deep. */
  nest: ({ keys }, bytes, { a, b }) => {
    const { at } = pick(keys, a);
    const level = join(littleEndian(9n, 4), littleEndian(1n, 8));
    const levels = Array.from({ length: b % 3000 }, () => level);
    const name = new TextEncoder().encode("nested");
    const value = [littleEndian(9n, 4), ...levels, littleEndian(4n, 4), littleEndian(0n, 8)];
    return [{ at, end: at, bytes: join(littleEndian(6n, 8), name, ...value) }, count(bytes, 16, 1n)];
  },
  /** A scale or weight becomes infinite, NaN or as large as can be. */
  half: ({ dataOffset }, bytes, { a, b }) => {
    const at = dataOffset + ((a % (bytes.length - dataOffset)) & ~1);
    const half = pick(HALVES, b);
    return [set(at, [half & 255, half >> 8])];
  },
} satisfies Record<string, (sites: Sites, bytes: Uint8Array, mutation: Omit<Mutation, "kind">) => Edit[]>;

/** The changed file. Edits are places of the file as it was; where two of them meet, the later place wins. */
export function mutate(bytes: Uint8Array, { mutations, pad }: Pick<MutatedCase, "mutations" | "pad">): Uint8Array {
  const sites = findSites(bytes);
  // A file of a vocabulary alone has no tensors to change.
  const possible = mutations.filter(({ kind }) => sites.tensors.length > 0 || !OF_TENSORS.has(kind));
  const edits = possible.flatMap((mutation) => KINDS[mutation.kind](sites, bytes, mutation));
  edits.sort((x, y) => x.at - y.at);
  const parts: Uint8Array[] = [];
  let at = 0;
  let headerLength = 0;
  for (const edit of [...edits, { at: bytes.length, end: bytes.length, bytes: new Uint8Array(0) }]) {
    if (at < sites.dataOffset && edit.at >= sites.dataOffset) {
      parts.push(bytes.subarray(at, Math.max(at, sites.headerEnd)));
      headerLength = parts.reduce((sum, part) => sum + part.length, 0);
      const padding = sites.dataOffset - Math.max(at, sites.headerEnd);
      parts.push(new Uint8Array(pad ? (32 - (headerLength % 32)) % 32 : padding));
      at = sites.dataOffset;
    }
    parts.push(bytes.subarray(at, Math.max(at, edit.at)), edit.bytes);
    at = Math.max(at, edit.end);
  }
  return join(...parts);
}

const OF_TENSORS: ReadonlySet<keyof typeof KINDS> = new Set(["flipData", "half", "twice", "without", "overlap"]);

/** Changes that the header's checks mostly let through are drawn twice as often. */
const DEEP = ["flipData", "half", "nudge", "text"] as const;

/** Any case over files `0 .. nBases - 1` or models of drawn sizes; most change one or two places. */
export function arbitraryCase(nBases: number): fc.Arbitrary<MutatedCase> {
  const number = fc.nat(0x3fffffff);
  const kind = fc.constantFrom(...(Object.keys(KINDS) as (keyof typeof KINDS)[]), ...DEEP);
  const mutation = fc.record({ kind, a: number, b: number, c: number });
  return fc.record({
    base: fc.oneof({ weight: 5, arbitrary: fc.nat(nBases - 1) }, { weight: 1, arbitrary: arbitrarySizes() }),
    mutations: fc.oneof(
      { weight: 1, arbitrary: fc.constant([]) },
      { weight: 3, arbitrary: fc.array(mutation, { minLength: 1, maxLength: 1 }) },
      { weight: 2, arbitrary: fc.array(mutation, { minLength: 2, maxLength: 3 }) },
      { weight: 1, arbitrary: fc.array(mutation, { minLength: 4, maxLength: 12 }) },
    ),
    pad: fc.boolean(),
    fromStream: fc.boolean(),
    activations: fc.constantFrom("int8", "int8", "int8", "f32"),
  });
}

/** Sizes from the smallest to the caps, as long as the file stays small. */
function arbitrarySizes(): fc.Arbitrary<Sizes> {
  return fc
    .record({
      nLayers: fc.constantFrom(1, 1, 2, 5, 40),
      hidden: fc.constantFrom(8, 24, 32, 40, 64, 4096),
      ffn: fc.constantFrom(8, 32, 72, 256, 20_000, 131_072),
      nKvHeads: fc.constantFrom(1, 2, 3, 64, 1024),
      gqaGroup: fc.constantFrom(1, 2, 5, 1024),
      keyDim: fc.constantFrom(8, 16, 24, 64, 512),
      valueDim: fc.constantFrom(8, 16, 40, 128, 512),
      vocab: fc.constantFrom(1, 2, 7, 8, 33, 1000, 40_000),
      context: fc.constantFrom(1, 2, 31, 32, 33, 4096, 1 << 20, 1 << 24),
    })
    .map(({ gqaGroup, ...sizes }) => ({ ...sizes, nHeads: sizes.nKvHeads * gqaGroup }))
    .filter(({ nLayers, hidden, ffn, nHeads, nKvHeads, keyDim, valueDim, vocab }) => {
      const values = nLayers * (3 * ffn + (nHeads + nKvHeads) * (keyDim + valueDim)) + vocab;
      return nHeads <= 1024 && hidden * values < 200_000;
    });
}

function pick<T>(items: readonly T[], index: number): T {
  return items[index % items.length]!;
}

function set(at: number, values: readonly number[]): Edit {
  return { at, end: at + values.length, bytes: new Uint8Array(values) };
}

/** A 64-bit count of the header, changed by `by`. */
function count(bytes: Uint8Array, at: number, by: bigint): Edit {
  const value = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(at, true);
  return { at, end: at + 8, bytes: littleEndian(value + by, 8) };
}

function littleEndian(value: bigint, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => Number((value >> BigInt(8 * i)) & 255n));
}

function join(...parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
