import * as assert from "uvu/assert";
import { ropeAngle64, ropeRef64 } from "../oracle/elementwise.ts";
import { report, sameBits, UNIT, within } from "./compare.ts";
import { checkedSuite, copyOf, Instance } from "./instance.ts";
import { createTable, type Table } from "./rope-table.ts";
import { bells, draws } from "./values.ts";

const instance = new Instance();
const { rope, ropeAngles, ropeRef } = instance.exports;
const test = checkedSuite("rope", instance);

const SHAPES = [
  [8, 10000],
  [24, 10000],
  [64, 10000],
  [64, 100000],
  [128, 500000],
  [256, 1000000],
] as const;

function tableOf(d: number, base: number, magnitude = 1): Table {
  return createTable(instance, { d, base, magnitude });
}

test("angles at positions 0 .. 8191 and up to 1e6: half an ulp of 1 in f32, and 5e-15 of the angle", () => {
  let worst = 0;
  for (const [d, base] of [[64, 10000] as const, [128, 1000000] as const]) {
    const table = tableOf(d, base);
    const angles = instance.output(d * 4);
    const scratch = instance.output(16);
    const positions = Array.from({ length: 8192 }, (_, i) => i).filter((i) => d === 64 || i % 61 === 0);
    for (const position of [...positions, 65535, 131071, 524287, 999999, 1000000]) {
      ropeAngles(angles.address, table.address, position, d, scratch.address);
      const expected: number[] = [];
      const bounds: number[] = [];
      for (let i = 0; i < d; ++i) {
        const angle = ropeAngle64(position, i % (d / 2), d, base);
        expected.push(i < d / 2 ? Math.cos(angle) : Math.sin(angle));
        bounds.push(UNIT / 2 + 5e-15 * angle);
      }
      worst = Math.max(
        worst,
        within(angles.f32, expected, (i) => bounds[i]!, `position ${position}`),
      );
    }
  }
  report("rope angles, share of the bound", worst, "");
});

test("cosines and sines times the table's magnitude, rounded once: half an ulp of 2, of 1 below it", () => {
  let worst = 0;
  const halfUlps = [
    [1.1386294361119891, UNIT],
    [1.3688879454113936, UNIT],
    [0.75, UNIT / 2],
    [2 ** -10, 2 ** -35],
  ] as const;
  for (const [magnitude, half] of halfUlps) {
    const table = tableOf(64, 10000, magnitude);
    const plain = tableOf(64, 10000);
    const [angles, unscaled] = [instance.output(256), instance.output(256)];
    const scratch = instance.output(16);
    for (let position = 0; position < 4096; position += 3) {
      ropeAngles(angles.address, table.address, position, 64, scratch.address);
      const exact = Array.from({ length: 64 }, (_, i) => {
        const angle = ropeAngle64(position, i % 32, 64, 10000);
        return magnitude * (i < 32 ? Math.cos(angle) : Math.sin(angle));
      });
      worst = Math.max(
        worst,
        within(angles.f32, exact, () => half + 5e-15 * position, `magnitude ${magnitude}, position ${position}`),
      );
      if (magnitude !== 2 ** -10) continue;
      ropeAngles(unscaled.address, plain.address, position, 64, scratch.address);
      sameBits(
        angles.f32,
        copyOf(unscaled).map((value) => value * magnitude),
        "a power of two scales to the bit",
      );
    }
  }
  report("rope angles with a magnitude, share of the bound", worst, "");
});

test("rotation: same bits as the reference, off by at most 4 * 2^-24 of the pair's length", () => {
  const draw = draws(5);
  let worst = 0;
  for (const [d, base] of SHAPES) {
    const table = tableOf(d, base);
    const angles = instance.output(d * 4);
    const scratch = instance.output(16);
    for (const position of [0, 1, 77, 4095, 100000]) {
      ropeAngles(angles.address, table.address, position, d, scratch.address);
      const x = bells(d, draw, 3);
      const out = instance.floats(x);
      const expected = instance.floats(x);
      rope(out.address, angles.address, d);
      ropeRef(expected.address, angles.address, d);
      sameBits(out.f32, expected.f32, `rope ${d} at ${position}`);
      if (position === 0) sameBits(copyOf(out), x, "position 0 changes nothing");
      const length = (i: number) => Math.hypot(x[i % (d / 2)]!, x[(i % (d / 2)) + d / 2]!);
      const exact = ropeRef64(x, (i) => ropeAngle64(position, i, d, base));
      worst = Math.max(
        worst,
        within(out.f32, exact, (i) => 4 * UNIT * length(i), `rope ${d} at ${position}`),
      );
    }
    instance.reset();
  }
  report("rope, share of the bound", worst, "");
});

test("dot products depend on the distance of positions only", () => {
  const draw = draws(6);
  const table = tableOf(64, 10000);
  const scratch = instance.output(16);
  const [q, k] = [bells(64, draw), bells(64, draw)];
  const dotAt = (qPosition: number, kPosition: number) => {
    const rotated = [q, k].map((x, i) => {
      const out = instance.floats(x);
      const angles = instance.output(256);
      ropeAngles(angles.address, table.address, i === 0 ? qPosition : kPosition, 64, scratch.address);
      rope(out.address, angles.address, 64);
      return out.f32;
    });
    return rotated[0]!.reduce((sum, value, i) => sum + value * rotated[1]![i]!, 0);
  };
  for (const distance of [0, 1, 50]) {
    for (const start of [3, 1000, 30000]) {
      const difference = dotAt(start + distance, start) - dotAt(distance, 0);
      assert.ok(Math.abs(difference) < 64 * 8 * UNIT, `distance ${distance} at ${start}: ${difference}`);
    }
  }
});

test.run();
