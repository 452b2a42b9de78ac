/**
 * Which build of the module a host can run. Features are found by validating a tiny module, and the one relaxed operation
 * that kernels use is run on numbers whose result the specification leaves no choice about: whoever gets them wrong gets
 * the baseline build.
 * @module
 */
import { ThimbleError } from "./errors.ts";

/** Build variants of the one source; the same bits. */
export type Variant = "simd" | "relaxed";

/** A file of the build: a variant for one thread, or for several over shared memory. */
export type ModuleName = Variant | `${Variant}-threads`;

/** "auto": the fastest that the host runs. */
export type VariantChoice = Variant | "auto";

/** A function that returns an i8x16.splat. */
const SIMD_PROBE = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 15, 11,
]);

/** Activations and nibbles of the probe, byte by byte; all the extremes meet. */
const ACTIVATIONS = [-127, -127, 127, 127, -127, 127, 127, -127, 1, -1, 64, -64, 0, 127, -3, 5];
const NIBBLES = [15, 15, 15, 15, 15, 15, 15, 14, 1, 2, 8, 7, 15, 0, 9, 11];

/** `i16x8.relaxed_dot_i8x16_i7x16_s` of two constants, compared with their sums: returns 1 where all lanes are right. */
function relaxedProbe(): Uint8Array<ArrayBuffer> {
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

function runsRelaxed(): boolean {
  const probe = relaxedProbe();
  if (!WebAssembly.validate(probe)) return false;
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(probe));
  return (exports as { p: () => number }).p() === 1;
}

/**
 * The variant to load.
 * @throws ThimbleError unsupported_runtime where WebAssembly SIMD, or the variant asked for, does not run
 */
export function chooseVariant(choice: VariantChoice, host: string): Variant {
  if (!WebAssembly.validate(SIMD_PROBE)) {
    throw new ThimbleError("unsupported_runtime", `WebAssembly SIMD is missing on this ${host} host`);
  }
  if (choice === "simd") return choice;
  const isRelaxed = runsRelaxed();
  if (isRelaxed || choice === "auto") return isRelaxed ? "relaxed" : "simd";
  const message = `relaxed SIMD does not run on this ${host} host; use variant "auto" or "simd"`;
  throw new ThimbleError("unsupported_runtime", message, { name: choice });
}
