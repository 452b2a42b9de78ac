/**
 * The bytes a model and its sessions take, from the header alone: the same regions as assembly/model/layout.ts lays out,
 * in the same order. test/host/budget.test.ts holds the sums equal to the real arena.
 * @module
 */
import { Observed, Size } from "../assembly/memory/status.ts";
import type { Architecture } from "./architecture.ts";
import { cachePages, keptPages, layerPages, type PageCounts, SPARE } from "./cache-pages.ts";
import { ThimbleError } from "./errors.ts";
import type { GgufHeader } from "./header.ts";
import type { Kept } from "./keep.ts";
import { type CacheConfig, hasJournal, ownBytes, pageSizes } from "./kv-cache.ts";
import { formatScratch, queryBytes } from "./kv-format.ts";
import type { ModelConfig } from "./model-config.ts";
import { type PolicySpec, policyScratch, rowBytes } from "./policy.ts";
import { type ActivationMode, packedBytes, weightForm } from "./weight-form.ts";

/** Sizes of the run state that a caller chooses. */
export interface RunSizes {
  /** Most tokens of a session. */
  readonly contextLength: number;
  /** Most rows of a forward call: the prefill chunk. */
  readonly maxRows: number;
  /** Most rows of a forward call that ask for logits or hidden states. */
  readonly maxOutputs: number;
  /** Threads that compute. Default 1. */
  readonly threads?: number;
  /** Sessions with a full context that memory is planned for. Default 1. */
  readonly sessions?: number;
  /** How keys and values are kept. */
  readonly cache: CacheConfig;
  /** What sessions keep of their prompts, where memory is planned for that. */
  readonly keep?: Kept | undefined;
  /** How prompts of which a part is kept go through the model; "layers" only with `keep`. Default "chunks". */
  readonly prompts?: PromptOrder;
}

/** All layers for one chunk of rows after the other, or all rows through one layer after the other (prompt-layers.ts). */
export type PromptOrder = "chunks" | "layers";

/** Bytes by part. */
export interface MemoryPlan {
  /** Packed matrices and norm vectors. */
  readonly weights: number;
  /** Activations, logits, tables; the staging buffer while loading. */
  readonly runState: number;
  /** One session before its first token: page tables, its open, sink and recent pages, and the journal. */
  readonly session: number;
  /** The part of it that open, sink and recent pages take. */
  readonly own: number;
  /** The part of it that a turn's journal takes. */
  readonly journal: number;
  /** One page of the pool: 32 slots of one KV head of one layer. */
  readonly page: number;
  /** One page of a head that keeps 8 bits where others have fewer. */
  readonly widePage: number;
  /** Keys and values of one token over all layers, as such pages hold them, while it is in the window of each. */
  readonly perToken: number;
  /** Pages of a session whose context is full; layers with a sliding window hold the pages of their window only. */
  readonly context: number;
  /** The part of `runState` that the rows of a whole prompt take, where prompts go layer by layer. */
  readonly stream: number;
  /** Pages of a session that `total` counts: `context`, or where prompts go layer by layer what stays of a full context. */
  readonly held: number;
  /**
   * What a prompt takes besides while it is computed: pages to move what stays into; layer by layer the pages of one layer's full
   * context, and a second session with what stays, so that the first is as it was if the prompt is not completed.
   */
  readonly prompt: number;
  /** Sessions in `total`, each with a full context. */
  readonly sessions: number;
  /**
   * Most bytes of WebAssembly memory with so many sessions, whatever the order in which they grow: weights, run state,
   * `session` and `held` of each, `prompt`, the engine, and what is lost between regions, up to 64 KiB, which memory grows by.
   */
  readonly total: number;
}

/** What memory grows by. */
export const WASM_PAGE_BYTES = 65_536;
/** Static data and the engine's record, at most: what the arena has in use before anything is laid out. */
export const ENGINE_BYTES = 4096;

/** A region of `bytes` in the arena: rounded up to 64, with at least 64 behind it. */
export function regionBytes(bytes: number): number {
  return Math.floor((bytes + 2 * Size.ALIGN - 1) / Size.ALIGN) * Size.ALIGN;
}

/** Sizes of the records of assembly/memory/records.ts. */
const RECORD = { layer: 96, linear: 28, rope: 64, head: 56, session: 80 } as const;
/** Ranges a session can pin: MAX_PINS of assembly/cache/evict.ts. */
const PINS = 32;
/** Pages that a head with this window holds at most of a sequence of `tokens`; 0: no window. */
function mostPages(tokens: number, window: number): number {
  const all = Math.ceil(tokens / Size.PAGE_SLOTS);
  return window === 0 ? all : Math.min(all, Math.ceil((window + SPARE + Size.PAGE_SLOTS - 1) / Size.PAGE_SLOTS));
}

/** Bytes of so many pages. */
function pagesBytes({ aged, wide }: PageCounts, cache: CacheConfig, config: ModelConfig): number {
  const sizes = pageSizes(cache, config);
  return aged * sizes.aged + wide * sizes.recent;
}

/** Scratch of an attention task: attendScratch of assembly/kernels/attend.ts. */
function attendScratch({ keyDim, valueDim }: ModelConfig): number {
  const to16 = (n: number): number => Math.ceil(n / 16) * 16;
  const dots = 768;
  const head = 4096 + 128 + to16(valueDim) * 4 + queryBytes(keyDim) + keyDim * 4;
  return 3 * head + 64 + 256 + dots + Math.max(to16(keyDim), to16(valueDim)) * 32 + keyDim * 4 + 16;
}

/** Bytes of file data that must fit the staging buffer: whole heads (or tiles) of the widest row, twice when unpacked to f32. */
export function stagingBytes(header: GgufHeader, model: Architecture, activations: ActivationMode): number {
  let most = 0;
  for (const tensor of header.tensors) {
    const { isMatrix, parts } = model.places.get(tensor.name)!;
    const rowBytes = tensor.bytes / tensor.rows + (isMatrix && activations === "f32" ? tensor.columns * 4 : 0);
    const group = isMatrix ? Math.max(...parts.map(({ permute }) => rowGroup(permute))) : 1;
    most = Math.max(most, group * rowBytes);
  }
  return Math.ceil(most);
}

/** Rows that must be staged together: tiles of 8, and whole heads where they are permuted (head dims are multiples of 8). */
export function rowGroup(permute: number): number {
  return permute === 0 ? Size.TILE_ROWS : permute;
}

/** The plan of a model; pages come on top as sessions grow. */
export function planMemory(
  header: GgufHeader,
  model: Architecture,
  activations: ActivationMode,
  sizes: RunSizes,
): MemoryPlan {
  const { config } = model;
  let weights =
    regionBytes(config.nLayers * RECORD.layer) +
    regionBytes((config.nLayers * 7 + 2) * RECORD.linear) +
    regionBytes(config.ropes.length * RECORD.rope) +
    ((sizes.threads ?? 1) > 1 ? regionBytes((sizes.threads ?? 1) * 64) : 0);
  for (const tensor of header.tensors) {
    const form = weightForm(tensor.type, activations);
    if (form === undefined) continue;
    for (const { kind, length } of model.places.get(tensor.name)?.parts ?? []) {
      if (kind === "matrix") weights += regionBytes(packedBytes(form, length, tensor.columns));
      else if (kind !== "unused") weights += regionBytes(length * 4);
    }
  }
  const runState = runStateBytes(config, sizes);
  const staging = stagingBytes(header, model, activations);
  const { cache } = sizes;
  const { aged: page, recent: widePage } = pageSizes(cache, config);
  const nWide = cache.wideHeads.length;
  const nHeads = config.nLayers * config.nKvHeads;
  const tables = config.layers.reduce(
    (n, { window }) => n + config.nKvHeads * mostPages(sizes.contextLength, window),
    0,
  );
  const own = nHeads * ownBytes(cache, config);
  const journal = hasJournal(cache) ? own + nHeads * RECORD.head : 0;
  const statistics = rowBytes(cache.policy, config, sizes.contextLength);
  const evictor = PINS * 8 + (Math.floor(sizes.maxRows / Size.PAGE_SLOTS) + 2) * nHeads * 16;
  const context = pagesBytes(cachePages(config, cache, sizes.contextLength), cache, config);
  const parts = {
    weights,
    runState: runState < staging ? runState + regionBytes(staging - runState) : runState,
    session: regionBytes(
      Math.ceil((RECORD.session + nHeads * RECORD.head + tables * 4) / 16) * 16 + own + journal + evictor + statistics,
    ),
    own,
    journal,
    page,
    widePage,
    perToken: ((nHeads - nWide) * page + nWide * widePage) / Size.PAGE_SLOTS,
    context,
    stream: streamBytes(config, sizes),
    sessions: sizes.sessions ?? 1,
  };
  const whole = { ...parts, ...promptBytes(parts, config, sizes) };
  return { ...whole, total: totalBytes(whole, sizes.contextLength, nWide > 0 ? 2 : 1) };
}

/**
 * What sessions hold between prompts, and what a prompt takes while it lasts. At its end it takes pages to move what stays into
 * (`compactPages` of assembly/cache/compact.ts), of all layers or of one, and the region of the fork that KVzip reads the prompt
 * in; that one's pages are within the context of the session. Layer by layer it is computed in a fork as well.
 */
function promptBytes(
  { session, page, context }: Pick<MemoryPlan, "session" | "page" | "context">,
  config: ModelConfig,
  { cache, contextLength, keep, prompts }: RunSizes,
): Pick<MemoryPlan, "held" | "prompt"> {
  const { policy, recentPages, sinkPages } = cache;
  if (policy === undefined) return { held: context, prompt: 0 };
  const moving = config.nKvHeads * (2 + recentPages + sinkPages) * page;
  if (prompts !== "layers" || keep === undefined) {
    const fork = policy.observed === Observed.LARGEST ? session : 0;
    return { held: context, prompt: fork + regionBytes(config.nLayers * moving) };
  }
  const held = keptPages(config, cache, contextLength, keep) * page;
  const layer = layerPages(config, cache, contextLength) * page;
  const slabs = 2 * config.nLayers * 2 * Size.ALIGN; // pages of a layer are taken together, and those to move it into
  return { held, prompt: session + held + layer + moving + slabs };
}

/** The rows of a prompt that goes layer by layer. */
function streamBytes({ hiddenDim }: ModelConfig, { contextLength, prompts }: RunSizes): number {
  return prompts === "layers" ? contextLength * hiddenDim * 4 : 0;
}

/** Memory with sessions that hold what they may; pages come in slabs, of each session and kind at most one for every 32 tokens. */
function totalBytes(
  { weights, runState, session, page, held, sessions, prompt }: Omit<MemoryPlan, "total">,
  tokens: number,
  kinds: number,
): number {
  const slabs = kinds * Math.min(held / page, Math.ceil(tokens / Size.PAGE_SLOTS) + 1);
  const bytes = ENGINE_BYTES + weights + runState + sessions * (session + held + slabs * 2 * Size.ALIGN) + prompt;
  return Math.ceil(bytes / WASM_PAGE_BYTES) * WASM_PAGE_BYTES;
}

/** What any file may ask for besides its weights; above that, no more than the bytes it has itself. */
const MODEST_BYTES = 48 << 20;
/** The tokens whose pages a pool takes at once, as far as memory allows: see `aheadPages`. */
export const FIRST_TOKENS = 256;

/**
 * Pages that a pool takes at once: never more than one session needs, so that what is taken ahead for some sessions leaves
 * room for the regions of those that are planned and not open yet.
 */
export function aheadPages(config: ModelConfig, { cache, contextLength, keep, prompts }: RunSizes): PageCounts {
  const ahead = cachePages(config, cache, Math.min(FIRST_TOKENS, contextLength));
  if (prompts !== "layers" || keep === undefined) return ahead;
  return { ...ahead, aged: Math.min(ahead.aged, keptPages(config, cache, contextLength, keep)) };
}

/**
 * Refuses a file of a few bytes whose sizes agree with each other and ask for gigabytes: heads without end, or a context
 * of millions over hundreds of layers. A model's own sizes stay far below its weights.
 * @throws ThimbleError malformed_file
 */
export function checkProportion(
  header: GgufHeader,
  model: Architecture,
  activations: ActivationMode,
  { contextLength, maxRows, maxOutputs, cache }: RunSizes,
): void {
  // Rows and outputs beyond the defaults are the caller's wish, not the file's.
  const sizes = { contextLength, cache, maxRows: Math.min(64, maxRows), maxOutputs: Math.min(8, maxOutputs) };
  const { runState, session } = planMemory(header, model, activations, sizes);
  const needed = runState + session + pagesBytes(cachePages(model.config, cache, FIRST_TOKENS), cache, model.config);
  const available = MODEST_BYTES + header.tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
  if (needed <= available) return;
  const message = `its sizes ask for ${needed} bytes besides the weights, out of proportion to the file`;
  throw new ThimbleError("malformed_file", `${message}; to trust it, load it with a smaller contextLength`, {
    file: header.file,
    needed,
    available,
  });
}

/** Columns of the matrix that a policy sketches keys with; 0: none. */
export function sketchColumns({ values }: PolicySpec, keyDim: number): number {
  return Math.min(values.get("sketch") ?? 0, keyDim);
}

/** Scores, kept slots, a head's keys and weights, budgets, parameters; scratch, filters, a sketch of keys. */
function policyRegions(config: ModelConfig, sizes: RunSizes): number[] {
  const { nLayers, nKvHeads, keyDim, valueDim } = config;
  const { policy } = sizes.cache;
  if (policy === undefined) return [];
  const slots = sizes.contextLength + Size.PAGE_SLOTS;
  const filters = policy.needsFilters ? nLayers * nKvHeads * keyDim * 4 : 0;
  const sketch = sketchColumns(policy, keyDim);
  const sketched = sketch > 0 ? sketch * keyDim * 4 + sketch * sketch * 8 + keyDim * 12 + 16 : 0;
  return [
    slots * nKvHeads * 4,
    slots * nKvHeads,
    slots * Math.max(keyDim, valueDim) * 4,
    slots * 4,
    nLayers * nKvHeads * 4,
    32,
    ...[policyScratch(policy, config), filters, sketched].filter((bytes) => bytes > 0),
  ];
}

function runStateBytes(config: ModelConfig, sizes: RunSizes): number {
  const { maxRows: rows, maxOutputs: outputs } = sizes;
  const { nLayers, hiddenDim, ffnDim, nHeads, nKvHeads, sourceKvHeads, keyDim, valueDim, ropeDim } = config;
  const widest = Math.max(hiddenDim, nHeads * valueDim, ffnDim);
  const vocab = Math.ceil(config.vocabSize / 8) * 8;
  const scratch = formatScratch(sizes.cache, keyDim, valueDim);
  const task = 3 * Size.ALIGN + Math.floor((nKvHeads * 4) / 64) * 64 + 64;
  const turns = sizes.cache.policy === undefined ? [] : [4 * 64 * ropeDim * 8];
  const regions = [
    rows * Size.ROW,
    rows * hiddenDim * 4,
    rows * widest * 4,
    rows * Math.floor((widest + 31) / 32) * Size.ACTIVATION_BLOCK,
    rows * nHeads * keyDim * 4,
    rows * sourceKvHeads * keyDim * 4,
    rows * sourceKvHeads * valueDim * 4,
    rows * ffnDim * 4,
    rows * ffnDim * 4,
    rows * hiddenDim * 4,
    ...config.ropes.flatMap(() => [ropeDim * 4, rows * ropeDim * 4, ...turns]),
    (sizes.threads ?? 1) * (Math.floor((task + attendScratch(config) + scratch.task) / 64) * 64 + 64),
    outputs * hiddenDim * 4,
    outputs * vocab * 4,
    vocab * 4,
    nLayers * nKvHeads * 8,
    ...(scratch.packing > 0 ? [scratch.packing] : []),
    ...policyRegions(config, sizes),
    ...[streamBytes(config, sizes)].filter((bytes) => bytes > 0),
  ];
  return regions.reduce((sum, bytes) => sum + regionBytes(bytes), 0);
}
