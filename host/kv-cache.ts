/**
 * How keys and values are kept: the form of pages that have aged, and which pages stay at 8 bits
 * (assembly/cache/append.ts). Sizes as assembly/cache/page.ts and packed-page.ts draw them.
 * @module
 */
import { KvForm, Size } from "../assembly/memory/status.ts";
import {
  channelBytes,
  hasChannels,
  isFew,
  parseKvFormat,
  resolveFormat,
  sectionBytes,
  type WideHead,
} from "./kv-format.ts";
import { checkChoice, checkInteger, wrongOption } from "./options.ts";
import { type PolicySpec, parsePolicy } from "./policy.ts";

/** f32: exact; q8: 8 bits, nearly lossless; q4: 4.5 bits; q3: 3.5 bits. */
export const KV_FORMS = ["f32", "q8", "q4", "q3"] as const;
export type KvFormName = (typeof KV_FORMS)[number];

export interface CacheOptions {
  /** Form of keys that are no longer recent. Default "q8"; "f32" where activations are. */
  readonly keys?: KvFormName;
  /** Form of values that are no longer recent. Default as for keys. */
  readonly values?: KvFormName;
  /** Newest tokens kept at 8 bits where the form has fewer; a multiple of 32. Default 64. */
  readonly kvWindow?: number;
  /** First tokens kept at 8 bits where the form has fewer; a multiple of 32. Default 32. */
  readonly kvSinks?: number;
  /** Dims of a head that share a scale: 32 or 64. Default 64. */
  readonly kvGroup?: number;
  /**
   * Rotate queries and keys by a Hadamard matrix, which spreads outlier channels before keys are quantized. Default: where
   * keys are not "f32"; with a policy, only where they have fewer than 8 bits.
   */
  readonly kvRotation?: boolean;
  /**
   * What pages keep beside plain codes, names and numbers with commas between them: "outliers:4,factors"; docs/kv-cache.md
   * says what each is and costs. Names without an effect on the forms of keys and values are left out. Default: "channels",
   * and "" (none) with a policy.
   */
  readonly kvFormat?: string;
  /**
   * How sessions choose what to keep of a prompt where they keep less than all of it (`SessionOptions.keep`): a name and
   * parameters, "snapkv" or "snapkv:window=32". Pages then say the position of each slot, and memory has room for scores.
   * Default: none.
   */
  readonly policy?: string;
}

/** The options as numbers. */
export interface CacheConfig {
  readonly keyForm: KvForm;
  readonly valueForm: KvForm;
  readonly group: number;
  /** Pages of a head that are kept at 8 bits; 0 where the forms have as many. */
  readonly recentPages: number;
  readonly sinkPages: number;
  readonly rotateKeys: boolean;
  /** What pages of fewer than 8 bits keep beside codes: KvSection word of assembly/memory/status.ts. */
  readonly sections: number;
  /** Keys in planes: thousandths of the least probability that is not flat; else 0. */
  readonly flat: number;
  /** KV heads that keep 8 bits where others have fewer. */
  readonly wideHeads: readonly WideHead[];
  /** What chooses the slots that stay at a prompt's end. */
  readonly policy?: PolicySpec | undefined;
}

/** Dims of a head's keys and values. */
export interface HeadDims {
  readonly keyDim: number;
  readonly valueDim: number;
}

/** @param form - of keys and values where the options name none. @throws ThimbleError invalid_option */
export function cacheConfig(options: CacheOptions = {}, form: KvFormName = "q8"): CacheConfig {
  const baseForm: KvForm = KV_FORMS.indexOf(checkChoice("keys", options.keys ?? form, KV_FORMS));
  const valueForm: KvForm = KV_FORMS.indexOf(checkChoice("values", options.values ?? form, KV_FORMS));
  const recentPages = checkPages("kvWindow", options.kvWindow ?? 64, 1);
  const sinkPages = checkPages("kvSinks", options.kvSinks ?? 32, 0);
  const group = checkInteger("kvGroup", options.kvGroup ?? 64, 32, 64);
  if (group % 32 !== 0) throw wrongOption("kvGroup", `kvGroup is ${group}; it must be 32 or 64`);
  const policy = options.policy === undefined ? undefined : parsePolicy(options.policy);
  // The best of those measured (docs/kv-cache.md); a policy's slots leave their pages, and it may look at keys as they are.
  const usual = policy === undefined ? "channels" : "";
  const format = resolveFormat(parseKvFormat(options.kvFormat ?? usual), baseForm, valueForm);
  const { keyForm, sections, flat, wideHeads } = format;
  const rotateKeys = options.kvRotation ?? (keyForm > (policy === undefined ? KvForm.F32 : KvForm.Q8) || flat > 0);
  if (typeof rotateKeys !== "boolean") {
    throw wrongOption("kvRotation", "kvRotation must be true or false");
  }
  if (policy !== undefined && (sections !== 0 || wideHeads.length > 0 || hasChannels(keyForm))) {
    const message = "kvFormat has what belongs to a whole page or head; a policy moves single slots";
    throw wrongOption("kvFormat", message);
  }
  const config = { keyForm, valueForm, group, recentPages, sinkPages, rotateKeys, sections, flat, wideHeads, policy };
  return agesTwice(config) ? config : { ...config, recentPages: 0, sinkPages: 0 };
}

function checkPages(name: string, tokens: number, fewest: number): number {
  const n = checkInteger(name, tokens, fewest * Size.PAGE_SLOTS, 65_536);
  if (n % Size.PAGE_SLOTS === 0) return n / Size.PAGE_SLOTS;
  throw wrongOption(name, `${name} is ${n}; it must be a multiple of ${Size.PAGE_SLOTS}`);
}

/** Names of the forms that a cache has. */
export function formNames({ keyForm, valueForm }: CacheConfig): { keys: KvFormName; values: KvFormName } {
  return { keys: NAMES[keyForm], values: NAMES[valueForm] };
}

/** By KvForm. */
const NAMES = [...KV_FORMS, "q8", "q4", "q3"] as const;

/** Whether pages take a second step, from 8 bits to fewer. */
export function agesTwice({ keyForm, valueForm }: CacheConfig): boolean {
  return isFew(keyForm) || isFew(valueForm);
}

/** Bytes of a block of 32 codes, by KvForm. */
const BLOCK_BYTES = [128, 32, 16, 12, 32, 16, 12] as const;

/** Codes and scales. */
function partBytes(form: KvForm, dim: number, group: number): number {
  if (form === KvForm.F32) return Size.PAGE_SLOTS * dim * 4;
  const codes = Math.ceil(dim / 16) * 16 * BLOCK_BYTES[form];
  if (hasChannels(form)) return codes + channelBytes(dim);
  return codes + Math.ceil(dim / group) * 64 * (isFew(form) ? 2 : 1);
}

/** Bytes of a page of 32 slots in the cache's form, of an open one, and of a recent or sink one. */
export function pageSizes(
  cache: CacheConfig,
  { keyDim, valueDim }: HeadDims,
): { aged: number; open: number; recent: number } {
  const { keyForm, valueForm, group, sections } = cache;
  const fixed = Size.PAGE_HEADER + (cache.policy === undefined ? 0 : Size.POSITIONS);
  const of = (keys: KvForm, values: KvForm): number =>
    fixed +
    partBytes(keys, keyDim, group) +
    sectionBytes(sections, keys, "keys", keyDim, group) +
    partBytes(values, valueDim, group) +
    sectionBytes(sections, values, "values", valueDim, group);
  const recent = (form: KvForm): KvForm => Math.min(form, KvForm.Q8);
  return {
    aged: of(keyForm, valueForm),
    open: of(KvForm.F32, KvForm.F32),
    recent: of(recent(keyForm), recent(valueForm)),
  };
}

/** Bytes of one head's pages in a session's own region. */
export function ownBytes(cache: CacheConfig, dims: HeadDims): number {
  const { open, recent } = pageSizes(cache, dims);
  return open + (cache.sinkPages + cache.recentPages) * recent;
}

/** Whether a session has a journal: f32 pages need none. */
export function hasJournal({ keyForm, valueForm }: CacheConfig): boolean {
  return keyForm !== KvForm.F32 || valueForm !== KvForm.F32;
}

/** Pages of the pool that a head of `tokens` slots holds. */
export function pooledPages(cache: CacheConfig, tokens: number): number {
  const closed = Math.floor(tokens / Size.PAGE_SLOTS);
  return agesTwice(cache) ? Math.max(0, closed - cache.recentPages - cache.sinkPages) : closed;
}
