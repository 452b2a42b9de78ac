/**
 * Every kind of source reads the same bytes, into WebAssembly memory too; streams keep, release, abort and fail as said.
 * @module
 */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openFile } from "../../bindings/node/file-source.ts";
import { ThimbleError, type ThimbleErrorCode } from "../../host/errors.ts";
import type { ByteSource, ModelSource } from "../../host/source.ts";
import { openSource } from "../../host/sources.ts";

const SIZE = 1_300_007;
const BYTES = Uint8Array.from({ length: SIZE }, (_, i) => (i * 2_654_435_761) >>> 24);

interface Files {
  folder: string;
  path: string;
}
const test = suite<Files>("sources", { folder: "", path: "" });

test.before(async (files) => {
  files.folder = await mkdtemp(join(tmpdir(), "thimble-sources-"));
  files.path = join(files.folder, "bytes");
  await writeFile(files.path, BYTES);
});
test.after((files) => rm(files.folder, { recursive: true }));

/** A stream of `pieces`, one at a pull; `pulls()` says how many were asked for. */
function streamOf(pieces: readonly Uint8Array[], end: "close" | "hang" | Error = "close") {
  let next = 0;
  let cancelled = false;
  const stream = new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        const piece = pieces[next++];
        if (piece !== undefined) controller.enqueue(piece);
        else if (end instanceof Error) controller.error(end);
        else if (end === "close") controller.close();
        else return new Promise(() => {});
      },
      cancel() {
        cancelled = true;
      },
    },
    { highWaterMark: 0 },
  );
  return { stream, pulls: () => next, cancelled: () => cancelled };
}

function cut(bytes: Uint8Array, pieceBytes: number): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < bytes.byteLength; at += pieceBytes) pieces.push(bytes.subarray(at, at + pieceBytes));
  return pieces;
}

async function fails(work: Promise<unknown>, code: ThimbleErrorCode, cause?: unknown): Promise<void> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.instance(error, ThimbleError, `${error}`);
  assert.is((error as ThimbleError).code, code, (error as ThimbleError).message);
  if (cause !== undefined) assert.is((error as ThimbleError).cause, cause);
}

test("every source reads any range, into WebAssembly memory, and less at the end only", async ({ path }) => {
  const memory = new WebAssembly.Memory({ initial: 32 });
  const untouched = new Uint8Array(memory.buffer.byteLength).fill(0xee);
  const offsetInFile = new Uint8Array(BYTES.byteLength + 3);
  offsetInFile.set(BYTES, 3);
  const sources: [string, () => ByteSource | Promise<ByteSource>, boolean][] = [
    ["bytes", () => openSource(BYTES), false],
    ["view", () => openSource(offsetInFile.subarray(3)), false],
    ["buffer", () => openSource(BYTES.buffer), false],
    ["blob", () => openSource(new Blob([BYTES])), false],
    ["file", () => openFile(path), false],
    ["stream of 1,009", () => openSource(streamOf(cut(BYTES, 1_009)).stream), true],
    ["one piece", () => openSource(streamOf([new Uint8Array(0), BYTES, new Uint8Array(0)]).stream), true],
  ];
  for (const [label, open, sequential] of sources) {
    const source = await open();
    assert.is(source.sequential, sequential);
    assert.is(source.size, sequential ? undefined : SIZE, label);
    for (const [offset, length] of [
      [0, 4],
      [2, 0],
      [1_008, 3],
      [700, 5_000],
      [0, 1_200_000],
      [SIZE - 5, 5],
      [SIZE - 5, 9],
      [SIZE, 1],
      [SIZE + 100, 1],
      [0, SIZE + 50],
    ] as const) {
      const whole = new Uint8Array(memory.buffer);
      whole.fill(0xee);
      const at = 4_096 + 13;
      const read = await source.read(whole.subarray(at, at + length), offset);
      const expected = BYTES.subarray(offset, offset + length);
      assert.is(read, expected.byteLength, `${label} at ${offset}`);
      assert.ok(Buffer.from(expected).equals(whole.subarray(at, at + read)), `${label} at ${offset}`);
      assert.ok(Buffer.from(untouched.buffer, 0, whole.length - at - read).equals(whole.subarray(at + read)), label);
      assert.is(whole[at - 1], 0xee, label);
    }
    assert.is(source.size, SIZE, label);
    await source.close();
    await source.close();
  }
});

test("a ByteSource passes through; names are labels, file names or what was given; other things are refused", () => {
  const source = openSource(BYTES, "weights");
  assert.is(openSource(source), source);
  assert.is(source.name, "weights");
  assert.is(openSource(new File([BYTES], "model.gguf")).name, "model.gguf");
  for (const wrong of [null, undefined, "model.gguf", 3, {}, [], new Float32Array(4), { read() {} }]) {
    assert.throws(
      () => openSource(wrong as unknown as ModelSource),
      (error: ThimbleError) => error.code === "invalid_option",
    );
  }
});

test("a stream gives again what is not released, and says so when it is", async () => {
  const { stream, pulls } = streamOf(cut(BYTES, 1_000));
  const source = openSource(stream, "download");
  const target = new Uint8Array(1_500);
  await source.read(target, 3_000);
  assert.is(pulls(), 5, "pulls no more than the read needs");
  assert.equal(target, BYTES.slice(3_000, 4_500));
  await source.read(target, 0);
  assert.equal(target, BYTES.slice(0, 1_500));
  source.release?.(1_200);
  await source.read(target, 1_200);
  assert.equal(target, BYTES.slice(1_200, 2_700));
  source.release?.(0);
  await fails(source.read(target, 1_199), "internal");
  source.release?.(10_500);
  await source.read(target, 10_500);
  assert.equal(target, BYTES.slice(10_500, 12_000), "released ahead of what had arrived");
  await fails(source.read(target, 10_499), "internal");
});

test("released bytes are freed", async () => {
  setFlagsFromString("--expose-gc");
  const collect: () => void = runInNewContext("gc");
  const pieces: WeakRef<Uint8Array>[] = [];
  const stream = new ReadableStream<Uint8Array>({
    pull(controller) {
      const piece = new Uint8Array(100);
      pieces.push(new WeakRef(piece));
      controller.enqueue(piece);
    },
  });
  const source = openSource(stream);
  await source.read(new Uint8Array(1_000), 0);
  source.release?.(450);
  await new Promise((resolve) => setTimeout(resolve, 5));
  collect();
  const kept = pieces.slice(0, 10).map((piece) => piece.deref() !== undefined);
  assert.equal(kept, [false, false, false, false, true, true, true, true, true, true]);
});

test("two reads at once share what arrives", async () => {
  const source = openSource(streamOf(cut(BYTES, 1_000)).stream);
  const [a, b] = [new Uint8Array(2_500), new Uint8Array(4_000)];
  assert.equal(await Promise.all([source.read(a, 0), source.read(b, 1_000)]), [2_500, 4_000]);
  assert.equal([a, b], [BYTES.slice(0, 2_500), BYTES.slice(1_000, 5_000)]);
});

test("a stream that failed, is locked, or gives no bytes is unreadable, with the cause", async () => {
  const cause = new Error("connection reset");
  const source = openSource(streamOf([BYTES.subarray(0, 10)], cause).stream);
  assert.is(await source.read(new Uint8Array(10), 0), 10);
  await fails(source.read(new Uint8Array(10), 5), "source_unreadable", cause);
  await fails(source.read(new Uint8Array(10), 5), "source_unreadable", cause);
  await source.close();
  const { stream } = streamOf([]);
  stream.getReader();
  assert.throws(
    () => openSource(stream),
    (error: ThimbleError) => error.code === "source_unreadable" && error.cause instanceof TypeError,
  );
  const text = streamOf(["text"] as unknown as Uint8Array[]).stream;
  await fails(openSource(text).read(new Uint8Array(1), 0), "source_unreadable");
});

test("a Blob that fails is unreadable, with the cause", async () => {
  const cause = new DOMException("the file changed", "NotReadableError");
  const blob = new Blob([BYTES]);
  blob.slice = () => Object.assign(new Blob([]), { arrayBuffer: () => Promise.reject(cause) });
  await fails(openSource(blob).read(new Uint8Array(4), 0), "source_unreadable", cause);
});

test("an abort ends a read that waits, and the stream goes on where it was", async () => {
  const reason = new Error("enough");
  let give = (_piece: Uint8Array) => {};
  const stream = new ReadableStream<Uint8Array>({
    start(controller) {
      give = (piece) => controller.enqueue(piece);
    },
  });
  const source = openSource(stream);
  const target = new Uint8Array(4);
  const abort = new AbortController();
  const waiting = source.read(target, 0, abort.signal).catch((error: unknown) => error);
  setTimeout(() => abort.abort(reason), 5);
  assert.is(await waiting, reason);
  const again = source.read(target, 0, new AbortController().signal);
  give(Uint8Array.of(1, 2, 3, 4));
  assert.is(await again, 4);
  assert.equal(target, Uint8Array.of(1, 2, 3, 4));
});

test("close cancels the stream; a read then, or under way, says closed", async ({ path }) => {
  const { stream, cancelled } = streamOf([BYTES.subarray(0, 10)], "hang");
  const source = openSource(stream);
  const waiting = fails(source.read(new Uint8Array(20), 0), "closed");
  await new Promise((resolve) => setTimeout(resolve, 5));
  await source.close();
  await waiting;
  assert.ok(cancelled());
  await fails(source.read(new Uint8Array(4), 0), "closed");
  const file = await openFile(path);
  await file.close();
  await fails(file.read(new Uint8Array(4), 0), "closed");
});

test("a path that cannot be opened says what to do", async ({ folder, path }) => {
  const message = async (name: string) => {
    const error = await openFile(name).catch((reason: unknown) => reason);
    assert.instance(error, ThimbleError);
    assert.is((error as ThimbleError).code, "source_unreadable");
    return (error as ThimbleError).message;
  };
  assert.match(await message(join(folder, "none.gguf")), /none\.gguf: there is no such file; check the path/);
  assert.match(await message(join(path, "x")), /not a directory/);
  assert.match(await message(folder), /this is a directory/);
  assert.match(await message("/dev/null"), /not a regular file/);
});

test.run();
