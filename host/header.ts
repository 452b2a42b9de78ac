/**
 * What is known of a model file before its tensors are read: the result of `readHeader` (gguf.ts), and all that loading
 * needs, so that whoever has it already can do without the parser.
 * @module
 */
import { ThimbleError } from "./errors.ts";
import type { Metadata } from "./metadata.ts";
import type { GgufType, GgufTypeName } from "./tensor-type.ts";

/** One tensor of the file. */
export interface TensorInfo {
  readonly name: string;
  readonly type: GgufType;
  readonly typeName: GgufTypeName;
  /** GGUF order: `shape[0]` is the fastest dimension, a row's length. 1 to 4 dimensions, each at least 1. */
  readonly shape: readonly number[];
  /** Product of `shape` without `shape[0]`. */
  readonly rows: number;
  /** `shape[0]`, a whole number of the type's blocks. */
  readonly columns: number;
  /** Position in the file, bytes; a multiple of the alignment from `dataOffset`. */
  readonly offset: number;
  /** Size of the data. */
  readonly bytes: number;
}

/** What a GGUF file says of itself. */
export interface GgufHeader {
  /** The source's name, for errors. */
  readonly file: string;
  /** GGUF version, 2 or 3. */
  readonly version: number;
  /** The file's own keys only, on an object without a prototype. */
  readonly metadata: Metadata;
  /** By offset, without overlap. */
  readonly tensors: readonly TensorInfo[];
  /** Where tensor data begins, bytes. */
  readonly dataOffset: number;
  /** Size of the file in bytes; undefined for a stream that has not ended: `checkEnd` when it has. */
  readonly size: number | undefined;
  /** Bytes; a power of two. */
  readonly alignment: number;
  /** `general.architecture`. */
  readonly architecture: string;
}

/**
 * Checks that the tensors' data ends within a file of `size` bytes. `readHeader` does this when the size is known; for a
 * stream the loader does it when the stream has ended early.
 * @throws ThimbleError truncated_file, with the bytes needed and available and the first tensor that is cut
 */
export function checkEnd(header: Pick<GgufHeader, "file" | "tensors">, size: number): void {
  const cut = header.tensors.find((tensor) => tensor.offset + tensor.bytes > size);
  const last = header.tensors.at(-1);
  if (cut === undefined || last === undefined) return;
  const needed = last.offset + last.bytes;
  const message = `the file has ${size} of the ${needed} bytes its header declares; it ends before or inside tensor`;
  throw new ThimbleError("truncated_file", `${message} "${cut.name}"; download it again`, {
    file: header.file,
    needed,
    available: size,
    name: cut.name,
  });
}
