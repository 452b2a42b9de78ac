/**
 * Which build of the module a host can run. Features are found by validating a tiny module, and the one relaxed operation
 * that kernels use is run on chosen numbers (relaxed-probe.ts): whoever gets them wrong gets the baseline build.
 * @module
 */
import { ThimbleError } from "./errors.ts";
import type { Platform } from "./platform.ts";
import { relaxedProbe } from "./relaxed-probe.ts";

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

function runsRelaxed(compiled?: WebAssembly.Module): boolean {
  const probe = relaxedProbe();
  if (!WebAssembly.validate(probe)) return false;
  const { exports } = new WebAssembly.Instance(compiled ?? new WebAssembly.Module(probe));
  return (exports as { p: () => number }).p() === 1;
}

/**
 * The variant to load.
 * @throws ThimbleError unsupported_runtime where WebAssembly SIMD, or the variant asked for, does not run
 */
export function chooseVariant(choice: VariantChoice, platform: Pick<Platform, "name" | "relaxedProbe">): Variant {
  const { name: host } = platform;
  if (!WebAssembly.validate(SIMD_PROBE)) {
    throw new ThimbleError(
      "unsupported_runtime",
      `this ${host} host has no WebAssembly SIMD; use a newer version, or a CPU with SSE4.1 or NEON`,
    );
  }
  if (choice === "simd") return choice;
  const isRelaxed = runsRelaxed(platform.relaxedProbe);
  if (isRelaxed || choice === "auto") return isRelaxed ? "relaxed" : "simd";
  const message = `relaxed SIMD does not run on this ${host} host; use variant "auto" or "simd"`;
  throw new ThimbleError("unsupported_runtime", message, { name: choice });
}
