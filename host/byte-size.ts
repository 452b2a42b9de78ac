/**
 * Amounts of memory as people write them: a number of bytes, or "128MB", "1.5 GiB". MB is 10^6 bytes, MiB 2^20.
 * @module
 */
import { wrongOption } from "./options.ts";

/** Bytes, or a text with a unit: B, kB, MB, GB (powers of 1000), KiB, MiB, GiB (powers of 1024). */
export type ByteSize = number | string;

const UNITS: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
};

/** What is allowed, in words; for messages and help. */
export const BYTE_SIZE_WORDS = "bytes, or a number with kB, MB, GB (1000s) or KiB, MiB, GiB (1024s)";

/**
 * The bytes of an amount, at least 1; a fraction of a byte is dropped.
 * @param name the option, for the message
 * @throws ThimbleError invalid_option
 */
export function parseByteSize(name: string, size: unknown): number {
  const bytes = typeof size === "string" ? ofText(size) : size;
  if (typeof bytes === "number" && Number.isSafeInteger(bytes) && bytes >= 1) return bytes;
  const given = typeof size === "string" ? `"${size.slice(0, 40)}"` : shown(size);
  throw wrongOption(name, `${name} is ${given}; it must be ${BYTE_SIZE_WORDS}`);
}

/** What a caller gave instead of a size; objects can fail to become text. */
function shown(value: unknown): string {
  return typeof value === "object" || typeof value === "function" ? typeof value : String(value);
}

/** Digits are counted before anything is computed, and fractions are exact: 1.15MB has 1150000 bytes. */
function ofText(text: string): number | undefined {
  const [, whole, fraction = "", unit = ""] = /^\s*(\d{1,16})(?:\.(\d{1,9}))?\s*([a-z]{0,3})\s*$/i.exec(text) ?? [];
  const factor = Object.hasOwn(UNITS, unit.toLowerCase()) ? UNITS[unit.toLowerCase()] : undefined;
  if (whole === undefined || factor === undefined) return undefined;
  return Number((BigInt(whole + fraction) * BigInt(factor)) / 10n ** BigInt(fraction.length));
}
