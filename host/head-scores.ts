/**
 * Scores of a model's KV heads, as a calibration found them (calibrate-heads.ts): a small JSON that says of which model it is.
 *
 *   { "thimble": "head-scores", "version": 1, "kind": "duo", "model": "<SHA-256, hex>", "tokens": 4096,
 *     "scores": [[0.51, 0.47, ...], ...] }                    [layer][KV head], higher for heads that need all slots
 *
 * `model` is the digest that capsules have (capsule/digest.ts), which counts how weights lie in memory: a calibration is for
 * loads with the same `activations`.
 * @module
 */
import { digestsOf } from "./capsule/digest.ts";
import type { Engine } from "./engine.ts";
import { ThimbleError } from "./errors.ts";
import type { GgufHeader } from "./header.ts";
import { wrongOption } from "./options.ts";
import type { PolicyName } from "./policy.ts";
import type { ActivationMode } from "./weight-form.ts";

export const HEAD_SCORE_KINDS = ["duo", "razor"] as const;
export type HeadScoreKind = (typeof HEAD_SCORE_KINDS)[number];

export interface HeadScores {
  readonly thimble: "head-scores";
  readonly version: 1;
  readonly kind: HeadScoreKind;
  /** SHA-256 of the model, hex. */
  readonly model: string;
  /** Tokens that it was calibrated on. */
  readonly tokens: number;
  /** [layer][KV head]. */
  readonly scores: readonly (readonly number[])[];
}

/** What a calibration is for. */
export interface CalibratedModel {
  readonly engine: Engine;
  readonly header: GgufHeader;
  readonly activations: ActivationMode;
}

/** @throws ThimbleError unsupported_runtime where there is no WebCrypto */
export async function modelDigest(model: CalibratedModel): Promise<string> {
  const { model: digest } = await digestsOf(model);
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Kind of scores by policy. */
const KINDS: Partial<Record<PolicyName, HeadScoreKind>> = { "duo-attention": "duo", razor: "razor" };

/**
 * The scores of all heads in a row, if they are of this model and kind, and the policy the model is loaded with asks for them.
 * @param given a `HeadScores` object or its JSON
 * @throws ThimbleError calibration_malformed, calibration_mismatch, invalid_option
 */
export async function checkHeadScores(given: unknown, model: CalibratedModel): Promise<number[] | undefined> {
  const { sizes, config } = model.engine;
  const name = sizes.cache.policy?.name;
  const kind = name === undefined ? undefined : KINDS[name];
  if (given === undefined && kind === undefined) return undefined;
  if (kind === undefined) {
    const message = `headScores are for the policies ${Object.keys(KINDS).join(" and ")}`;
    throw wrongOption("headScores", message);
  }
  if (given === undefined) {
    const message = `policy ${name} needs to know the heads: give headScores, from thimble calibrate-heads`;
    throw wrongOption("headScores", message);
  }
  const { kind: found, model: of, scores } = parseHeadScores(given);
  if (found !== kind) throw mismatch("kind", `the head scores are ${found} scores; policy ${name} needs ${kind} ones`);
  if (scores.length !== config.nLayers || scores.some((heads) => heads.length !== config.nKvHeads)) {
    const shape = `${scores.length} layers of ${scores[0]!.length} heads`;
    throw mismatch("model", `the head scores are of ${shape}, the model has ${config.nLayers} of ${config.nKvHeads}`);
  }
  if (of !== (await modelDigest(model))) {
    throw mismatch("model", "the head scores are of another model, or of other activations; calibrate this one");
  }
  return scores.flat();
}

function mismatch(name: string, message: string): ThimbleError {
  return new ThimbleError("calibration_mismatch", message, { name });
}

/** @throws ThimbleError calibration_malformed */
export function parseHeadScores(given: unknown): HeadScores {
  let value = given;
  if (typeof given === "string") {
    try {
      value = JSON.parse(given);
    } catch (cause) {
      throw malformed("they are no JSON, or were cut", cause);
    }
  }
  if (typeof value !== "object" || value === null) throw malformed("they are no object");
  const { thimble, version, kind, model, tokens, scores } = value as Partial<Record<string, unknown>>;
  if (thimble !== "head-scores") throw malformed("the file is something else");
  if (version !== 1) throw malformed(`their version is ${String(version)}; this build reads 1`);
  if (!HEAD_SCORE_KINDS.includes(kind as HeadScoreKind)) throw malformed("their kind is unknown");
  if (typeof model !== "string" || !/^[0-9a-f]{64}$/.test(model)) throw malformed("they do not say of which model");
  if (!Number.isSafeInteger(tokens) || (tokens as number) < 1) throw malformed("they do not say of how many tokens");
  const isRow = (row: unknown): boolean =>
    Array.isArray(row) && row.length > 0 && row.every((x) => typeof x === "number" && x >= 0 && x <= 1);
  if (!Array.isArray(scores) || scores.length === 0 || !scores.every(isRow)) {
    throw malformed("scores must be numbers from 0 to 1, [layer][KV head]");
  }
  return value as HeadScores;
}

function malformed(reason: string, cause?: unknown): ThimbleError {
  return new ThimbleError("calibration_malformed", `the head scores cannot be used: ${reason}`, {
    name: "headScores",
    cause,
  });
}
