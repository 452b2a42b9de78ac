/**
 * Weights and activations for the tests of linear layers: GGUF rows, packed by the kernel under test, and their records.
 * @module
 */
import * as assert from "uvu/assert";
import { Form, Size, TensorType } from "../../assembly/memory/status.ts";
import type { Instance, Region } from "./instance.ts";
import { type Draw, integer } from "./values.ts";

/** What a quantized block looks like; each stresses another part of the arithmetic. */
export const KINDS = ["random", "lowest", "highest", "tiny scales"] as const;
export type Kind = (typeof KINDS)[number];

/** Every type that can be packed, and the form it is packed to. */
export const FORMS = [
  [TensorType.F32, Form.F32, "F32"],
  [TensorType.F16, Form.F16, "F16"],
  [TensorType.BF16, Form.BF16, "BF16"],
  [TensorType.Q4_0, Form.Q4, "Q4_0"],
  [TensorType.Q4_1, Form.Q4_MIN, "Q4_1"],
  [TensorType.Q8_0, Form.Q8, "Q8_0"],
] as const;

/** GGUF rows of a type, back to back. */
export function ggufRows(
  type: TensorType,
  nRows: number,
  nCols: number,
  draw: Draw,
  kind: Kind = "random",
): Uint8Array {
  if (type === TensorType.F32) {
    const values = Float32Array.from({ length: nRows * nCols }, () => (draw() - 0.5) * 2 ** integer(draw, 20));
    return new Uint8Array(values.buffer);
  }
  if (type === TensorType.F16 || type === TensorType.BF16) {
    const top = type === TensorType.F16 ? 0x7c00 : 0x4a00; // finite halves; bfloats up to 2^21
    const bits = Uint16Array.from({ length: nRows * nCols }, () => integer(draw, top) + (draw() < 0.5 ? 0x8000 : 0));
    return new Uint8Array(bits.buffer);
  }
  const header = type === TensorType.Q4_1 ? 4 : 2;
  const blockBytes = header + (type === TensorType.Q8_0 ? 32 : 16);
  const out = new Uint8Array((nRows * nCols * blockBytes) / 32);
  const view = new DataView(out.buffer);
  for (let at = 0; at < out.length; at += blockBytes) {
    for (let i = 0; i < header; i += 2) view.setUint16(at + i, scaleBits(draw, kind), true);
    for (let i = header; i < blockBytes; ++i) out[at + i] = weightByte(type, draw, kind);
  }
  return out;
}

/** A finite f16: random ones are of either sign and every size, tiny ones subnormal. */
function scaleBits(draw: Draw, kind: Kind): number {
  return integer(draw, kind === "tiny scales" ? 0x0400 : 0x7c00) + (draw() < 0.5 ? 0x8000 : 0);
}

function weightByte(type: TensorType, draw: Draw, kind: Kind): number {
  if (kind === "lowest") return type === TensorType.Q8_0 ? 0x80 : 0;
  if (kind === "highest") return type === TensorType.Q8_0 ? 0x7f : 0xff;
  return integer(draw, 256);
}

/** Packs rows; fails when the kernel refuses them. */
export function packed(instance: Instance, type: TensorType, rows: Uint8Array, nRows: number, nCols: number): Region {
  const { packRows, tileBytes } = instance.exports;
  const form = FORMS.find(([id]) => id === type)![1];
  const tiles = instance.output(tileBytes(form, nCols) * Math.ceil(nRows / Size.TILE_ROWS));
  const ok = packRows(tiles.address, instance.input(rows).address, type, nRows, nCols, 0);
  assert.is(Number(ok), 1, "packRows refused finite scales");
  return tiles;
}

/** Address of a Linear record (assembly/memory/records.ts). */
export function linearRecord(instance: Instance, data: number, form: Form, nRows: number, nCols: number): number {
  return instance.input(Uint32Array.of(data, form, nRows, nCols, Math.ceil(nRows / 8), 0)).address;
}

/** Activations as they come, and at the ends of int8: all +-absmax. */
export function activations(nCols: number, draw: Draw, kind: Kind): Float32Array {
  return Float32Array.from({ length: nCols }, (_, c) => {
    if (kind === "lowest" || kind === "highest") return (c >> 5) & 1 ? -3 : 3;
    return (draw() - 0.5) * 2 ** integer(draw, 6);
  });
}

/** Quantizes rows of activations with the kernel, in the layout that weights of a form want from this build. */
export function quantized(instance: Instance, x: Float32Array, form: Form): Region {
  const { activationBytes, quantizeActivations, quantizeBytes } = instance.exports;
  const nBlocks = x.length / Size.BLOCK;
  const out = instance.output(nBlocks * activationBytes(form));
  const isPairs = activationBytes(form) === Size.ACTIVATION_BLOCK;
  (isPairs ? quantizeActivations : quantizeBytes)(out.address, instance.input(x).address, nBlocks);
  return out;
}
