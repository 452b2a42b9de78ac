/**
 * RoPE tables from metadata: bases and the scalings of long contexts; assembly/kernels/rope-frequencies.ts has the formulas.
 * @module
 */
import { ThimbleError } from "./errors.ts";
import type { Family } from "./family.ts";
import type { GgufHeader } from "./header.ts";
import { metadataInteger, metadataNumber, metadataString } from "./metadata.ts";

export interface RopeConfig {
  readonly base: number;
  /** Positions are divided by it where frequencies are interpolated; 1: nowhere. */
  readonly factor: number;
  /** Context before scaling, tokens: YaRN; 0: every frequency is interpolated. */
  readonly originalContext: number;
  /** YaRN: rotations within the original context above which it extrapolates, and below which it interpolates. */
  readonly betaFast: number;
  readonly betaSlow: number;
  /** Factor of cosines and sines. */
  readonly magnitude: number;
  /** Tensor with divisors of the frequencies, ropeDim / 2, if the file has one. */
  readonly divisors: string | undefined;
}

/** The tensors that hold divisors. */
export const DIVISORS = ["rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"] as const;

/**
 * One table, or two where layers with a window have their own base. LongRoPE files hold two sets of factors: the long one
 * counts when sessions may be longer than the original context.
 * @throws ThimbleError unsupported_architecture, malformed_file, missing_metadata
 */
export function readRopes(header: GgufHeader, family: Family, contextLength: number): RopeConfig[] {
  const { architecture: arch, file } = header;
  const number = (key: string, fallback: number, min = 1e-6): number =>
    metadataNumber(header, `${arch}.rope.${key}`, { min, max: 1e12, default: fallback });
  const base = number("freq_base", 10000, 1.0001);
  const scaling = scalingType(header);
  const original = metadataInteger(header, `${arch}.rope.scaling.original_context_length`, {
    min: 1,
    max: 2 ** 32,
    default: 0,
  });
  const isYarn = scaling === "yarn";
  if (isYarn && original === 0) {
    const name = `${arch}.rope.scaling.original_context_length`;
    throw new ThimbleError("missing_metadata", `YaRN scaling needs the metadata "${name}"`, { file, name });
  }
  if (number("scaling.yarn_ext_factor", 1) !== 1) {
    const name = `${arch}.rope.scaling.yarn_ext_factor`;
    throw new ThimbleError("unsupported_architecture", `"${name}" must be 1`, { file, name });
  }
  const plain = { base, factor: 1, originalContext: 0, betaFast: 0, betaSlow: 0, magnitude: 1, divisors: undefined };
  const main: RopeConfig = {
    ...plain,
    factor: scaling === "linear" || isYarn ? number("scaling.factor", number("scale_linear", 1)) : 1,
    originalContext: isYarn ? original : 0,
    betaFast: isYarn ? number("scaling.yarn_beta_fast", 32) : 0,
    betaSlow: isYarn ? number("scaling.yarn_beta_slow", 1) : 0,
    magnitude: number("scaling.attn_factor", 1) * (isYarn ? number("scaling.yarn_attn_factor", 1) : 1),
    divisors: divisorsOf(header, original !== 0 && contextLength > original),
  };
  if (family.windowRopeBase === 0) return [main];
  return [main, { ...plain, base: number("freq_base_swa", family.windowRopeBase, 1.0001) }];
}

function scalingType(header: GgufHeader): "none" | "linear" | "yarn" {
  const { architecture: arch, file } = header;
  const name = `${arch}.rope.scaling.type`;
  const isLinear = Object.hasOwn(header.metadata, `${arch}.rope.scale_linear`);
  const type = metadataString(header, name, { default: isLinear ? "linear" : "none" });
  if (type === "linear" || type === "yarn") return type;
  // The factors of LongRoPE are tensors; the type says nothing more.
  if (type === "none" || type === "longrope") return "none";
  throw new ThimbleError("unsupported_architecture", `RoPE scaling "${type}" is not supported`, { file, name });
}

function divisorsOf(header: GgufHeader, isLong: boolean): string | undefined {
  const has = (name: string): boolean => header.tensors.some((tensor) => tensor.name === name);
  const [plain, long, short] = DIVISORS;
  if (has(plain)) return plain;
  const wanted = isLong ? long : short;
  return has(wanted) ? wanted : undefined;
}
