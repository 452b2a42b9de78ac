/**
 * A model as the command reads it (docs/wasi.md has the whole drawing): everything little-endian, in the order in which it is
 * read, so that a pipe would do.
 *
 *   | header 64 bytes | sections: configuration, tokenizer, chat, index | weights, packed, one tensor after the other |
 *
 * Plain const enums, so that `host/` imports this very file.
 */

/** Offsets in the header. The checksums are kernels/checksum.ts's with SEED. */
export const enum HeaderAt {
  /** 8 bytes: MAGIC_LOW, MAGIC_HIGH: "thimWASI". */
  MAGIC = 0,
  /** u32, Format.VERSION. */
  VERSION = 8,
  /** u32, Format.CONTRACT: of the numeric contract that weights and configuration follow. */
  CONTRACT = 12,
  /** u32 each: bytes of the sections, multiples of 4. */
  CONFIG_BYTES = 16,
  TOKENIZER_BYTES = 20,
  CHAT_BYTES = 24,
  INDEX_BYTES = 28,
  /** u64. */
  WEIGHT_BYTES = 32,
  /** u64 of all sections together. */
  SECTIONS_SUM = 40,
  /** u64, 0. */
  SPARE = 48,
  /** u64 of the 56 bytes before it. */
  HEADER_SUM = 56,
  END = 64,
}

export const enum Format {
  MAGIC_LOW = 0x6d696874,
  MAGIC_HIGH = 0x49534157,
  VERSION = 1,
  CONTRACT = 2,
  /** Of checksums. */
  SEED = 1,
}

/**
 * The configuration: f64 for Config 0 .. N_FIELDS - 1 (those that a run chooses are 0, CONTEXT_LENGTH is the most there can be),
 * then for each layer u32 window, i32 RoPE table, then for each table f64 in the order of RopeField.
 */
export const enum ConfigSection {
  N_FIELDS = 22,
  LAYER_BYTES = 8,
  ROPE_BYTES = 48,
}

/** Words of the tokenizer section's head; then its arrays, see tokenizer.ts. */
export const enum Vocab {
  N_TOKENS = 0,
  /** Tokens, and characters that are no token and yet a part of one. */
  N_SYMBOLS = 1,
  /** VocabFlag. */
  FLAGS = 2,
  /** The id plus 1; 0: none. */
  BOS = 3,
  N_ENDS = 4,
  N_CHARACTERS = 5,
  N_PAIRS = 6,
  N_WORDS = 7,
  N_LITERALS = 8,
  N_STEPS = 9,
  /** Words of all steps. */
  STEP_WORDS = 10,
  SPELLING_BYTES = 11,
  LITERAL_BYTES = 12,
  HEAD = 13,
}

export const enum VocabFlag {
  /** Symbols are characters, spaces U+2581 (SentencePiece); else bytes. */
  CHARACTERS = 1,
  /** A text without a template begins with the BOS. */
  ADD_BOS = 2,
  /** A space goes in front of text at the start and behind a literal. */
  SPACE_PREFIX = 4,
}

export const enum LiteralFlag {
  /** A control token: found only where the text is the application's. */
  CONTROL = 1,
  /** White space goes with it. */
  STRIP_BEFORE = 2,
  STRIP_AFTER = 4,
}

/** Bits of an entry of a step's table; see split.ts. */
export const enum Automaton {
  STATE = 0x7fff,
  MATCH = 0x8000,
}

/** Words of the chat section's head: what there is, and pieces of either form; then pieces of 3 words, then texts. */
export const enum Chat {
  KIND = 0,
  /** Pieces around a user's message, and around a system prompt and one; 0: the template refuses that. */
  N_USER = 1,
  N_SYSTEM = 2,
  /** 1: white space around messages is dropped. */
  TRIM = 3,
  TEXT_BYTES = 4,
  HEAD = 5,
}

export const enum ChatKind {
  /** The model has no template: prompts are continued. */
  NONE = 0,
  TABLE = 1,
  /** It has one that is no table. */
  REFUSED = 2,
}

/** First word of a piece; the others are offset and length, or the id. */
export const enum Piece {
  TEXT = 0,
  CONTROL = 1,
  USER = 2,
  SYSTEM = 3,
}

/** A tensor of the index, 32 bytes: u32 kind, Slot or Vector, layer, Form, rows, columns; u64 checksum of its bytes. */
export const enum TensorAt {
  KIND = 0,
  PLACE = 4,
  LAYER = 8,
  FORM = 12,
  ROWS = 16,
  COLUMNS = 20,
  SUM = 24,
  END = 32,
}

export const enum TensorKind {
  MATRIX = 0,
  VECTOR = 1,
  BIAS = 2,
}
