/**
 * The structs that live in linear memory, all unmanaged and used through `changetype`. Every state that changes is in one
 * of them: globals are per instance, and a second worker's instantiation would overwrite static data.
 *
 *   arena:  | Engine | layers, matrices, RoPE tables | run state (staging while loading) | weights | sessions and page slabs ... |
 *
 * A session region:  | Session | HeadView x nHeadViews | page addresses, u32, as many as each head can hold |
 *   | of each head: open page, sinks, recent pages | journal: HeadViews and pages of the last mark | pins, log | query statistics |
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
  /** f32 [nRows] added to the product, or 0. */
  bias: usize;
  /** A low-rank adapter beside the weights, or 0. */
  adapter: usize;
}

/** A decoder layer: options as data, chosen from metadata, never branched on inside a kernel. */
@unmanaged
export class Layer {
  // The first eight in the order of Vector; f32, or 0 where the layer leaves the step out.
  /** [hiddenDim]. */
  attentionNorm: usize;
  postAttentionNorm: usize;
  feedForwardNorm: usize;
  postFeedForwardNorm: usize;
  /** [queryNormDim], [keyNormDim]: keyDim for heads one by one, all heads' dims for the projection as a whole. */
  queryNorm: usize;
  keyNorm: usize;
  /** [sourceKvHeads]. */
  keyPool: usize;
  valuePool: usize;
  /** Linear[7], in the order of Slot. */
  linears: usize;
  /** RopeTable, or 0: no position in this layer (NoPE). */
  rope: usize;
  /** Index of the layer's first HeadView in a session. */
  firstHead: u32;
  nHeads: u32;
  nKvHeads: u32;
  /** KV heads that the projections give; the KV heads of the cache are weighted sums of equally many of them. */
  sourceKvHeads: u32;
  keyDim: u32;
  valueDim: u32;
  queryNormDim: u32;
  keyNormDim: u32;
  /** Sliding window in slots, the token itself included; 0: all. */
  window: u32;
  /** Option bits. */
  options: u32;
  /** What mixes tokens; 0: softmax attention. */
  mixer: u32;
  /** State of a recurrent mixer, or 0. */
  recurrentState: usize;
  /** KV heads that keep 8 bits for good, a bit each. */
  wideHeads: u64;
}

/** Rotation frequencies and the angles of the rows under way; see kernels/rope-frequencies.ts. */
@unmanaged
export class RopeTable {
  /** f64 [ropeDim / 2]. */
  frequencies: usize;
  /** [rows][ropeDim]: cosines, then sines. */
  angles: usize;
  /** f32 [ropeDim / 2], or 0. */
  divisors: usize;
  /** Rotations by the digits of a shift (kernels/turn-angles.ts), or 0. */
  turns: usize;
  /** Factor of cosines and sines. */
  magnitude: f64;
  base: f64;
  factor: f64;
  originalContext: f64;
  betaFast: f64;
  betaSlow: f64;
}

/**
 * One KV head of one layer of one session: which slots it holds and in which pages. Heads need not agree. Slots are
 * numbered without holes: until something is evicted a slot is a position, afterwards slot = position + lead. A head with a
 * window has given the pages of slots before `base` back.
 */
@unmanaged
export class HeadView {
  /** The number of the next slot. */
  length: u32;
  /** First slot of the first page; a multiple of 32. */
  base: u32;
  nPages: u32;
  /** u32 addresses of nPages pages, of whatever form; room for the most it can hold. */
  pages: usize;
  /** Sliding window in slots; 0: all. */
  window: u32;
  /** The open page, f32, in the session's region. */
  open: usize;
  /** The session's 8-bit pages of this head: sinks, then a ring of recent ones. */
  fixed: usize;
  /** Slot of a token minus its position, modulo 2^32: what has been evicted is below 0. */
  lead: u32;
  /** Sum of squares of all keys, and of those in closed pages, for KEY_DRIVEN layers. */
  keySquares: f64;
  closedSquares: f64;
  /** Pages evicted so far: the ring of recent pages counts them. */
  removed: u32;
  /** 1: pages that have aged stay at 8 bits. */
  wide: u16;
  /** Whose free pages of the pool it takes first: its number in the session. */
  list: u16;
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
  /** HeadView[nHeadViews]. */
  heads: usize;
  /** The next free region while this one is free. */
  nextFree: usize;
  /** Copies of HeadViews and of the region's pages at position `marked`; see cache/journal.ts. */
  journal: usize;
  /** Position of the journal, or NO_MARK. */
  marked: u32;
  /** Pages of a head without a window at most: when they are full, one is evicted; 0: the capacity is the end. */
  maxPages: u32;
  /** Of those, the first and the newest closed ones are never evicted. */
  sinkPages: u32;
  windowPages: u32;
  /** u32 [MAX_PINS][first position, end]: pages that touch one of them are never evicted; see cache/evict.ts. */
  pins: usize;
  nPins: u32;
  /** Eviction records of the last forward call; see cache/evict.ts. */
  log: usize;
  nLogged: u32;
  /** First position that has no room any more, for the forward call under way. */
  limit: u32;
  /** 1: queries see cache-relative positions; else those of the sequence, whatever has gone. */
  relative: u32;
  /** First position whose row counts for what policies observe; see cache/observation.ts. */
  observedFrom: u32;
  /** Position of the copy of what was observed, or 2^32 - 1, and what counted then. */
  observedMark: u32;
  observedFromThen: u32;
  spare: u32;
}

/** What attention over one KV head works on; see kernels/attend.ts. */
@unmanaged
export class AttendTask {
  head: HeadView;
  /** Visible slots: [first, end). */
  first: u32;
  end: u32;
  /** Query heads that share the KV head. */
  nHeads: u32;
  keyDim: u32;
  valueDim: u32;
  /** Factor of q.k. */
  scale: f32;
  /** cap tanh(s / cap) on scaled scores; 0: none. */
  softcap: f32;
  /** Dims that share a scale. */
  group: u32;
  scratch: usize;
  /** RopeTable where queries are turned to cache-relative positions, else 0; see kernels/turn-query.ts. */
  rope: usize;
  ropeDim: u32;
  /** 1: queries and keys are rotated by a Hadamard matrix besides. */
  rotated: u32;
  /** The shift and the table that the angles in scratch belong to. */
  shift: u32;
  shiftRope: usize;
  /** The shift that the queries in scratch are turned by. */
  turned: u32;
  /** KvSection word of the cache. */
  sections: u32;
  /** Planes: the least probability that is not flat; 0: the low plane is always read. */
  flat: f32;
  /** Scratch of sections and of forms that change the query, sectionScratch(keyDim, valueDim) bytes; 0 where none is on. */
  extra: usize;
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
  /** Blocks of 32 slots from the one that the layer's heads had open to this row's. */
  block: u32;
  /** Slot of its page 0..31. */
  slot: u32;
  spare: u32;
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
  /** Factors and caps as Config names them. */
  normEps: f32;
  embeddingScale: f32;
  residualScale: f32;
  attentionScale: f32;
  attentionSoftcap: f32;
  logitScale: f32;
  logitSoftcap: f32;
  /** Option bits of all layers. */
  options: u32;
  sourceKvHeads: u32;
  /** HeadViews of a session: KV heads over all layers. */
  nHeadViews: u32;
  nRopes: u32;
  /** RopeTable[nRopes]. */
  ropes: usize;

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
  /** 1 when `activations` hold the current input in pairs, 2 in bytes, else 0. */
  activationsReady: u32;
  q: usize;
  k: usize;
  v: usize;
  gate: usize;
  up: usize;
  /** Output of a projection before it is added [rows][hiddenDim]. */
  projected: usize;
  /** For each thread: AttendTask, then the scratch of attention and of small steps; see kernels/attend-f32.ts. */
  attention: usize;
  /** Bytes of it a thread. */
  attentionBytes: u32;
  /** What the task under way is about, see model/: a Linear, Layer or input, rows, columns, form, output. */
  job: usize;
  jobRows: u32;
  jobCols: u32;
  jobForm: u32;
  /** Row.block of the rows that attend. */
  jobBlock: u32;
  jobOut: usize;
  /** Threads that compute, the caller among them; see thread/pool.ts. */
  nThreads: u32;
  pool: usize;
  /** Normed hidden states of rows with an output [maxOutputs][hiddenDim]. */
  hidden: usize;
  /** [maxOutputs][vocabStride]. */
  logits: usize;
  /** Sampling scratch [vocabStride]. */
  scratch: usize;
  /** The run state as a buffer for file bytes, while loading. */
  staging: usize;
  stagingBytes: usize;

  /** Lists of free pages by head, see cache/pool.ts. */
  freePages: usize;
  nFreePages: u32;
  nPages: u32;
  pageBytes: u32;
  /** The same for pages of heads that keep 8 bits; 0 bytes where there are none. */
  widePages: usize;
  nWideFree: u32;
  nWidePages: u32;
  wideBytes: u32;
  /** Bytes of an open page, and of a sink or recent one. */
  openBytes: u32;
  recentBytes: u32;
  /** KvForm of aged pages; dims that share a scale; pages of a head kept at 8 bits, see Config. */
  keyForm: u32;
  valueForm: u32;
  kvGroup: u32;
  /** KvSection word; the least probability that is not flat, see Config; f32 [2][32][widest head] for packing pages. */
  kvSections: u32;
  kvFlat: f32;
  packing: usize;
  /** 1: queries and keys are rotated before keys are kept; see kernels/hadamard.ts. */
  rotateKeys: u32;
  recentPages: u32;
  sinkPages: u32;
  /** 1: pages keep the position of each slot; see cache/slots.ts. */
  slotPositions: u32;
  /** Newest rows whose queries sessions keep; Observed: what all rows add up to. See cache/observation.ts. */
  observeRows: u32;
  observedKind: u32;
  /** Observed.CHUNKS: rows of a chunk, and before the first one. */
  observedChunk: u32;
  observedSinks: u32;
  /** Observed.LARGEST: the session whose rows from a position on repeat a span of another, and its positions; observedSinks are seen besides. */
  observedFork: usize;
  observedTarget: usize;
  observedFrom: u32;
  observedLow: u32;
  observedHigh: u32;
  /** Columns of the sketch of keys, and its scratch; see policy/leverage.ts. */
  sketch: u32;
  sketched: usize;
  /** Scores of a layer's slots, f32 [nKvHeads][policySlots], and which of them stay, u8 of the same shape. */
  policyScores: usize;
  keepMap: usize;
  policySlots: u32;
  /** Keys or values of a head, f32 [policySlots][keyDim or valueDim], and the weights of one query on them. */
  policyKeys: usize;
  policyWeights: usize;
  /** Slots that each KV head keeps, u32 [nHeadViews], and parameters of the policy, f32 [8]: the host writes them. */
  policyBudgets: usize;
  policyParameters: usize;
  /** What a policy's own steps work in, see their files; its bytes. */
  policyScratch: usize;
  policyScratchBytes: u32;
  /** See Config. */
  queryStatistics: u32;
  /** f32 [layers][nKvHeads][keyDim], or 0; before `layoutRunState` 1 where there is to be room for them. */
  filters: usize;
  /** Residual stream of a prompt that goes layer by layer, f32 [streamRows][hiddenDim]; see model/forward-layer.ts. */
  streamRows: u32;
  stream: usize;
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

// @ts-ignore: decorator
@inline
export function layerAt(e: Engine, index: u32): Layer {
  return changetype<Layer>(e.layers + <usize>index * offsetof<Layer>());
}

// @ts-ignore: decorator
@inline
export function ropeAt(e: Engine, index: u32): RopeTable {
  return changetype<RopeTable>(e.ropes + <usize>index * offsetof<RopeTable>());
}

/** 64 bytes behind the engine for one decoded weight block, while loading and looking up embeddings. */
// @ts-ignore: decorator
@inline
export function decodeScratch(): usize {
  return (changetype<usize>(engine()) + offsetof<Engine>() + 15) & ~15;
}
