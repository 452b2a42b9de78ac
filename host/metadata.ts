/**
 * Typed reads of GGUF metadata. A key that is absent or holds another kind of value is `missing_metadata`; a number
 * outside the limits that the caller states is `malformed_file`. No value of a file is used unchecked.
 * @module
 */

import { ThimbleError } from "./errors.ts";

/** Key to value as the file has them: number, bigint (64-bit types), string, boolean, or an array of one of these. */
export type Metadata = Readonly<Record<string, unknown>>;

/** What the getters read from: a `GgufHeader`, or `{ metadata }` alone. */
export interface MetadataHolder {
  readonly metadata: Metadata;
  /** Shown in errors. */
  readonly file?: string;
}

/** What a getter gives when the key is absent; without it, absence is an error. `{ default: undefined }` is allowed. */
export interface MetadataDefault<D> {
  readonly default?: D;
}

/** Inclusive limits, in the unit of the key. */
export interface MetadataLimits<D> extends MetadataDefault<D> {
  readonly min?: number;
  readonly max?: number;
}

/** A finite number of any numeric type; 64-bit integers beyond 53 bits are refused. */
export function metadataNumber<D = never>(
  holder: MetadataHolder,
  key: string,
  options: MetadataLimits<D> = {},
): number | D {
  const value = lookUp(holder, key);
  if (value === undefined) return absent(holder, key, options);
  if (typeof value !== "number" && typeof value !== "bigint") throw wrongKind(holder, key, value, "a number");
  return limited(holder, key, toNumber(holder, key, value), options);
}

/** As `metadataNumber`, and a whole number. */
export function metadataInteger<D = never>(
  holder: MetadataHolder,
  key: string,
  options: MetadataLimits<D> = {},
): number | D {
  const value = metadataNumber(holder, key, options);
  if (typeof value === "number" && lookUp(holder, key) !== undefined && !Number.isSafeInteger(value)) {
    throw malformed(holder, key, `is ${value}, which is not a whole number`);
  }
  return value;
}

export function metadataString<D = never>(
  holder: MetadataHolder,
  key: string,
  options: MetadataDefault<D> = {},
): string | D {
  const value = lookUp(holder, key);
  if (value === undefined) return absent(holder, key, options);
  if (typeof value !== "string") throw wrongKind(holder, key, value, "a string");
  return value;
}

export function metadataBoolean<D = never>(
  holder: MetadataHolder,
  key: string,
  options: MetadataDefault<D> = {},
): boolean | D {
  const value = lookUp(holder, key);
  if (value === undefined) return absent(holder, key, options);
  if (typeof value !== "boolean") throw wrongKind(holder, key, value, "true or false");
  return value;
}

/** An array of strings (a vocabulary, merges); may be empty. */
export function metadataStrings<D = never>(
  holder: MetadataHolder,
  key: string,
  options: MetadataDefault<D> = {},
): readonly string[] | D {
  const value = lookUp(holder, key);
  if (value === undefined) return absent(holder, key, options);
  if (!Array.isArray(value) || !value.every((item) => typeof item === "string")) {
    throw wrongKind(holder, key, value, "an array of strings");
  }
  return value;
}

/** An array of numbers, each within the limits (token types, scores, per-layer sizes); may be empty. */
export function metadataNumbers<D = never>(
  holder: MetadataHolder,
  key: string,
  options: MetadataLimits<D> = {},
): readonly number[] | D {
  const value = lookUp(holder, key);
  if (value === undefined) return absent(holder, key, options);
  if (!Array.isArray(value)) throw wrongKind(holder, key, value, "an array of numbers");
  return value.map((item: unknown) => {
    if (typeof item !== "number" && typeof item !== "bigint")
      throw wrongKind(holder, key, value, "an array of numbers");
    return limited(holder, key, toNumber(holder, key, item), options);
  });
}

// A key such as "constructor" must not find what every object inherits.
function lookUp(holder: MetadataHolder, key: string): unknown {
  return Object.hasOwn(holder.metadata, key) ? holder.metadata[key] : undefined;
}

function absent<D>(holder: MetadataHolder, key: string, options: MetadataDefault<D>): D {
  if ("default" in options) return options.default as D;
  throw new ThimbleError("missing_metadata", `the file has no metadata key "${key}", which is needed`, {
    ...where(holder),
    name: key,
  });
}

function toNumber(holder: MetadataHolder, key: string, value: number | bigint): number {
  const number = Number(value);
  if (Number.isFinite(number) && (typeof value === "number" || Number.isSafeInteger(number))) return number;
  throw malformed(holder, key, `is ${value}, which is no usable number`);
}

function limited(holder: MetadataHolder, key: string, value: number, limits: MetadataLimits<unknown>): number {
  const { min = -Infinity, max = Infinity } = limits;
  if (value >= min && value <= max) return value;
  throw malformed(holder, key, `is ${value}; it must be ${value < min ? `at least ${min}` : `at most ${max}`}`);
}

function malformed(holder: MetadataHolder, key: string, what: string): ThimbleError {
  return new ThimbleError("malformed_file", `metadata key "${key}" ${what}`, { ...where(holder), name: key });
}

function wrongKind(holder: MetadataHolder, key: string, value: unknown, wanted: string): ThimbleError {
  const found = Array.isArray(value) ? "an array" : `a ${typeof value}`;
  const message = `metadata key "${key}" holds ${found}; it must be ${wanted}`;
  return new ThimbleError("missing_metadata", message, { ...where(holder), name: key });
}

function where(holder: MetadataHolder): { file?: string } {
  return holder.file === undefined ? {} : { file: holder.file };
}
