/**
 * Values to feed kernels with, from seeds: the same on every run and host.
 * @module
 */
import { createRandom } from "../../host/random.ts";

export type Draw = () => number;

/** Numbers in [0, 1). */
export function draws(seed: number): Draw {
  const random = createRandom(seed);
  return () => random.next();
}

/** Roughly normal, variance 1: what activations look like. */
export function bell(draw: Draw): number {
  return (draw() + draw() + draw() + draw() - 2) * Math.sqrt(3);
}

export function floats(n: number, value: (i: number) => number): Float32Array {
  const out = new Float32Array(n);
  for (let i = 0; i < n; ++i) out[i] = value(i);
  return out;
}

export function bells(n: number, draw: Draw, scale = 1): Float32Array {
  return floats(n, () => bell(draw) * scale);
}

/** f32 of every size: random sign, exponent between 2^low and 2^high, random fraction. */
export function anySize(n: number, draw: Draw, low: number, high: number): Float32Array {
  return floats(n, () => (draw() < 0.5 ? -1 : 1) * 2 ** (low + Math.floor(draw() * (high - low))) * (1 + draw()));
}

export function integer(draw: Draw, below: number): number {
  return Math.floor(draw() * below);
}
