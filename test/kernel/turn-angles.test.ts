/**
 * Rotations by a shift, put together of its digits': the reference's bits with and without a table, near the exact ones.
 */
import { ropeAngle64 } from "../oracle/elementwise.ts";
import { report, sameBits, UNIT, within } from "./compare.ts";
import { checkedSuite, copyOf, Instance } from "./instance.ts";
import { createTable } from "./rope-table.ts";
import { draws, integer } from "./values.ts";

const instance = new Instance();
const { fillTurns, turnAngles, turnAnglesRef, turnsBytes } = instance.exports;
const test = checkedSuite("turn-angles", instance);

const SHAPES = [
  [8, 10000],
  [24, 10000],
  [64, 100000],
  [128, 500000],
] as const;

/** Digits of one level alone, all of them 63, and any. */
function shifts(seed: number): number[] {
  const draw = draws(seed);
  const digits = [0, 1, 2, 3].flatMap((level) => [1, 31, 63].map((digit) => digit * 64 ** level));
  return [0, ...digits, 63 * 65, 2 ** 18 - 1, 2 ** 24 - 1, ...Array.from({ length: 60 }, () => integer(draw, 2 ** 24))];
}

test("any shift below 2^24: the reference's bits with a table and without, within an ulp of cos and -sin", () => {
  let worst = 0;
  for (const [d, base] of SHAPES) {
    const plain = createTable(instance, { d, base });
    const filled = createTable(instance, { d, base });
    const turns = instance.output(turnsBytes(d));
    const [out, scratch] = [instance.output(d * 4), instance.output(16)];
    filled.setTurns(turns);
    fillTurns(filled.address, d, scratch.address);
    for (const shift of shifts(d)) {
      turnAnglesRef(out.address, plain.address, shift, d, scratch.address);
      const expected = copyOf(out);
      for (const table of [plain, filled]) {
        out.f32.fill(Number.NaN);
        turnAngles(out.address, table.address, shift, d, scratch.address);
        sameBits(out.f32, expected, `shift ${shift}, d ${d}`);
      }
      const exact = Array.from({ length: d }, (_, i) => {
        const angle = ropeAngle64(shift, i % (d / 2), d, base);
        return i < d / 2 ? Math.cos(angle) : -Math.sin(angle);
      });
      // Half an ulp of 1; the frequency's own error times the shift; four rotations and three products.
      const bound = (i: number): number => UNIT / 2 + 5e-15 * ropeAngle64(shift, i % (d / 2), d, base) + 2e-15;
      worst = Math.max(worst, within(expected, exact, bound, `shift ${shift}, d ${d}`));
    }
  }
  report("turned angles, share of the bound", worst, "");
});

test("no shift is no turn", () => {
  const table = createTable(instance, { d: 64, base: 10000 });
  const [out, scratch] = [instance.output(256), instance.output(16)];
  turnAnglesRef(out.address, table.address, 0, 64, scratch.address);
  sameBits(
    out.f32.map(Math.abs),
    Float32Array.from({ length: 64 }, (_, i) => (i < 32 ? 1 : 0)),
    "shift 0",
  );
});

test.run();
