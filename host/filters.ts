/**
 * Files of Q-filters (assembly/policy/q-filter.ts): a vector for each KV head of each layer, computed once for a model from
 * texts (host/calibration.ts). Little-endian:
 *
 *   | "THMBFILT" | u32 version 1 | u32 layers | u32 KV heads | u32 key dim | u64 0 | SHA-256 of the model [32] |
 *   | f32 [layers][KV heads][key dim] | SHA-256 of all before [32] |
 *
 * The model's digest is that of capsules (capsule/digest.ts): filters are for the weights, and the kind of activations, that
 * they were computed with.
 * @module
 */
import { type CapsuleModel, digestsOf, webCrypto } from "./capsule/digest.ts";
import { ThimbleError } from "./errors.ts";
import type { PolicySpec } from "./policy.ts";

const MAGIC = "THMBFILT";
const VERSION = 1;
const HEADER_BYTES = 64;
const DIGEST_BYTES = 32;

/** What filters belong to. */
export interface FilterShape {
  readonly nLayers: number;
  readonly nKvHeads: number;
  readonly keyDim: number;
}

export interface Filters {
  /** SHA-256 [32] of the model. */
  readonly model: Uint8Array;
  /** [layers][KV heads][key dim]. */
  readonly values: Float32Array;
}

async function sha256(bytes: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await webCrypto().digest("SHA-256", new Uint8Array(bytes)));
}

/** The bytes of a file. @throws ThimbleError unsupported_runtime where there is no WebCrypto */
export async function writeFilters({ model, values }: Filters, shape: FilterShape): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(HEADER_BYTES + values.length * 4 + DIGEST_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set(new TextEncoder().encode(MAGIC));
  for (const [i, word] of [VERSION, shape.nLayers, shape.nKvHeads, shape.keyDim].entries()) {
    view.setUint32(8 + 4 * i, word, true);
  }
  bytes.set(model, HEADER_BYTES - DIGEST_BYTES);
  for (const [i, value] of values.entries()) view.setFloat32(HEADER_BYTES + 4 * i, value, true);
  bytes.set(await sha256(bytes.subarray(0, -DIGEST_BYTES)), bytes.length - DIGEST_BYTES);
  return bytes;
}

/** @throws ThimbleError calibration_malformed, calibration_mismatch where the model has other sizes, unsupported_runtime */
export async function readFilters(bytes: Uint8Array, shape: FilterShape): Promise<Filters> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const magic = Array.from(bytes.subarray(0, MAGIC.length), (code) => String.fromCharCode(code)).join("");
  if (magic !== MAGIC) throw malformed("they are no file of filters");
  if (bytes.length < HEADER_BYTES + DIGEST_BYTES) throw malformed("the file was cut");
  const [version, nLayers, nKvHeads, keyDim] = [8, 12, 16, 20].map((at) => view.getUint32(at, true));
  if (version !== VERSION) throw malformed(`they are of version ${version}; this build reads version ${VERSION}`);
  if (nLayers !== shape.nLayers || nKvHeads !== shape.nKvHeads || keyDim !== shape.keyDim) throw mismatch();
  const n = nLayers * nKvHeads * keyDim;
  if (bytes.length !== HEADER_BYTES + n * 4 + DIGEST_BYTES) throw malformed("the file was cut, or something was added");
  const digest = await sha256(bytes.subarray(0, -DIGEST_BYTES));
  if (differ(digest, bytes.subarray(-DIGEST_BYTES))) throw malformed("the file was changed");
  const values = Float32Array.from({ length: n }, (_, i) => view.getFloat32(HEADER_BYTES + 4 * i, true));
  if (!values.every(Number.isFinite)) throw malformed("a filter has a value that is no number");
  return { model: bytes.slice(HEADER_BYTES - DIGEST_BYTES, HEADER_BYTES), values };
}

/**
 * The filters that a load was given, checked as far as they can be before the weights are there.
 * @throws ThimbleError invalid_option where a policy lacks them, or none takes them; as `readFilters`
 */
export async function checkFilters(
  bytes: Uint8Array | undefined,
  policy: PolicySpec | undefined,
  shape: FilterShape,
): Promise<Filters | undefined> {
  const isTaken = policy?.needsFilters === true;
  if (bytes === undefined && !isTaken) return undefined;
  const problem = !isTaken
    ? "filters are for the policy q-filter"
    : bytes === undefined
      ? "the policy q-filter needs filters for this model; thimble calibrate makes them"
      : "filters must be the bytes of a file that thimble calibrate made, a Uint8Array";
  if (!isTaken || !(bytes instanceof Uint8Array))
    throw new ThimbleError("invalid_option", problem, { name: "filters" });
  return readFilters(bytes, shape);
}

/** Gives the engine its filters, once its weights are there. @throws ThimbleError calibration_mismatch */
export async function setFilters(model: CapsuleModel, filters: Filters): Promise<void> {
  if (differ((await digestsOf(model)).model, filters.model)) throw mismatch();
  const { runtime } = model.engine;
  runtime.floats(runtime.exports.filtersAddress(), filters.values.length).set(filters.values);
}

function differ(a: Uint8Array, b: Uint8Array): boolean {
  return a.some((byte, i) => byte !== b[i]);
}

function malformed(problem: string): ThimbleError {
  return new ThimbleError(
    "calibration_malformed",
    `the filters cannot be used: ${problem}; make them with thimble calibrate`,
  );
}

function mismatch(): ThimbleError {
  return new ThimbleError(
    "calibration_mismatch",
    "the filters were made with another model or other activations; make them for this one with thimble calibrate",
  );
}
