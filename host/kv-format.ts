/**
 * What pages keep beside plain codes, by name: the text of `CacheOptions.kvFormat`, what it becomes for given forms of keys
 * and values, and its bytes. The methods and their papers are in assembly/sections.
 * @module
 */
import { KvForm, KvSection, Size } from "../assembly/memory/status.ts";
import type { ThimbleError } from "./errors.ts";
import { wrongOption } from "./options.ts";

/** By name: least and most of the number that follows a colon, or none; whole where `isWhole`. */
const PIECES = {
  /** Keys of fewer than 8 bits: a scale a channel of the page, not a token. */
  channels: undefined,
  /** Keys of fewer than 8 bits: the mean of each channel taken off first. */
  mean: undefined,
  /** Keys of fewer than 8 bits: so many channels of a page at 8 bits. */
  outliers: { least: 1, most: 8, isWhole: true },
  /** Values of fewer than 8 bits: a factor for each channel of the page. */
  factors: undefined,
  /** Keys and values of fewer than 8 bits: so many slots of a page with 4 bits more. */
  salient: { least: 1, most: 8, isWhole: true },
  /** KV heads that keep 8 bits, as in heads:0.1/3.2, layer and head. */
  heads: { least: 1, most: 1, isWhole: true },
  /** Keys at 8 bits: the upper four first, the lower where no probability of a span reaches this. */
  planes: { least: 0.001, most: 1, isWhole: false },
} as const satisfies Record<string, { least: number; most: number; isWhole: boolean } | undefined>;

type PieceName = keyof typeof PIECES;
export const KV_FORMAT_PIECES = Object.keys(PIECES) as readonly PieceName[];

/** A KV head of a layer. */
export interface WideHead {
  readonly layer: number;
  readonly head: number;
}

/** The pieces that a text names, with their numbers, 1 where a piece has none; and heads, in order. */
export interface KvFormat {
  readonly pieces: ReadonlyMap<PieceName, number>;
  readonly wideHeads: readonly WideHead[];
}

/** KV heads of a layer that can be named: bits of an f64. */
const MOST_HEADS = 53;

/** "0.1/3.2". @throws ThimbleError invalid_option */
function parseHeads(text: string | undefined): WideHead[] {
  const heads = (text ?? "").split("/").map((name) => {
    const [, layer, head] = /^(\d{1,4})\.(\d{1,2})$/.exec(name) ?? [];
    if (layer === undefined || Number(head) >= MOST_HEADS) {
      throw refuse(`heads of kvFormat has ${JSON.stringify(name)}; it takes layers and KV heads, as in heads:0.1/3.2`);
    }
    return { layer: Number(layer), head: Number(head) };
  });
  heads.sort((a, b) => a.layer - b.layer || a.head - b.head);
  if (new Set(heads.map(nameOf)).size < heads.length) throw refuse("heads of kvFormat names a head twice");
  return heads;
}

function nameOf({ layer, head }: WideHead): string {
  return `${layer}.${head}`;
}

/** A layer's heads as bits. */
export function wideMask(heads: readonly WideHead[], layer: number): number {
  return heads.reduce((mask, one) => mask + (one.layer === layer ? 2 ** one.head : 0), 0);
}

/** Wide heads of a layer. */
export function wideHeadsOf(heads: readonly WideHead[], layer: number): number {
  return heads.filter((one) => one.layer === layer).length;
}

/** A digest of the list, 0 for none: FNV-1a. */
export function wideDigest(heads: readonly WideHead[]): number {
  if (heads.length === 0) return 0;
  let digest = 0x811c9dc5;
  for (const character of heads.map(nameOf).join("/")) digest = Math.imul(digest ^ character.charCodeAt(0), 0x01000193);
  return digest >>> 0 || 1;
}

/** @throws ThimbleError invalid_option for a head that the model does not have */
export function checkHeads(heads: readonly WideHead[], nLayers: number, nKvHeads: number): void {
  const wrong = heads.find(({ layer, head }) => layer >= nLayers || head >= nKvHeads);
  if (wrong === undefined) return;
  throw refuse(`kvFormat names head ${nameOf(wrong)}; the model has ${nLayers} layers of ${nKvHeads} KV heads`);
}

/** "mean,outliers:4,factors"; "" is none. @throws ThimbleError invalid_option */
export function parseKvFormat(text: unknown): KvFormat {
  if (typeof text !== "string") throw refuse(`kvFormat is ${String(text)}; it must be a text`);
  const format = new Map<PieceName, number>();
  let wideHeads: WideHead[] = [];
  for (const piece of text === "" ? [] : text.split(",")) {
    const [name = "", number, ...more] = piece.split(":");
    if (!Object.hasOwn(PIECES, name)) {
      throw refuse(`kvFormat has no ${JSON.stringify(piece)}; there are ${KV_FORMAT_PIECES.join(", ")}`);
    }
    const range = PIECES[name as PieceName];
    if (format.has(name as PieceName)) throw refuse(`kvFormat names ${name} twice`);
    if (name === "heads" && more.length === 0) {
      wideHeads = parseHeads(number);
      format.set(name, 1);
      continue;
    }
    if (range === undefined) {
      if (number !== undefined) throw refuse(`${name} of kvFormat takes no number`);
      format.set(name as PieceName, 1);
      continue;
    }
    const value = /^\d+(\.\d+)?$/.test(number ?? "") ? Number(number) : Number.NaN;
    if (more.length > 0 || !(value >= range.least && value <= range.most) || (range.isWhole && value % 1 !== 0)) {
      const kind = range.isWhole ? "an integer" : "a number";
      throw refuse(
        `${name} of kvFormat takes ${kind} from ${range.least} to ${range.most}, as in ${name}:${range.most}`,
      );
    }
    format.set(name as PieceName, value);
  }
  if (format.has("channels") && format.has("mean")) {
    throw refuse("kvFormat has channels and mean; a channel's scale comes with a zero, its mean");
  }
  return { pieces: format, wideHeads };
}

function refuse(message: string): ThimbleError {
  return wrongOption("kvFormat", message);
}

/** A format for given forms, as the engine takes it. */
export interface ResolvedFormat {
  readonly keyForm: KvForm;
  /** KvSection word. */
  readonly sections: number;
  /** Keys in planes: thousandths of the least probability that is not flat; else 0. */
  readonly flat: number;
  /** Heads that keep 8 bits where others have fewer. */
  readonly wideHeads: readonly WideHead[];
}

/** What of a format has an effect on these forms: the rest is left out, as the same model may be loaded with other forms. */
export function resolveFormat({ pieces, wideHeads }: KvFormat, keyForm: KvForm, valueForm: KvForm): ResolvedFormat {
  const number = (name: PieceName): number => pieces.get(name) ?? 0;
  const [hasKeys, hasValues] = [isFew(keyForm), isFew(valueForm)];
  const isPlanes = keyForm === KvForm.Q8 && pieces.has("planes");
  const isChannels = hasKeys && pieces.has("channels");
  const channels = keyForm === KvForm.Q4 ? KvForm.Q4_CHANNELS : KvForm.Q3_CHANNELS;
  return {
    keyForm: isPlanes ? KvForm.Q8_PLANES : isChannels ? channels : keyForm,
    sections:
      (hasKeys ? number("mean") * KvSection.MEAN + (number("outliers") << KvSection.OUTLIERS_SHIFT) : 0) +
      (hasValues ? number("factors") * KvSection.FACTORS : 0) +
      (hasKeys || hasValues ? number("salient") << KvSection.SALIENT_SHIFT : 0),
    flat: isPlanes ? Math.round(number("planes") * 1000) : 0,
    wideHeads: hasKeys || hasValues ? wideHeads : [],
  };
}

/** Fewer than 8 bits. */
export function isFew(form: KvForm): boolean {
  return form > KvForm.Q8 && form !== KvForm.Q8_PLANES;
}

/** The text of a resolved format, "" where it is none. */
export function describeFormat({ keyForm, sections, flat, wideHeads }: ResolvedFormat): string {
  const { outliers, salient } = counts(sections);
  return [
    ...(hasChannels(keyForm) ? ["channels"] : []),
    ...(sections & KvSection.MEAN ? ["mean"] : []),
    ...(outliers > 0 ? [`outliers:${outliers}`] : []),
    ...(sections & KvSection.FACTORS ? ["factors"] : []),
    ...(salient > 0 ? [`salient:${salient}`] : []),
    ...(wideHeads.length > 0 ? [`heads:${wideHeads.map(nameOf).join("/")}`] : []),
    ...(flat > 0 ? [`planes:${flat / 1000}`] : []),
  ].join(",");
}

function counts(sections: number): { outliers: number; salient: number } {
  return {
    outliers: (sections >> KvSection.OUTLIERS_SHIFT) & 255,
    salient: (sections >> KvSection.SALIENT_SHIFT) & 255,
  };
}

export function hasChannels(form: KvForm): boolean {
  return form === KvForm.Q4_CHANNELS || form === KvForm.Q3_CHANNELS;
}

const to16 = (n: number): number => Math.ceil(n / 16) * 16;

/** Bytes of the scales of keys by channel. */
export function channelBytes(dim: number): number {
  return to16(2 * dim);
}

/** Bytes of the sections behind the codes and scales of keys or values. */
export function sectionBytes(
  sections: number,
  form: KvForm,
  part: "keys" | "values",
  dim: number,
  group: number,
): number {
  if (!isFew(form)) return 0;
  const { outliers, salient } = counts(sections);
  const own =
    part === "keys" ? 36 * outliers + (sections & KvSection.MEAN ? dim : 0) : sections & KvSection.FACTORS ? dim : 0;
  return to16(own + salient * (to16(dim) / 2 + 2 * Math.ceil(dim / group) + 1));
}

/** Of a query's codes: assembly/kernels/quantize-query.ts. */
export function queryBytes(dim: number): number {
  return 64 + to16(dim) * 4;
}

/** Bytes of a page's matrices while it is packed, and of the scratch of an attention task: 0 where no format needs them. */
export function formatScratch(format: Pick<ResolvedFormat, "keyForm" | "sections">, keyDim: number, valueDim: number) {
  const isNeeded = format.sections !== 0 || format.keyForm >= KvForm.Q8_PLANES;
  return {
    packing: isNeeded ? 2 * Size.PAGE_SLOTS * Math.max(keyDim, valueDim) * 4 : 0,
    task: isNeeded ? 3 * (queryBytes(keyDim) + to16(valueDim) * 4) : 0,
  };
}
