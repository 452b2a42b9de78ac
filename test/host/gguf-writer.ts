/**
 * Writes small GGUF files for tests, broken ones too: counts, offsets, shapes and types go into the file as they are
 * given.
 * @module
 */

import { tensorType } from "../../host/tensor-type.ts";

/** ggml's value type ids. */
const VALUE_TYPE = {
  u8: 0,
  i8: 1,
  u16: 2,
  i16: 3,
  u32: 4,
  i32: 5,
  f32: 6,
  bool: 7,
  string: 8,
  array: 9,
  u64: 10,
  i64: 11,
  f64: 12,
} as const;

type NumberType = "u8" | "i8" | "u16" | "i16" | "u32" | "i32" | "f32" | "u64" | "i64" | "f64";

export type GgufValue =
  | { readonly type: NumberType; readonly value: number | bigint }
  | { readonly type: "bool"; readonly value: boolean }
  | { readonly type: "string"; readonly value: string }
  | { readonly type: `${NumberType}[]`; readonly value: readonly (number | bigint)[] }
  | { readonly type: "bool[]"; readonly value: readonly boolean[] }
  | { readonly type: "string[]"; readonly value: readonly string[] }
  /** Bytes as they are: a value type id and whatever shall follow it. */
  | { readonly type: "raw"; readonly id: number; readonly value: Uint8Array };

export interface GgufTensor {
  readonly name: string;
  /** ggml type id. */
  readonly type: number;
  /** `shape[0]` is the fastest dimension. */
  readonly shape: readonly (number | bigint)[];
  /** Default: zeros, as many bytes as type and shape need; none for an unknown type. */
  readonly data?: Uint8Array;
  /** Offset written in the table; default: where the data goes. */
  readonly offset?: number | bigint;
}

export interface GgufFile {
  /** Pairs let a key appear twice. */
  readonly metadata: Readonly<Record<string, GgufValue>> | readonly (readonly [string, GgufValue])[];
  readonly tensors: readonly GgufTensor[];
  /** Bytes; default 32. Written as `general.alignment` only when given. */
  readonly alignment?: number;
  readonly magic?: string;
  readonly version?: number;
  /** Counts written in the header; default: the true ones. */
  readonly tensorCount?: number | bigint;
  readonly keyCount?: number | bigint;
}

/** The file's bytes: header, padding, then each tensor's data padded to the alignment. */
export function writeGguf(file: GgufFile): Uint8Array<ArrayBuffer> {
  const alignment = file.alignment ?? 32;
  const metadata: (readonly [string, GgufValue])[] = isPairs(file.metadata)
    ? [...file.metadata]
    : Object.entries(file.metadata);
  if (file.alignment !== undefined) metadata.push(["general.alignment", { type: "u32", value: alignment }]);

  const out = new ByteWriter();
  for (const character of file.magic ?? "GGUF") out.number("u8", character.charCodeAt(0));
  out.number("u32", file.version ?? 3);
  out.number("u64", file.tensorCount ?? file.tensors.length);
  out.number("u64", file.keyCount ?? metadata.length);
  for (const [key, value] of metadata) {
    out.string(key);
    writeValue(out, value);
  }
  const data = file.tensors.map((tensor) => tensor.data ?? new Uint8Array(defaultBytes(tensor)));
  let offset = 0;
  for (const [i, tensor] of file.tensors.entries()) {
    out.string(tensor.name);
    out.number("u32", tensor.shape.length);
    for (const length of tensor.shape) out.number("u64", length);
    out.number("u32", tensor.type);
    out.number("u64", tensor.offset ?? offset);
    offset += padded(data[i]!.byteLength, alignment);
  }
  for (const bytes of data) {
    out.pad(alignment);
    out.raw(bytes);
  }
  return out.bytes();
}

function writeValue(out: ByteWriter, value: GgufValue): void {
  if (value.type === "raw") {
    out.number("u32", value.id);
    out.raw(value.value);
    return;
  }
  const element = value.type.replace("[]", "") as NumberType | "bool" | "string";
  if (Array.isArray(value.value)) {
    out.number("u32", VALUE_TYPE.array);
    out.number("u32", VALUE_TYPE[element]);
    out.number("u64", value.value.length);
  } else {
    out.number("u32", VALUE_TYPE[element]);
  }
  for (const item of [value.value].flat()) {
    if (typeof item === "string") out.string(item);
    else if (typeof item === "boolean") out.number("u8", item ? 1 : 0);
    else out.number(element as NumberType, item as number | bigint);
  }
}

function isPairs(metadata: GgufFile["metadata"]): metadata is readonly (readonly [string, GgufValue])[] {
  return Array.isArray(metadata);
}

function defaultBytes(tensor: GgufTensor): number {
  const type = tensorType(tensor.type);
  if (type === undefined) return 0;
  const values = tensor.shape.reduce<number>((product, length) => product * Number(length), 1);
  return Math.ceil(values / type.blockLength) * type.blockBytes;
}

function padded(bytes: number, alignment: number): number {
  return Math.ceil(bytes / alignment) * alignment;
}

/** Little-endian bytes, appended. */
class ByteWriter {
  private readonly parts: Uint8Array[] = [];
  private length = 0;

  raw(bytes: Uint8Array): void {
    this.parts.push(bytes);
    this.length += bytes.byteLength;
  }

  number(type: NumberType, value: number | bigint): void {
    const view = new DataView(new ArrayBuffer(8));
    const bytes = { u8: 1, i8: 1, u16: 2, i16: 2, u32: 4, i32: 4, f32: 4, u64: 8, i64: 8, f64: 8 }[type];
    if (type === "f32") view.setFloat32(0, Number(value), true);
    else if (type === "f64") view.setFloat64(0, Number(value), true);
    else view.setBigInt64(0, BigInt.asIntN(64, BigInt(value)), true);
    this.raw(new Uint8Array(view.buffer, 0, bytes));
  }

  string(text: string): void {
    const bytes = new TextEncoder().encode(text);
    this.number("u64", bytes.byteLength);
    this.raw(bytes);
  }

  pad(alignment: number): void {
    this.raw(new Uint8Array(padded(this.length, alignment) - this.length));
  }

  bytes(): Uint8Array<ArrayBuffer> {
    const all = new Uint8Array(this.length);
    let at = 0;
    for (const part of this.parts) {
      all.set(part, at);
      at += part.byteLength;
    }
    return all;
  }
}
