/**
 * Pieces of a file that arrived and may be read again: the last read of a header usually brought the beginning of the
 * tensors' data too.
 * @module
 */

/** Bytes that arrived, and where in the file they begin. */
interface Piece {
  readonly start: number;
  readonly bytes: Uint8Array;
}

export class KeptBytes {
  #pieces: Piece[] = [];

  add(start: number, bytes: Uint8Array): void {
    this.#pieces.push({ start, bytes });
  }

  /** Drops what ends at `offset` or before; everything without an offset. */
  drop(offset = Number.POSITIVE_INFINITY): void {
    this.#pieces = this.#pieces.filter(({ start, bytes }) => start + bytes.byteLength > offset);
  }

  /** Copies what the pieces have of the beginning of a read of `count` bytes at `offset`; returns how much that was. */
  copyTo(target: Uint8Array, offset: number, count: number): number {
    let done = 0;
    for (const { start, bytes } of this.#pieces) {
      const from = offset + done - start;
      if (from < 0 || from >= bytes.byteLength || done === count) continue;
      const piece = bytes.subarray(from, from + count - done);
      target.set(piece, done);
      done += piece.byteLength;
    }
    return done;
  }
}
