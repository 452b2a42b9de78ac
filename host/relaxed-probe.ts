/**
 * A module that runs the one relaxed operation that kernels use on numbers whose result the specification leaves no choice
 * about. Hosts that compile nothing at run time get it as a file of the build (relaxed-probe.wasm).
 * @module
 */

/** Activations and nibbles of the probe, byte by byte; all the extremes meet. */
const ACTIVATIONS = [-127, -127, 127, 127, -127, 127, 127, -127, 1, -1, 64, -64, 0, 127, -3, 5];
const NIBBLES = [15, 15, 15, 15, 15, 15, 15, 14, 1, 2, 8, 7, 15, 0, 9, 11];

/** `i16x8.relaxed_dot_i8x16_i7x16_s` of two constants, compared with their sums: returns 1 where all lanes are right. */
export function relaxedProbe(): Uint8Array<ArrayBuffer> {
  const constant = (bytes: Uint8Array): number[] => [0xfd, 0x0c, ...bytes];
  const sums = Int16Array.from({ length: 8 }, (_, i) => {
    const at = 2 * i;
    return ACTIVATIONS[at]! * NIBBLES[at]! + ACTIVATIONS[at + 1]! * NIBBLES[at + 1]!;
  });
  const body = [
    0, // no locals
    ...constant(new Uint8Array(Int8Array.from(ACTIVATIONS).buffer)),
    ...constant(Uint8Array.from(NIBBLES)),
    ...[0xfd, 0x92, 0x02], // i16x8.relaxed_dot_i8x16_i7x16_s
    ...constant(new Uint8Array(sums.buffer)),
    ...[0xfd, 0x2d], // i16x8.eq
    ...[0xfd, 0x83, 0x01], // i16x8.all_true
    0x0b,
  ];
  const header = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 127, 3, 2, 1, 0, 7, 5, 1, 1, 112, 0, 0];
  return Uint8Array.from([...header, 10, body.length + 2, 1, body.length, ...body]);
}
