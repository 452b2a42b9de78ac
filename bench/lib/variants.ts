/**
 * The builds of the one WebAssembly source that are timed side by side. One that was not built is left out and said so;
 * one that a host cannot run fails when its side starts, and is left out as well.
 * @module
 */
import { access } from "node:fs/promises";
import type { Skipped } from "./results.ts";

export const VARIANTS = ["simd", "relaxed"] as const;
export type BenchVariant = (typeof VARIANTS)[number];

/** A file to measure under a name: a variant's, or any two builds of the kernels that are to be compared. */
export interface Build {
  readonly name: string;
  readonly file: string;
}

/** The product's module of a variant. */
export function productWasm(variant: BenchVariant): string {
  return `dist/${variant}.wasm`;
}

/** The `test` build of a variant: all kernels exported. */
export function kernelsWasm(variant: BenchVariant): string {
  return variant === "simd" ? "build/wasm/test.wasm" : `build/wasm/test-${variant}.wasm`;
}

/** The variants whose file is there, and the others. */
export async function builtVariants(
  fileOf: (variant: BenchVariant) => string,
): Promise<{ variants: BenchVariant[]; skipped: Skipped[] }> {
  const variants: BenchVariant[] = [];
  const skipped: Skipped[] = [];
  for (const variant of VARIANTS) {
    const file = fileOf(variant);
    await access(file).then(
      () => variants.push(variant),
      () => skipped.push({ side: variant, reason: `${file} was not built` }),
    );
  }
  return { variants, skipped };
}
