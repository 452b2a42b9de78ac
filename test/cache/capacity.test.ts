import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Form, RowFlag, Slot, Status, Vector } from "../../assembly/memory/status.ts";
import { sameBits } from "../kernel/compare.ts";
import { bells, draws } from "../kernel/values.ts";
import { createEngine, HIDDEN_DIM, SMALL, VOCAB_SIZE } from "./engine.ts";

const test = suite("capacity: what forward admits into the cache");

interface Row {
  readonly session: number;
  readonly position: number;
  readonly token?: number;
}

/** A model of one layer with F32 weights, sessions of 40 tokens, at most 8 rows a call. */
function createModel() {
  const instance = createEngine({ ...SMALL, contextLength: 40, maxRows: 8 });
  const { exports } = instance;
  const draw = draws(51);
  const fill = (address: number, n: number, scale: number) =>
    new Float32Array(exports.memory.buffer, address, n).set(bells(n, draw, scale));
  for (const slot of [Slot.Q, Slot.K, Slot.V, Slot.OUT, Slot.GATE, Slot.UP, Slot.DOWN, Slot.EMBEDDING]) {
    const nRows = slot === Slot.EMBEDDING ? VOCAB_SIZE : HIDDEN_DIM;
    fill(exports.linearAlloc(exports.linearAddress(slot, 0), Form.F32, nRows, HIDDEN_DIM), nRows * HIDDEN_DIM, 0.5);
  }
  exports.tieOutput();
  for (const norm of [Vector.ATTENTION_NORM, Vector.FEED_FORWARD_NORM, Vector.FINAL_NORM]) {
    fill(exports.vectorAlloc(norm, 0, HIDDEN_DIM), HIDDEN_DIM, 1);
  }
  exports.finishLoad();
  return {
    ...exports,
    run(rows: readonly Row[], flags: number = RowFlag.LOGITS): Status {
      const words = new Int32Array(exports.memory.buffer, exports.rowsAddress(), rows.length * 8);
      for (const [i, { session, position, token }] of rows.entries()) {
        words.set([session, token ?? position % VOCAB_SIZE, position, flags, 0, 0, 0, 0], i * 8);
      }
      return exports.forward(rows.length);
    },
    logits: (output: number) =>
      new Float32Array(exports.memory.buffer, exports.logitsAddress(output), VOCAB_SIZE).slice(),
  };
}

/** Rows of one session from a position on. */
function rowsOf(session: number, from: number, n: number): Row[] {
  return Array.from({ length: n }, (_, i) => ({ session, position: from + i }));
}

test("a session takes its 40 tokens and not one more", () => {
  const model = createModel();
  const session = model.sessionOpen();
  assert.is(Number(model.poolReserve(2)), 1);
  for (let at = 0; at < 40; at += 8) assert.is(model.run(rowsOf(session, at, 8)), Status.OK);
  assert.is(model.run(rowsOf(session, 40, 1)), Status.BAD_POSITION);
  assert.is(model.sessionLength(session), 40);
  model.sessionTruncate(session, 38);
  assert.is(model.run(rowsOf(session, 38, 3)), Status.BAD_POSITION, "two would fit");
  assert.is(model.sessionLength(session), 38);
  assert.is(model.run(rowsOf(session, 38, 2)), Status.OK);
});

test("a dry pool refuses the whole call and leaves everything as it was", () => {
  const model = createModel();
  const [session, other] = [model.sessionOpen(), model.sessionOpen()];
  for (let at = 0; at < 24; at += 8)
    assert.is(model.run(rowsOf(session, at, 8)), Status.OK, "the open page needs none");
  assert.is(model.run(rowsOf(session, 24, 8)), Status.NO_PAGE, "the last row fills it");
  assert.equal([model.sessionLength(session), model.sessionPages(session)], [24, 0]);
  assert.is(model.run(rowsOf(session, 24, 7)), Status.OK);
  for (let at = 0; at < 24; at += 8) assert.is(model.run(rowsOf(other, at, 8)), Status.OK);
  assert.is(model.run(rowsOf(other, 24, 7)), Status.OK);
  assert.is(model.run(rowsOf(session, 31, 1)), Status.NO_PAGE, "nothing reserved");
  assert.is(Number(model.poolReserve(1)), 1);
  const both = [...rowsOf(session, 31, 1), ...rowsOf(other, 31, 1)];
  assert.is(model.run(both), Status.NO_PAGE, "one page, two sessions that need it");
  assert.equal([model.sessionLength(session), model.sessionLength(other)], [31, 31]);
  assert.is(model.run(both.slice(1)), Status.OK);
  assert.equal([model.sessionLength(other), model.sessionPages(other)], [32, 1]);
  model.sessionTruncate(session, 30);
  assert.is(model.run(rowsOf(session, 30, 3)), Status.NO_PAGE, "the second row needs it");
  assert.equal([model.sessionLength(session), model.sessionPages(session)], [30, 0]);
  assert.is(model.run(rowsOf(session, 30, 1)), Status.OK);
  model.sessionTruncate(other, 31);
  assert.equal([model.sessionPages(other), model.poolFreePages()], [0, 1], "the page opens again");
  assert.is(model.run(rowsOf(session, 31, 8)), Status.OK);
  assert.is(model.run(rowsOf(other, 31, 1)), Status.NO_PAGE);
});

test("rows out of order, tokens outside the vocabulary, too many rows: refused before anything changes", () => {
  const model = createModel();
  const session = model.sessionOpen();
  assert.is(Number(model.poolReserve(4)), 1);
  assert.is(model.run(rowsOf(session, 1, 1)), Status.BAD_POSITION);
  assert.is(model.run([...rowsOf(session, 0, 2), ...rowsOf(session, 3, 1)]), Status.BAD_POSITION);
  assert.is(model.run([{ session, position: 0, token: VOCAB_SIZE }]), Status.BAD_TOKEN);
  assert.is(model.run([{ session, position: 0, token: -1 }]), Status.BAD_TOKEN);
  assert.is(model.forward(0), Status.TOO_MANY_ROWS);
  assert.is(model.forward(9), Status.TOO_MANY_ROWS);
  assert.equal([model.sessionLength(session), model.sessionPages(session)], [0, 0]);
});

test("truncated and continued, in a reused page, beside another session: the logits of a fresh session", () => {
  const model = createModel();
  assert.is(Number(model.poolReserve(4)), 1);
  const fresh = model.sessionOpen();
  const expected: Float32Array[] = [];
  for (let at = 0; at < 40; ++at) {
    assert.is(model.run(rowsOf(fresh, at, 1)), Status.OK);
    expected.push(model.logits(0));
  }
  model.sessionClose(fresh);
  const [session, other] = [model.sessionOpen(), model.sessionOpen()];
  for (const [n, back] of [
    [7, 3],
    [30, 29],
    [4, 0],
  ] as const) {
    const wrong = rowsOf(session, model.sessionLength(session), n).map((row) => ({ ...row, token: 9 }));
    for (const row of wrong) {
      assert.is(model.run([row, ...rowsOf(other, model.sessionLength(other), 1)].slice(0, n > 20 ? 1 : 2)), Status.OK);
    }
    model.sessionTruncate(session, back);
  }
  for (const n of [1, 4, 8, 3, 8, 8, 8]) {
    const from = model.sessionLength(session);
    assert.is(model.run(rowsOf(session, from, n)), Status.OK);
    for (let i = 0; i < n; ++i) sameBits(model.logits(i), expected[from + i]!, `position ${from + i}, chunk of ${n}`);
  }
});

test.run();
