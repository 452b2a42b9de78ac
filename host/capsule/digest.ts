/**
 * What a capsule must find again to go on with the same bits: the model's configuration, its tensors and a sample of their
 * packed weights, and the tokenizer's vocabulary. File names, places in the file and texts about the model do not count,
 * nor does the context length (where it does not choose other rotations).
 *
 * The sample is the first 2 KiB of every packed matrix: it tells fine-tunes of one model apart without reading all weights.
 * Packed weights are the same bytes on every build variant.
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

const SAMPLE_BYTES = 2048;
/** Matrices of a layer, and the two outside any, in the order of Slot. */
const LAYER_SLOTS = [0, 1, 2, 3, 4, 5, 6] as const;
const OUTER_SLOTS = [7, 8] as const;
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
export function webCrypto(): SubtleCrypto {
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
  const samples = [...new Uint8Array(await subtle.digest("SHA-256", weightSamples(engine)))];
  const vocabulary = Object.entries(header.metadata)
    .filter(([key]) => key.startsWith("tokenizer.") && !IGNORED.includes(key))
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return { model: await digest({ config, tensors, samples }), tokenizer: await digest(vocabulary) };
}

/** Form, shape and first bytes of every matrix. */
function weightSamples({ runtime, config }: Engine): Uint8Array<ArrayBuffer> {
  const places = config.layers.flatMap((_, layer) => LAYER_SLOTS.map((slot) => [slot, layer] as const));
  const all = [...places, ...OUTER_SLOTS.map((slot) => [slot, 0] as const)];
  const samples = new Uint8Array(all.length * (16 + SAMPLE_BYTES));
  all.forEach(([slot, layer], i) => {
    const address = runtime.exports.linearAddress(slot, layer) >>> 0;
    // Linear of assembly/memory/records.ts: data, form, nRows, nCols.
    const record = runtime.words(address, 4);
    const at = i * (16 + SAMPLE_BYTES);
    new DataView(samples.buffer).setUint32(at, record[1]!, true);
    new DataView(samples.buffer).setUint32(at + 4, record[2]!, true);
    new DataView(samples.buffer).setUint32(at + 8, record[3]!, true);
    // A row has at least 4 bits a weight.
    const bytes = Math.min(SAMPLE_BYTES, Math.floor((record[2]! * record[3]!) / 2));
    if (record[0] !== 0) samples.set(runtime.bytes(record[0]!, bytes), at + 16);
  });
  return samples;
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
