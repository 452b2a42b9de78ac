/**
 * Walks a GGUF header's structure before anything decodes it: reads little more of the source than the header takes,
 * bounds every count and length, and finds where the header ends. The parser library then sees a header known to be
 * whole; without this it reads zeros past the end of a short file and cuts a string off where its buffer ends.
 *
 *   magic u32 | version u32 | tensor count u64 | key count u64
 *   per key:    name string | value type u32 | value
 *   per tensor: name string | dimension count u32 | dimensions u64[] | type u32 | offset u64
 *   string: bytes u64, UTF-8.  array: element type u32 | count u64 | elements
 *
 * Arrays of strings (the vocabulary, merges) and long strings are decoded here and blanked in the bytes handed on:
 * the library makes a TextDecoder for each string, which is most of its time, and drops a leading U+FEFF.
 * @module
 */

import { ThimbleError, type ThimbleErrorCode } from "./errors.ts";
import type { ByteSource } from "./source.ts";
import { decodeStrings } from "./string-table.ts";

/** Below the library's own ceiling of 50 MB; a 262K vocabulary with merges takes some 15 MB. */
const MAX_HEADER_BYTES = 48_000_000;
const MAX_TENSORS = 100_000;
const MAX_KEYS = 100_000;
const MAX_NAME_BYTES = 65_535;
const MAX_STRING_BYTES = 10_000_000;
const MAX_ARRAY_LENGTH = 1_000_000;
/** Over all arrays of a file, so that no file turns few bytes into many JavaScript values. */
const MAX_ELEMENTS = 4_000_000;
/** ggml has no more. */
const MAX_DIMENSIONS = 4;
/** Strings above this are decoded here; the library holds 500 KB ahead, so shorter ones never meet its buffer's end. */
const LONG_STRING_BYTES = 65_536;
const FIRST_READ_BYTES = 1 << 18;

const STRING = 8;
const ARRAY = 9;
/** Bytes by value type: u8 i8 u16 i16 u32 i32 f32 bool, string and array (0: of their own length), u64 i64 f64. */
const VALUE_BYTES = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];

/** What the walk found. */
export interface GgufLayout {
  readonly version: number;
  /** Bytes of the header in the file, before the padding to the tensor data. */
  readonly headerBytes: number;
  /** The header with the values of `decoded` made empty; for the parser library. */
  readonly reduced: Uint8Array<ArrayBuffer>;
  /** Values decoded already, by key. */
  readonly decoded: ReadonlyMap<string, string | readonly string[]>;
  /** The file's metadata keys. */
  readonly keys: ReadonlySet<string>;
}

/**
 * Reads and bounds the header of `source`.
 * @throws ThimbleError bad_magic, truncated_file, malformed_file, source_unreadable
 */
export async function readLayout(source: ByteSource, signal?: AbortSignal): Promise<GgufLayout> {
  const walk = new HeaderWalk(source, signal);
  await walk.magic();
  const version = await walk.version();
  const tensorCount = await walk.count("tensors", MAX_TENSORS);
  const keyCount = await walk.count("metadata keys", MAX_KEYS);
  const keys = new Set<string>();
  for (let i = 0; i < keyCount; i++) {
    const key = await walk.string("a metadata key", MAX_NAME_BYTES);
    if (keys.has(key)) throw walk.malformed(`metadata key "${key}" appears twice`, key);
    keys.add(key);
    await walk.value(key);
  }
  for (let i = 0; i < tensorCount; i++) await walk.tensor();
  return { version, headerBytes: walk.position, reduced: walk.reduced(), decoded: walk.decoded, keys };
}

class HeaderWalk {
  position = 0;
  readonly decoded = new Map<string, string | readonly string[]>();
  private readonly source: ByteSource;
  private readonly signal: AbortSignal | undefined;
  private readonly decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  private bytes = new Uint8Array(0);
  private view = new DataView(this.bytes.buffer);
  private filled = 0;
  private elements = 0;
  /** [position of a 64-bit length to make 0, end of what it covers] of each decoded value, ascending. */
  private readonly blanks: [number, number][] = [];

  constructor(source: ByteSource, signal: AbortSignal | undefined) {
    this.source = source;
    this.signal = signal;
  }

  async magic(): Promise<void> {
    await this.fill(24);
    const found = this.bytes.subarray(0, Math.min(4, this.filled));
    if (found.length === 4 && this.view.getUint32(0, true) === 0x46554747) {
      this.position = 4;
      return;
    }
    const text = String.fromCharCode(...found).replace(/[^ -~]/g, ".");
    const hex = Array.from(found, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
    let message = `this is not a GGUF file: it begins with "${text}" (${hex}), not "GGUF"`;
    if (found.length === 0) message = "this is not a GGUF file: it is empty";
    else if (text === "vers") message += "; it may be a Git LFS pointer: fetch the file it stands for";
    else if (text[0] === "<") message += "; it may be a web page: check the address";
    throw this.error("bad_magic", message);
  }

  async version(): Promise<number> {
    const version = await this.u32("the version");
    if (version === 2 || version === 3) return version;
    if ((version & 0xffff) === 0 && version !== 0) throw this.malformed("big-endian GGUF is not supported; convert it");
    throw this.malformed(`GGUF version ${version} is not supported; versions 2 and 3 are`);
  }

  /** A 64-bit count or length of at most `limit`. */
  async count(what: string, limit: number): Promise<number> {
    await this.need(8, `the number of ${what}`);
    return this.takeCount(what, limit);
  }

  async string(what: string, limit: number): Promise<string> {
    const length = await this.count(`bytes of ${what}`, limit);
    await this.need(length, what);
    return this.takeText(length);
  }

  async value(key: string): Promise<void> {
    const what = `metadata key "${key}"`;
    const type = await this.u32(what);
    if (type === STRING) {
      const start = this.position;
      const text = await this.string(what, MAX_STRING_BYTES);
      if (this.position - start > LONG_STRING_BYTES) this.keep(key, start, text);
    } else if (type === ARRAY) {
      await this.array(key, what);
    } else {
      await this.skip(this.valueBytes(type, key), what);
    }
  }

  async tensor(): Promise<void> {
    const name = await this.string("a tensor name", MAX_NAME_BYTES);
    const dimensions = await this.u32(`tensor "${name}"`);
    if (dimensions < 1 || dimensions > MAX_DIMENSIONS) {
      throw this.malformed(`tensor "${name}" has ${dimensions} dimensions; 1 to ${MAX_DIMENSIONS} are allowed`, name);
    }
    await this.skip(8 * dimensions + 12, `tensor "${name}"`);
  }

  /** The header up to `position`, decoded values made empty. */
  reduced(): Uint8Array<ArrayBuffer> {
    const removed = this.blanks.reduce((sum, [length, end]) => sum + end - length - 8, 0);
    const reduced = new Uint8Array(this.position - removed);
    let from = 0;
    let to = 0;
    for (const [length, end] of this.blanks) {
      reduced.set(this.bytes.subarray(from, length), to);
      to += length - from + 8;
      from = end;
    }
    reduced.set(this.bytes.subarray(from, this.position), to);
    return reduced;
  }

  malformed(message: string, name?: string): ThimbleError {
    return this.error("malformed_file", message, name === undefined ? {} : { name });
  }

  private async array(key: string, what: string): Promise<void> {
    const type = await this.u32(what);
    if (type === ARRAY) throw this.malformed(`${what} is an array of arrays, which GGUF does not allow`, key);
    const start = this.position;
    const length = await this.count(`elements of ${what}`, MAX_ARRAY_LENGTH);
    this.elements += length;
    if (this.elements > MAX_ELEMENTS) {
      throw this.malformed(`its metadata arrays hold more than ${MAX_ELEMENTS} elements together`, key);
    }
    if (type !== STRING) return this.skip(length * this.valueBytes(type, key), what);
    const bytesOf = `bytes of ${what}`;
    // As `string`, but a vocabulary's hundred thousand strings wait for nothing that is there already.
    for (let i = 0; i < length; i++) {
      if (this.position + 8 > this.filled) await this.need(8, what);
      const bytes = this.takeCount(bytesOf, MAX_STRING_BYTES);
      if (this.position + bytes > this.filled) await this.need(bytes, what);
      this.position += bytes;
    }
    const strings = decodeStrings(this.bytes.subarray(start + 8, this.position), length);
    this.keep(key, start, strings);
  }

  private keep(key: string, start: number, value: string | readonly string[]): void {
    this.decoded.set(key, value);
    this.blanks.push([start, this.position]);
  }

  private valueBytes(type: number, key: string): number {
    const bytes = VALUE_BYTES[type];
    if (bytes === undefined)
      throw this.malformed(`metadata key "${key}" has value type ${type}, which is unknown`, key);
    return bytes;
  }

  private async u32(what: string): Promise<number> {
    await this.need(4, what);
    this.position += 4;
    return this.view.getUint32(this.position - 4, true);
  }

  private async skip(count: number, what: string): Promise<void> {
    await this.need(count, what);
    this.position += count;
  }

  private takeCount(what: string, limit: number): number {
    const value = this.view.getUint32(this.position, true) + this.view.getUint32(this.position + 4, true) * 2 ** 32;
    if (value > limit) throw this.malformed(`it declares ${value} ${what}; at most ${limit} are allowed`);
    this.position += 8;
    return value;
  }

  private takeText(length: number): string {
    this.position += length;
    return this.decoder.decode(this.bytes.subarray(this.position - length, this.position));
  }

  /** Makes the next `count` bytes readable. */
  private async need(count: number, what: string): Promise<void> {
    const end = this.position + count;
    if (end <= this.filled) return;
    if (end > MAX_HEADER_BYTES) throw this.malformed(`its header is longer than ${MAX_HEADER_BYTES} bytes`);
    await this.fill(end);
    if (end <= this.filled) return;
    const message = `the file ends at byte ${this.filled}, inside ${what}, where at least ${end} bytes are needed`;
    throw this.error("truncated_file", `${message}; download it again`, { needed: end, available: this.filled });
  }

  /** Reads until `end` bytes are there or the source ends, in reads that double. */
  private async fill(end: number): Promise<void> {
    const wanted = Math.max(end, Math.min(MAX_HEADER_BYTES, Math.max(FIRST_READ_BYTES, 2 * this.filled)));
    const grown = new Uint8Array(Math.min(wanted, this.source.size ?? wanted));
    grown.set(this.bytes.subarray(0, this.filled));
    this.bytes = grown;
    this.view = new DataView(grown.buffer);
    this.filled += await this.source.read(grown.subarray(this.filled), this.filled, this.signal);
  }

  private error(code: ThimbleErrorCode, message: string, details: object = {}): ThimbleError {
    return new ThimbleError(code, message, { file: this.source.name, ...details });
  }
}
