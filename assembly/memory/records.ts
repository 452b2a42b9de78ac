/**
 * The structs that live in linear memory, all unmanaged and used through `changetype`. Every state that changes is in one
 * of them: globals are per instance, and a second worker's instantiation would overwrite static data.
 *
 *   arena:  | Engine | Layer x nLayers | norms | run state (staging while loading) | packed weights | session regions and page slabs ... |
 *
 * A session region:  | Session | HeadView x (nLayers x nKvHeads) | page addresses, maxPages u32 per head |
 */

/** A packed weight matrix [nRows][nCols]; see kernels/pack.ts. */
@unmanaged
export class Linear {
  /** First tile, or 0 while the matrix is not allocated. */
  data: usize;
  /** Form of the packing. */
  form: u32;
  nRows: u32;
  nCols: u32;
  /** ceil(nRows / 8). */
  nTiles: u32;
  /** A low-rank adapter beside the weights, or 0. */
  adapter: usize;
}

/** A decoder layer: mixer options as data, chosen from metadata, never branched on inside a kernel. */
@unmanaged
export class Layer {
  /** f32 [hiddenDim]. */
  attentionNorm: usize;
  /** f32 [hiddenDim]. */
  feedForwardNorm: usize;
  /** Linear[7], in the order of Slot. */
  linears: usize;
  nHeads: u32;
  nKvHeads: u32;
  keyDim: u32;
  valueDim: u32;
  /** Sliding window in slots; 0: all. */
  window: u32;
  /** What mixes tokens; 0: softmax attention. */
  mixer: u32;
  /** State of a recurrent mixer, or 0. */
  recurrentState: usize;
}

/** One KV head of one layer of one session: how many slots it holds and in which pages. Heads need not agree. */
@unmanaged
export class HeadView {
  /** Slots in use. */
  length: u32;
  nPages: u32;
  /** u32 addresses of nPages pages, room for the capacity. */
  pages: usize;
}

/** A sequence of tokens with its cache. */
@unmanaged
export class Session {
  /** Position of the next token = tokens seen. */
  nextPosition: u32;
  /** Most tokens this session can hold. */
  capacity: u32;
  /** Rows of the forward call under way, while it is being checked; else 0. */
  pending: u32;
  /** HeadView[nLayers x nKvHeads]. */
  heads: usize;
  /** The next free region while this one is free. */
  nextFree: usize;
}

/** One row of a `forward` call. */
@unmanaged
export class Row {
  /** Address of the Session. */
  session: usize;
  /** Token id, or -1 when `vector` gives the input. */
  token: i32;
  position: u32;
  /** RowFlag bits. */
  flags: u32;
  /** f32 [hiddenDim] in place of an embedding, or 0. */
  vector: usize;
  spare0: u32;
  spare1: u32;
  spare2: u32;
}

/** The model, its run state and the page pool: one per WebAssembly instance. */
@unmanaged
export class Engine {
  /** End of the arena's used part. */
  top: usize;
  /** 1 once an allocation failed: a layout of several regions looks at it at the end. */
  exhausted: u32;

  nLayers: u32;
  hiddenDim: u32;
  ffnDim: u32;
  nHeads: u32;
  nKvHeads: u32;
  keyDim: u32;
  valueDim: u32;
  /** Rotated dims of a head. */
  ropeDim: u32;
  vocabSize: u32;
  /** Most tokens of a session. */
  contextLength: u32;
  /** Most rows of a forward call: the chunk. */
  maxRows: u32;
  /** Most rows of a forward call that ask for an output. */
  maxOutputs: u32;
  rmsEps: f32;
  ropeBase: f32;

  /** Layer[nLayers]. */
  layers: usize;
  /** Linear x 2: embedding, output. A tied output repeats the embedding's fields. */
  embedding: usize;
  output: usize;
  /** f32 [hiddenDim]. */
  finalNorm: usize;

  // Run state, all f32 unless said; rows are `maxRows`; widths are multiples of 8 (host/architecture.ts).
  /** Row[maxRows]. */
  rows: usize;
  /** Residual stream [rows][hiddenDim]. */
  x: usize;
  /** Normed input of a linear layer [rows][widest input]. */
  h: usize;
  /** Quantized activations of `h`; see kernels/quantize-activations.ts. */
  activations: usize;
  /** 1 when `activations` belong to the current input. */
  activationsReady: u32;
  q: usize;
  k: usize;
  v: usize;
  gate: usize;
  up: usize;
  /** Output of a projection before it is added [rows][hiddenDim]. */
  projected: usize;
  /** f64 [ropeDim / 2]. */
  ropeFrequencies: usize;
  /** [rows][ropeDim]: cosines, then sines. */
  angles: usize;
  /** Scores of a span for three heads [3][1024], and their span output [3][valueDim], running output, f64 scratch. */
  attention: usize;
  /** Normed hidden states of rows with an output [maxOutputs][hiddenDim]. */
  hidden: usize;
  /** [maxOutputs][vocabStride]. */
  logits: usize;
  /** Sampling scratch [vocabStride]. */
  scratch: usize;
  /** The run state as a buffer for file bytes, while loading. */
  staging: usize;
  stagingBytes: usize;

  /** Free pages, linked through their first word. */
  freePages: usize;
  nFreePages: u32;
  nPages: u32;
  pageBytes: u32;
  /** Free session regions, linked through Session.nextFree. */
  freeSessions: usize;
}

/** n values rounded up to whole tiles of rows: the stride of logits. All other widths are multiples of 8 already. */
// @ts-ignore: decorator
@inline
export function stride8(n: u32): u32 {
  return (n + 7) & ~7;
}

/** The engine sits at the first aligned address behind static data. */
// @ts-ignore: decorator
@inline
export function engine(): Engine {
  return changetype<Engine>((__heap_base + 63) & ~63);
}

/** 64 bytes behind the engine for one decoded weight block, while loading and looking up embeddings. */
// @ts-ignore: decorator
@inline
export function decodeScratch(): usize {
  return (changetype<usize>(engine()) + offsetof<Engine>() + 15) & ~15;
}
