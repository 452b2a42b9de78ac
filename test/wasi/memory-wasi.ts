/**
 * WASI preview 1 over bytes in memory, as little of it as the command imports: hundreds of runs a second, and hosts that are
 * unlike others (short reads, no file sizes). What the command does against the rules throws here.
 * @module
 */
import { readFileSync } from "node:fs";

/** build:test puts it there. */
export const COMMAND = "build/thimble.wasm";

let compiled: WebAssembly.Module | undefined;

export function commandModule(): WebAssembly.Module {
  compiled ??= new WebAssembly.Module(readFileSync(COMMAND));
  return compiled;
}

export interface Surroundings {
  /** Files in the folder "/m". */
  readonly files?: Readonly<Record<string, Uint8Array>>;
  readonly stdin?: Uint8Array | string;
  /** Most bytes of a read or write. */
  readonly most?: number;
  /** The host does not say how large files are. */
  readonly isSizeless?: boolean;
  /** What random_get gives. */
  readonly random?: number;
  /** Names of the folder. */
  readonly folder?: string;
}

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly output: Uint8Array;
  /** Bytes of its memory. */
  readonly memory: number;
}

class Exit extends Error {
  constructor(readonly code: number) {
    super(`exit ${code}`);
  }
}

const BADF = 8;
const NOENT = 44;
const FILE = 10;

/** Runs the command to its end. @throws what it traps with */
export function runInMemory(args: readonly string[], surroundings: Surroundings = {}): Outcome {
  const { files = {}, most = 1 << 30, isSizeless = false, random = 7, folder = "/m" } = surroundings;
  const encoder = new TextEncoder();
  const stdin = typeof surroundings.stdin === "string" ? encoder.encode(surroundings.stdin) : surroundings.stdin;
  const inputs = new Map([[0, { bytes: stdin ?? new Uint8Array(), at: 0 }]]);
  const outputs = new Map<number, Uint8Array[]>([
    [1, []],
    [2, []],
  ]);
  const texts = ["thimble.wasm", ...args].map((text) => encoder.encode(`${text}\0`));
  let memory: WebAssembly.Memory;
  const view = (): DataView => new DataView(memory.buffer);
  const bytes = (at: number, n: number): Uint8Array => new Uint8Array(memory.buffer, at >>> 0, n >>> 0);
  const vectors = (at: number, n: number): Uint8Array[] =>
    Array.from({ length: n }, (_, i) =>
      bytes(view().getUint32(at + 8 * i, true), view().getUint32(at + 8 * i + 4, true)),
    );
  const imports = {
    args_sizes_get(count: number, size: number) {
      view().setUint32(count, texts.length, true);
      view().setUint32(
        size,
        texts.reduce((sum, text) => sum + text.length, 0),
        true,
      );
      return 0;
    },
    args_get(addresses: number, buffer: number) {
      let at = buffer;
      for (const [i, text] of texts.entries()) {
        view().setUint32(addresses + 4 * i, at, true);
        bytes(at, text.length).set(text);
        at += text.length;
      }
      return 0;
    },
    clock_time_get(_clock: number, _precision: bigint, time: number) {
      view().setBigUint64(time, 1_000_000n, true);
      return 0;
    },
    random_get(at: number, n: number) {
      bytes(at, n).fill(random);
      return 0;
    },
    fd_prestat_get(fd: number, stat: number) {
      if (fd !== 3) return BADF;
      view().setUint32(stat, 0, true);
      view().setUint32(stat + 4, folder.length, true);
      return 0;
    },
    fd_prestat_dir_name(fd: number, at: number, n: number) {
      if (fd !== 3 || n !== folder.length) return BADF;
      bytes(at, n).set(encoder.encode(folder));
      return 0;
    },
    path_open(
      fd: number,
      _l: number,
      at: number,
      n: number,
      _o: number,
      _r: bigint,
      _i: bigint,
      _f: number,
      to: number,
    ) {
      const found = fd === 3 ? files[new TextDecoder().decode(bytes(at, n).slice())] : undefined;
      if (found === undefined) return NOENT;
      inputs.set(FILE, { bytes: found, at: 0 });
      view().setUint32(to, FILE, true);
      return 0;
    },
    fd_filestat_get(fd: number, stat: number) {
      const input = inputs.get(fd);
      if (input === undefined || isSizeless) return BADF;
      bytes(stat, 64).fill(0);
      view().setUint8(stat + 16, 4);
      view().setBigUint64(stat + 32, BigInt(input.bytes.length), true);
      return 0;
    },
    fd_read(fd: number, at: number, n: number, read: number) {
      const input = inputs.get(fd);
      if (input === undefined) return BADF;
      let done = 0;
      for (const to of vectors(at, n)) {
        const piece = input.bytes.subarray(input.at, input.at + Math.min(to.length, most));
        to.set(piece);
        input.at += piece.length;
        done += piece.length;
      }
      view().setUint32(read, done, true);
      return 0;
    },
    fd_write(fd: number, at: number, n: number, written: number) {
      const output = outputs.get(fd);
      if (output === undefined) return BADF;
      let done = 0;
      for (const from of vectors(at, n)) {
        output.push(from.slice(0, most));
        done += Math.min(from.length, most);
      }
      view().setUint32(written, done, true);
      return 0;
    },
    proc_exit(code: number) {
      throw new Exit(code);
    },
  };
  const instance = new WebAssembly.Instance(commandModule(), { wasi_snapshot_preview1: imports });
  memory = instance.exports.memory as WebAssembly.Memory;
  let code = 0;
  try {
    (instance.exports._start as () => void)();
  } catch (error) {
    if (!(error instanceof Exit)) throw error;
    code = error.code;
  }
  const [stdout, stderr] = [1, 2].map((fd) => Buffer.concat(outputs.get(fd)!)) as [Buffer, Buffer];
  return {
    code,
    stdout: stdout.toString(),
    stderr: stderr.toString(),
    output: stdout,
    memory: memory.buffer.byteLength,
  };
}
