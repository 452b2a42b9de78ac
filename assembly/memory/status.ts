/**
 * Numbers both sides of the border agree on: status codes, weight forms, configuration fields, linear slots, row flags.
 * Plain const enums, so that `host/` imports this very file.
 */

/** What an export returns when it can fail. The host turns anything but OK into one typed error. */
export const enum Status {
  OK = 0,
  /** `memory.grow` was refused, or the 4 GiB of a 32-bit memory are used up. */
  OUT_OF_MEMORY = 1,
  /** More rows, or more rows with an output, than the run state was laid out for. */
  TOO_MANY_ROWS = 2,
  /** A row's position is not the next one of its session, or is past the session's capacity. */
  BAD_POSITION = 3,
  /** A token id outside the vocabulary. */
  BAD_TOKEN = 4,
  /** The page pool ran dry: the host did not reserve. */
  NO_PAGE = 5,
  /** A size, type or index that the loader must not pass. */
  BAD_ARGUMENT = 6,
}

/**
 * How a weight matrix lies in memory; see kernels/pack.ts for the drawings. Quantized forms are sums of `FormFlag`s.
 */
export const enum Form {
  F32 = 0,
  F16 = 1,
  BF16 = 2,
  /** Q4_0. */
  Q4 = 16,
  /** Q8_0, Q5_0, IQ4_NL. */
  Q8 = 17,
  /** Q4_1. */
  Q4_MIN = 18,
  /** Q5_1. */
  Q8_MIN = 19,
  /** IQ4_XS. */
  Q8_WIDE = 21,
  /** Q4_K. */
  Q4_MIN_WIDE = 22,
  /** Q5_K. */
  Q8_MIN_WIDE = 23,
  /** Q3_K. */
  Q4_WIDE_16 = 28,
  /** Q6_K. */
  Q8_WIDE_16 = 29,
  /** Q2_K. */
  Q4_MIN_WIDE_16 = 30,
}

/** What a quantized form is made of; without QUANTIZED a form is one of floats. */
export const enum FormFlag {
  QUANTIZED = 16,
  /** Signed bytes; else nibbles 0..15, of which 8 is taken off where there is no minimum. */
  BYTES = 1,
  /** A minimum is added to each group. */
  MIN = 2,
  /** Scales and minima in f32, since the file multiplies two numbers; else f16. */
  WIDE = 4,
  /** A scale for 16 columns; else for 32. */
  GROUP_16 = 8,
}

/** GGUF tensor types that can be packed, by their ggml ids. */
export const enum TensorType {
  F32 = 0,
  F16 = 1,
  Q4_0 = 2,
  Q4_1 = 3,
  Q5_0 = 6,
  Q5_1 = 7,
  Q8_0 = 8,
  Q2_K = 10,
  Q3_K = 11,
  Q4_K = 12,
  Q5_K = 13,
  Q6_K = 14,
  IQ4_NL = 20,
  IQ4_XS = 23,
  BF16 = 30,
}

/** Fields of the engine that the host sets once, before `layoutRecords`. */
export const enum Config {
  N_LAYERS = 0,
  HIDDEN_DIM = 1,
  FFN_DIM = 2,
  N_HEADS = 3,
  N_KV_HEADS = 4,
  KEY_DIM = 5,
  VALUE_DIM = 6,
  ROPE_DIM = 7,
  VOCAB_SIZE = 8,
  CONTEXT_LENGTH = 9,
  MAX_ROWS = 10,
  MAX_OUTPUTS = 11,
  NORM_EPS = 12,
  /** RoPE tables: 1, or 2 where some layers rotate by other angles. */
  N_ROPES = 13,
  /** Sum of Option bits, the same for all layers. */
  OPTIONS = 14,
  /** Factor of embeddings; a row's own vector is taken as it is. */
  EMBEDDING_SCALE = 15,
  /** Factor of a branch before it is added to the residual stream. */
  RESIDUAL_SCALE = 16,
  /** Factor of q.k; 0: 1 / sqrt(keyDim). */
  ATTENTION_SCALE = 17,
  /** s -> cap tanh(s / cap) on scores, and on logits; 0: none. */
  ATTENTION_SOFTCAP = 18,
  LOGIT_SCALE = 19,
  LOGIT_SOFTCAP = 20,
  /** KV heads that the projections give, before they are pooled to N_KV_HEADS. */
  SOURCE_KV_HEADS = 21,
  /** Threads that compute, the caller among them; more than 1 in builds with threads only. */
  N_THREADS = 22,
  /** KvForm of keys and of values in pages that have aged. */
  KEY_FORM = 23,
  VALUE_FORM = 24,
  /** Dims that share a scale in quantized pages: 32 or 64. */
  KV_GROUP = 25,
  /** Pages kept at 8 bits where the form has fewer: the newest closed ones, and the session's first ones. */
  RECENT_PAGES = 26,
  SINK_PAGES = 27,
  /** 1: queries and keys are rotated by a Hadamard matrix. */
  ROTATE_KEYS = 28,
  /** 1: slots may be evicted one by one, and pages keep the position of each. */
  SLOT_POSITIONS = 29,
  /** Last rows of a prompt whose queries a policy looks at. */
  OBSERVE_ROWS = 30,
  /** Observed: what is added up over all rows of a prompt. */
  OBSERVED_SUMS = 40,
  /** Observed.CHUNKS: rows of a chunk, and rows before the first one; OBSERVE_ROWS is what a chunk has and the rows after the last one. */
  OBSERVED_CHUNK = 41,
  OBSERVED_SINKS = 42,
  /** Columns of the matrix that keys are sketched with; 0: none. */
  SKETCH = 43,
  /** What pages of fewer than 8 bits keep besides codes: KvSection bits and numbers; see sections/sections.ts. */
  KV_SECTIONS = 31,
  /** Keys in planes: the low one is read where the largest probability of a span is below this. */
  KV_FLAT = 32,
  /** Bytes that the policy's own steps work in. */
  POLICY_SCRATCH = 33,
  /** What sessions keep of a prompt's queries before RoPE: 1: sums, 2: sums and products; cache/query-statistics.ts. */
  QUERY_STATISTICS = 34,
  /** 1: room for a filter of each layer and KV head; policy/q-filter.ts. */
  FILTERS = 35,
  /** Rows of a prompt that can go layer by layer; 0: none can; model/forward-layer.ts. */
  STREAM_ROWS = 50,
}

/** How the slots that stay at the end of a prompt are chosen: assembly/policy/. */
export const enum Policy {
  STREAMING = 0,
  KEY_NORM = 1,
  KEY_DIFF = 2,
  SNAPKV = 3,
  TOVA = 4,
  LAGKV = 5,
  FINCH = 6,
  CHUNKKV = 7,
  EXPECTED = 16,
  Q_FILTER = 17,
  SIMLAYER = 18,
  OBSERVED = 20,
  H2O = 21,
  COMPACTOR = 22,
  KVZIP = 23,
  /** Added to another one: a second stage by what slots can change; criticalkv.ts. */
  CRITICAL = 64,
}

/** What policies have added up while the rows of a prompt are computed: assembly/policy/observed-sums.ts. */
export const enum Observed {
  NOTHING = 0,
  /** The attention that each slot was given. */
  ATTENTION = 1,
  /** The attention within chunks, from later rows as well: policy/chunk-attention.ts. */
  CHUNKS = 2,
  /** The largest attention that each slot of a span of positions was given: policy/repeat-attention.ts. */
  LARGEST = 3,
}

/** How the keys or the values of a page lie in memory; drawings in cache/page.ts and cache/packed-page.ts. */
export const enum KvForm {
  F32 = 0,
  /** Signed bytes, a scale a token and group. */
  Q8 = 1,
  /** Codes 0..15, a scale and a minimum a token and group. */
  Q4 = 2,
  /** Codes 0..7, the same. */
  Q3 = 3,
  /** The codes of Q8, high and low nibbles apart: keys; see sections/planes.ts. */
  Q8_PLANES = 4,
  /** Codes 0..15 or 0..7, a scale and a zero a channel: keys; see sections/channels.ts. */
  Q4_CHANNELS = 5,
  Q3_CHANNELS = 6,
}

/** What a page of fewer than 8 bits keeps besides its codes and scales: bits and numbers of one word. */
export const enum KvSection {
  /** Bit: the mean of each key channel; sections/mean.ts. */
  MEAN = 1,
  /** Bit: a factor of each value channel; sections/factors.ts. */
  FACTORS = 2,
  /** Bits 8 ..: key channels kept apart; sections/outliers.ts. */
  OUTLIERS_SHIFT = 8,
  /** Bits 16 ..: slots of a page kept at more bits, of keys and of values; sections/salient.ts. */
  SALIENT_SHIFT = 16,
}

/** Keys or values: they are packed alike, slots and dims changing places. */
export const enum Part {
  KEYS = 0,
  VALUES = 1,
}

/** What a layer does differently. */
export const enum Option {
  /** LayerNorm in place of RMSNorm. */
  LAYER_NORM = 1,
  /** Attention and feed-forward read the same normed input and are added side by side. */
  PARALLEL = 2,
  /** GELU (tanh form) in place of SiLU in the feed-forward. */
  GELU = 4,
  /** Query heads go to KV heads by the norms of their keys; else evenly. */
  KEY_DRIVEN = 8,
}

/** Fields of one layer. */
export const enum LayerField {
  /** Sliding window in slots, the token itself included; 0: all. */
  WINDOW = 0,
  /** RoPE table of the layer; -1: none (NoPE). */
  ROPE = 1,
  /** KV heads that keep 8 bits for good, a bit each; see cache/pool.ts. */
  WIDE_HEADS = 2,
}

/** Fields of a RoPE table. */
export const enum RopeField {
  BASE = 0,
  /** Positions are divided by it where a frequency is interpolated; 1: nowhere. */
  FACTOR = 1,
  /** Context the model was trained for before scaling, tokens: YaRN; 0: every frequency is interpolated. */
  ORIGINAL_CONTEXT = 2,
  /** Rotations within the original context above which YaRN extrapolates, and below which it interpolates. */
  BETA_FAST = 3,
  BETA_SLOW = 4,
  /** Factor of cosines and sines, before YaRN's own. */
  MAGNITUDE = 5,
}

/** The matrices of the model: a layer's seven, then the two outside any layer. */
export const enum Slot {
  Q = 0,
  K = 1,
  V = 2,
  OUT = 3,
  GATE = 4,
  UP = 5,
  DOWN = 6,
  EMBEDDING = 7,
  OUTPUT = 8,
}

/** The vectors of a layer, then those outside any. A layer leaves out the step whose vector it does not have. */
export const enum Vector {
  ATTENTION_NORM = 0,
  POST_ATTENTION_NORM = 1,
  FEED_FORWARD_NORM = 2,
  POST_FEED_FORWARD_NORM = 3,
  /** One head's weights, used for all, or those of the whole projection. */
  QUERY_NORM = 4,
  KEY_NORM = 5,
  /** A weight for each KV head of the projection. */
  KEY_POOL = 6,
  VALUE_POOL = 7,
  FINAL_NORM = 8,
  /** Divisors of the first RoPE table's frequencies, ropeDim / 2. */
  ROPE_DIVISORS = 9,
}

/** Bits of a row's flags. */
export const enum RowFlag {
  LOGITS = 1,
  HIDDEN = 2,
}

/** Sizes that the layout of memory depends on. */
export const enum Size {
  /** Slots in a page of the cache, one KV head of one layer. */
  PAGE_SLOTS = 32,
  /** Bytes before a page's keys; see cache/page.ts. */
  PAGE_HEADER = 16,
  /** Bytes of the positions of a page's slots, where they are kept. */
  POSITIONS = 64,
  /** Slots in a span: the fixed unit of online softmax (numeric contract). */
  SPAN_SLOTS = 1024,
  /** Rows of a packed tile: two groups of four. */
  TILE_ROWS = 8,
  /** Columns of a quantization block. */
  BLOCK = 32,
  /** Bytes of a quantized activation block: 32 i16 in pair order, scale, zero terms, scaled sums, padding. */
  ACTIVATION_BLOCK = 96,
  /** Bytes of a row request: session, token, position, flags, vector, three spare words. */
  ROW = 32,
  /** Bytes of a decoded weight block. */
  DECODED = 48,
  /** Alignment of every arena region, and the padding behind it that a vector load may touch. */
  ALIGN = 64,
}
