/**
 * What a capsule must find again to go on with the same bits: the model's configuration, its tensors with all their packed
 * weights, and the tokenizer's vocabulary. File names, places in the file and texts about the model do not count, nor does
 * the context length (where it does not choose other rotations).
 *
 * Weights go in as checksums of 64 bits (assembly/kernels/checksum.ts), which takes about as long as reading them once:
 * every byte counts, and a file that is damaged or tuned anywhere is another model. They are no shield against someone who
 * makes weights for the purpose; who can do that has no need of a capsule. Packed weights are the same bytes on every build
 * variant.
 * @module
 */
import type { Engine } from "../engine.ts";
import { ThimbleError } from "../errors.ts";
import type { GgufHeader } from "../header.ts";
import type { ActivationMode } from "../weight-form.ts";

/** What a session is saved from and restored to. */
export interface CapsuleModel {
  readonly engine: Engine;
  readonly header: GgufHeader;
  readonly activations: ActivationMode;
}

/** SHA-256 [32] each. */
export interface Digests {
  readonly model: Uint8Array<ArrayBuffer>;
  readonly tokenizer: Uint8Array<ArrayBuffer>;
}

/** Keys of the tokenizer that do not change what ids mean. */
const IGNORED: readonly string[] = ["tokenizer.chat_template"];

const known = new WeakMap<Engine, Promise<Digests>>();

/** Made once for a model. @throws ThimbleError unsupported_runtime where there is no WebCrypto */
export function digestsOf(model: CapsuleModel): Promise<Digests> {
  const made = known.get(model.engine) ?? makeDigests(model);
  known.set(model.engine, made);
  return made;
}

/** @throws ThimbleError unsupported_runtime */
export function webCrypto(): typeof crypto.subtle {
  const subtle = globalThis.crypto?.subtle;
  if (subtle !== undefined) return subtle;
  throw new ThimbleError("unsupported_runtime", "capsules need WebCrypto; browsers have it in secure contexts (https)");
}

async function makeDigests({ engine, header }: CapsuleModel): Promise<Digests> {
  const subtle = webCrypto();
  const digest = async (value: unknown): Promise<Uint8Array<ArrayBuffer>> =>
    new Uint8Array(await subtle.digest("SHA-256", new TextEncoder().encode(canonical(value))));
  const { trainedContext: _, ...config } = engine.config;
  const tensors = header.tensors.map(({ name, typeName, shape }) => [name, typeName, shape] as const);
  tensors.sort(([a], [b]) => (a < b ? -1 : 1));
  const vocabulary = Object.entries(header.metadata)
    .filter(([key]) => key.startsWith("tokenizer.") && !IGNORED.includes(key))
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return { model: await digest({ config, tensors, weights: weightSums(engine) }), tokenizer: await digest(vocabulary) };
}

/** Name and checksum of every tensor or part of one, by name; parts of a tensor stay in their order. */
function weightSums({ runtime, weights }: Engine): (string | number)[][] {
  const { exports } = runtime;
  const out = exports.scratchAddress() >>> 0;
  const sums = weights.map(({ name, address, bytes }) => {
    exports.checksum(out, address, bytes / 4, 0);
    return [name, ...runtime.words(out, 2)];
  });
  return sums.sort(([a], [b]) => (a! < b! ? -1 : a! > b! ? 1 : 0));
}

/** JSON with sorted keys and 64-bit integers as strings: one spelling for a value. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, item: unknown) => {
    if (typeof item === "bigint") return `${item}n`;
    if (typeof item === "number" && !Number.isFinite(item)) return String(item);
    if (typeof item !== "object" || item === null || Array.isArray(item)) return item;
    return Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}
