/**
 * Bytes in and out of the command, its messages, and its ends. Messages are put together in one line and go to stderr at once;
 * they begin with "thimble: ". Exit codes are the JavaScript tool's: 0 done, 1 failed, 2 wrong usage.
 */
import { arenaAlloc } from "../memory/arena";
import { fd_read, fd_write, proc_exit } from "./preview1";

export const enum Exit {
  FAILED = 1,
  USAGE = 2,
}

export const enum Fd {
  STDIN = 0,
  STDOUT = 1,
  STDERR = 2,
}

/** errno of a call that a signal cut short. */
const EINTR: u32 = 27;
/** errno of a pipe that nobody reads any more. */
const EPIPE: u32 = 64;
/** Bytes of a read: some hosts copy as many. */
const MOST_READ: u32 = 1 << 24;
const LINE_BYTES: usize = 4096;

/** | iovec 8, count 4, .. 16 | answer 16 | the line |; made at the start. */
let cells: usize = 0;
let lineLength: usize = 0;

/** After `arenaStart`, before anything else here. */
export function openIo(): void {
  cells = arenaAlloc(32 + LINE_BYTES);
}

/** 16 bytes for what a WASI call has to say. */
export function answer(): usize {
  return cells + 16;
}

/** Appends to the line; what it has no room for is left out. */
export function putBytes(from: usize, n: usize): void {
  for (let i: usize = 0; i < n && lineLength < LINE_BYTES - 1; ++i) {
    const byte = load<u8>(from + i);
    // What arguments and files say must not move a terminal's cursor.
    store<u8>(cells + 32 + lineLength++, byte < 32 || byte == 127 ? 63 : byte);
  }
}

/** A text of ASCII. */
export function put(text: string): void {
  for (let i = 0; i < text.length && lineLength < LINE_BYTES - 1; ++i) {
    store<u8>(cells + 32 + lineLength++, <u8>text.charCodeAt(i));
  }
}

export function putNumber(n: u64): void {
  let power: u64 = 1;
  while (n / power >= 10) power *= 10;
  for (; power > 0; power /= 10) {
    if (lineLength < LINE_BYTES - 1) store<u8>(cells + 32 + lineLength++, <u8>(48 + ((n / power) % 10)));
  }
}

/** Ends the line. */
export function endLine(fd: u32): void {
  store<u8>(cells + 32 + lineLength++, 10);
  const n = lineLength;
  lineLength = 0;
  writeAll(fd, cells + 32, n);
}

/** Ends the command with the line so far as its last word. */
export function exit(code: u32): void {
  endLine(Fd.STDERR);
  proc_exit(code);
}

/** A failure in one sentence. */
export function fail(message: string): void {
  put("thimble: ");
  put(message);
  exit(Exit.FAILED);
}

/** All of it, or the end of the command: quietly where the reader has gone. */
export function writeAll(fd: u32, from: usize, n: usize): void {
  while (n > 0) {
    store<usize>(cells, from);
    store<usize>(cells, n, 4);
    const errno = fd_write(fd, cells, 1, cells + 8);
    if (errno == EINTR) continue;
    if (errno != 0) proc_exit(errno == EPIPE ? 0 : Exit.FAILED);
    const written = load<usize>(cells + 8);
    // A host that writes nothing, or says that it has written more than there is, would never end.
    if (written == 0 || written > n) proc_exit(Exit.FAILED);
    from += written;
    n -= written;
  }
}

/** Reads until `n` bytes are there or the file ends: how many there are, or -1 - errno. */
export function readSome(fd: u32, to: usize, n: u64): i64 {
  let have: u64 = 0;
  while (have < n) {
    store<usize>(cells, to + <usize>have);
    store<u32>(cells, <u32>min<u64>(n - have, MOST_READ), 4);
    const errno = fd_read(fd, cells, 1, cells + 8);
    if (errno == EINTR) continue;
    if (errno != 0) return -1 - <i64>errno;
    const got = load<u32>(cells + 8);
    if (got == 0) break;
    if (got > min<u64>(n - have, MOST_READ)) return -1;
    have += got;
  }
  return have;
}

/** A region of the arena that the command cannot do without. */
export function need(bytes: u64): usize {
  const address = arenaAlloc(bytes);
  if (address == 0) {
    put("thimble: out of memory: ");
    putNumber(bytes);
    put(" bytes more are needed");
    exit(Exit.FAILED);
  }
  return address;
}
