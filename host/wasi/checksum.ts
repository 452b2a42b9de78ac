/**
 * The checksum of assembly/kernels/checksum.ts, for bytes that are not in WebAssembly memory.
 * @module
 */

const P1 = 0x9e3779b1;
const P2 = 0x85ebca77;
const P3 = 0xc2b2ae3d;

const rotate = (x: number, bits: number): number => (x << bits) | (x >>> (32 - bits));

function avalanche(sum: number): number {
  let h = Math.imul(sum ^ (sum >>> 15), P2);
  h = Math.imul(h ^ (h >>> 13), P3);
  return (h ^ (h >>> 16)) >>> 0;
}

/** 64 bits over whole words of little-endian bytes: [low, high]. */
export function checksumOf(bytes: Uint8Array, seed: number): [low: number, high: number] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const n = bytes.byteLength >>> 2;
  const lanes = Int32Array.from({ length: 16 }, (_, i) => seed + Math.imul(i + 1, P1));
  for (let i = 0; i < n; ++i) {
    const sum = lanes[i & 15]! + Math.imul(view.getInt32(4 * i, true), P2);
    lanes[i & 15] = Math.imul(rotate(sum, 13), P1);
  }
  let low = seed ^ n;
  let high = Math.imul(n, P3);
  for (const lane of lanes) {
    low = Math.imul(rotate((low + Math.imul(lane, P2)) | 0, 17), P1);
    high = Math.imul(rotate(high ^ Math.imul(lane, P3), 11), P2);
  }
  return [avalanche(low), avalanche(high)];
}
