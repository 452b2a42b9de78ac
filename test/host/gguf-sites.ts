/**
 * Where the fields of a whole GGUF file lie, for tests that change them: every count, length, type, dimension, offset and
 * value with its place and width, and every key and tensor entry as a range.
 * @module
 */

const STRING = 8;
const ARRAY = 9;
const VALUE_BYTES = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];

/** Bytes [at, end) of the file. */
export interface Range {
  readonly at: number;
  readonly end: number;
}

export type FieldKind = "count" | "length" | "type" | "dimension" | "offset" | "value" | "text";

export interface Field extends Range {
  readonly kind: FieldKind;
}

export interface Sites {
  readonly fields: readonly Field[];
  /** Key, type and value of each metadata entry. */
  readonly keys: readonly Range[];
  /** Name to offset of each tensor entry. */
  readonly tensors: readonly Range[];
  readonly headerEnd: number;
  readonly dataOffset: number;
}

/** Elements of an array whose fields are listed; the rest of a vocabulary is more of the same. */
const LISTED_ELEMENTS = 4;

export function findSites(bytes: Uint8Array): Sites {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const fields: Field[] = [];
  let at = 0;
  const take = (kind: FieldKind, length: number, isListed = true): number => {
    if (isListed && length > 0) fields.push({ kind, at, end: at + length });
    at += length;
    return at - length;
  };
  const u32 = (kind: FieldKind): number => view.getUint32(take(kind, 4), true);
  const u64 = (kind: FieldKind, isListed = true): number => Number(view.getBigUint64(take(kind, 8, isListed), true));
  const string = (isListed = true): void => {
    take("text", u64("length", isListed), isListed);
  };
  const value = (type: number, isListed = true): void => {
    if (type === STRING) string(isListed);
    else take("value", VALUE_BYTES[type]!, isListed);
  };

  take("type", 4);
  take("type", 4);
  const nTensors = u64("count");
  const nKeys = u64("count");
  const keys = Array.from({ length: nKeys }, () => {
    const start = at;
    string();
    const type = u32("type");
    if (type === ARRAY) {
      const element = u32("type");
      const length = u64("count");
      for (let i = 0; i < length; ++i) value(element, i < LISTED_ELEMENTS);
    } else value(type);
    return { at: start, end: at };
  });
  const tensors = Array.from({ length: nTensors }, () => {
    const start = at;
    string();
    const dimensions = u32("count");
    for (let i = 0; i < dimensions; ++i) u64("dimension");
    u32("type");
    u64("offset");
    return { at: start, end: at };
  });
  return { fields, keys, tensors, headerEnd: at, dataOffset: Math.ceil(at / 32) * 32 };
}
