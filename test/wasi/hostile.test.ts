/** Files that are cut, changed, foreign, or made to mislead: the command says so and ends; it never traps. */
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Format, HeaderAt, TensorAt } from "../../assembly/wasi/format.ts";
import { checksumOf } from "../../host/wasi/checksum.ts";
import { families, loadFamily } from "../model/families.ts";
import { fileOf, giveBytes } from "./files.ts";
import { type Outcome, runInMemory, type Surroundings } from "./memory-wasi.ts";

const test = suite("wasi hostile files");

const model = await loadFamily(families.find(({ name }) => name === "mistral-swa")!, "q8_0", "short", {});
giveBytes(model);
const whole = fileOf(model);
const view = new DataView(whole.buffer, whole.byteOffset, whole.byteLength);
const sizes = [HeaderAt.CONFIG_BYTES, HeaderAt.TOKENIZER_BYTES, HeaderAt.CHAT_BYTES, HeaderAt.INDEX_BYTES].map((at) =>
  view.getUint32(at, true),
);
const sectionsEnd = sizes.reduce((sum, size) => sum + size, HeaderAt.END as number);

const run = (file: Uint8Array, more: Surroundings = {}, args: readonly string[] = []): Outcome =>
  runInMemory(["/m/model", "A fox.", "--raw", "--temp", "0", "-n", "2", ...args], { files: { model: file }, ...more });

function refuses(file: Uint8Array, pattern: RegExp, more?: Surroundings): void {
  const { code, stdout, stderr } = run(file, more);
  assert.equal([code, stdout], [1, ""], stderr);
  assert.match(stderr, pattern);
  assert.match(stderr, /^thimble: [^\n]*\n$/);
}

test("the whole file runs", () => {
  assert.is(run(whole).code, 0);
});

test("a file that is cut anywhere", () => {
  const places = [0, 1, 7, 8, 63, 64, 65, sectionsEnd - 1, sectionsEnd, sectionsEnd + 1, whole.length - 1];
  for (let at = 3; at < whole.length; at += 1999) places.push(at);
  for (const at of places) {
    const pattern = at < 8 ? /no file of thimble pack/ : /ends/;
    refuses(whole.subarray(0, at), pattern);
    refuses(whole.subarray(0, at), pattern, { isSizeless: true });
  }
});

test("a file that goes on behind its end", () => {
  const longer = Buffer.concat([whole, Buffer.from("x")]);
  refuses(longer, /goes on behind its end/);
  refuses(longer, /goes on behind its end/, { isSizeless: true });
});

test("a changed bit anywhere", () => {
  for (let at = 0; at < whole.length; at += at < 64 ? 1 : 1201) {
    const changed = whole.slice();
    changed[at]! ^= 1 << (at % 8);
    refuses(changed, at < 8 ? /no file of/ : at < 12 ? /another version/ : /changed/);
  }
});

test("other files", () => {
  refuses(readFileSync("test/golden/architectures/qwen2.q8_0.gguf"), /GGUF file.*thimble pack --wasi/);
  refuses(readFileSync("package.json"), /no file of thimble pack/);
  refuses(new Uint8Array(1000), /no file of thimble pack/);
});

/** The same file with words of its sections, or of its header, changed, and checksums that fit. */
function changedFile(changes: readonly (readonly [at: number, word: number])[]): Uint8Array {
  const file = whole.slice();
  const words = new DataView(file.buffer);
  for (const [at, word] of changes) words.setUint32(at, word, true);
  const sum = (at: number, from: number, to: number): void => {
    const [low, high] = checksumOf(file.subarray(from, to), Format.SEED);
    words.setUint32(at, low, true);
    words.setUint32(at + 4, high, true);
  };
  sum(HeaderAt.SECTIONS_SUM, HeaderAt.END, sectionsEnd);
  sum(HeaderAt.HEADER_SUM, 0, HeaderAt.HEADER_SUM);
  return file;
}

test("another contract, sizes that make no sense, an index that leaves something out", () => {
  refuses(changedFile([[HeaderAt.CONTRACT, 1]]), /another numeric contract/);
  refuses(changedFile([[HeaderAt.CONFIG_BYTES, 3]]), /size that makes no sense/);
  refuses(changedFile([[HeaderAt.WEIGHT_BYTES + 4, 2]]), /size that makes no sense/);
  refuses(changedFile([[HeaderAt.TOKENIZER_BYTES, 0xfffffff0]]), /ends too early/);
  refuses(changedFile([[HeaderAt.TOKENIZER_BYTES, 0x7ffffff0]]), /larger than any model's/, { isSizeless: true });
  const index = sectionsEnd - sizes[3]!;
  refuses(changedFile([[index + TensorAt.KIND, 7]]), /no place in it/);
  refuses(changedFile([[index + TensorAt.LAYER, 99]]), /no place in it/);
  refuses(changedFile([[index + TensorAt.ROWS, 8]]), /no place in it/);
  refuses(changedFile([[index + TensorAt.FORM, 20]]), /no place in it/);
  // The first tensor twice.
  const twice = Array.from({ length: 8 }, (_, i): [number, number] => [
    index + TensorAt.END + 4 * i,
    view.getUint32(index + 4 * i, true),
  ]);
  refuses(changedFile(twice), /no place in it|changed/);
});

/** Numbers that lie at the edges of what fields may hold. */
const WORDS = [
  0, 1, 2, 7, 255, 256, 257, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff,
];

test("drawn words anywhere in the sections: refused, or computed; never a trap, never memory without end", () => {
  let state = 2_026;
  const draw = (n: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
  const starts = sizes.map((_, i) => sizes.slice(0, i).reduce((sum, size) => sum + size, HeaderAt.END as number));
  const ends = new Map<number, number>();
  for (let i = 0; i < 600; ++i) {
    // Each section gets its share, however small it is.
    const section = draw(4);
    const changes = Array.from({ length: 1 + draw(3) }, (): [number, number] => {
      const at = starts[section]! + 4 * draw(sizes[section]! / 4);
      const near = (view.getUint32(at, true) + draw(9) - 4) >>> 0;
      return [at, draw(2) === 0 ? near : WORDS[draw(WORDS.length)]!];
    });
    const outcome = run(changedFile(changes));
    assert.ok(outcome.code < 2, `${JSON.stringify(changes)}: ${outcome.stderr}`);
    if (outcome.code === 1) assert.match(outcome.stderr, /^thimble: [^\n]+\n$/);
    assert.ok(outcome.memory < 2 ** 30, `${JSON.stringify(changes)}: ${outcome.memory} bytes`);
    ends.set(outcome.code, (ends.get(outcome.code) ?? 0) + 1);
  }
  assert.ok(ends.get(0)! > 50 && ends.get(1)! > 200, JSON.stringify([...ends]));
});

test("weights that are no numbers are noticed, not written", () => {
  // All words of the last tensor: NaN in every form.
  const index = sectionsEnd - sizes[3]!;
  const last = sectionsEnd - TensorAt.END;
  const words = view.getUint32(last + TensorAt.ROWS, true);
  for (const tensor of [index, last]) {
    const file = changedFile([]);
    const from = tensor === index ? sectionsEnd : whole.length - 4 * words;
    const bytes = tensor === index ? 4096 : 4 * words;
    file.subarray(from, from + bytes).fill(0xff);
    assert.is(run(file).code, 1);
  }
});

test.run();
