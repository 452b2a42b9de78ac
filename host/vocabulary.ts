/**
 * Reads the tokenizer keys of a GGUF file into a checked vocabulary: every array has the right element type, no token
 * is there twice, every merge joins two tokens into a third, every id lies inside the vocabulary. A file that fails is
 * refused here, so that encoding can trust what it gets.
 *
 * What counts as a control token (never produced from plain text): type 3 (control) and 2 (unknown); a user-defined
 * token (type 4) spelled `<|...|>`, because some converters file chat markers there; and the BOS, EOS, EOT and EOM
 * tokens, unless the merges can spell them (a model whose end token is a newline). Other user-defined tokens are
 * text: they are matched in any text, as the reference tokenizers do.
 * @module
 */
import { ThimbleError } from "./errors.ts";
import {
  type Metadata,
  type MetadataHolder,
  metadataBoolean,
  metadataInteger,
  metadataNumbers,
  metadataString,
  metadataStrings,
} from "./metadata.ts";

/** How text is cut before the merges run; the value of `tokenizer.ggml.pre`. */
export type PreTokenizer = "gpt-2" | "smollm";

export interface Vocabulary {
  /** Token text by id; byte-level spelling for ordinary tokens. */
  readonly tokens: readonly string[];
  /** Pairs in order of priority. */
  readonly merges: readonly (readonly [string, string])[];
  /** Text of each control token and its id. */
  readonly controls: ReadonlyMap<string, number>;
  /** Text of each user-defined token that is not a control token, and its id. */
  readonly userDefined: ReadonlyMap<string, number>;
  readonly pre: PreTokenizer;
  readonly bosId: number | undefined;
  readonly eosId: number | undefined;
  /** Ids that end a turn, ascending. */
  readonly eosIds: readonly number[];
  readonly addBos: boolean;
  /** Sentences about what is odd in the file but does not stop it from being used. */
  readonly warnings: readonly string[];
}

const MAX_TOKENS = 1 << 20;
/** Control and user-defined tokens together: they form one search pattern. */
const MAX_LITERALS = 4096;

/** Values of `tokenizer.ggml.token_type` that matter here. */
const TokenType = { Normal: 1, Unknown: 2, Control: 3, UserDefined: 4 } as const;

/** Control tokens with these names end a turn even where no metadata key says so. */
const TURN_ENDS: ReadonlySet<string> = new Set([
  "<|im_end|>",
  "<|endoftext|>",
  "<|end_of_text|>",
  "<|eot_id|>",
  "<|eom_id|>",
  "<|end|>",
  "<|end_of_turn|>",
  "<|endofturn|>",
  "<|return|>",
  "<|EOT|>",
  "<end_of_turn>",
  "</s>",
]);

/** The character that stands for each byte in a byte-level vocabulary: itself where printable, else U+0100 upwards. */
export const BYTE_CHARACTERS: readonly string[] = (() => {
  const printable = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 255 && byte !== 173);
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : next++));
})();

/**
 * @param file - shown in errors
 * @throws ThimbleError missing_metadata when a key is absent or of the wrong type
 * @throws ThimbleError malformed_file when a token id lies outside the vocabulary
 * @throws ThimbleError unsupported_tokenizer when the tokenizer is of an unknown kind or contradicts itself
 */
export function readVocabulary(metadata: Metadata, file?: string): Vocabulary {
  const holder: MetadataHolder = file === undefined ? { metadata } : { metadata, file };
  const warnings: string[] = [];
  const model = metadataString(holder, "tokenizer.ggml.model");
  if (model !== "gpt2") {
    throw unsupported(
      holder,
      "tokenizer.ggml.model",
      `the tokenizer is "${clip(model)}"; this build knows "gpt2" (byte-level BPE)`,
    );
  }
  const pre = readPre(holder, warnings);
  const tokens = metadataStrings(holder, "tokenizer.ggml.tokens");
  if (tokens.length === 0) throw unsupported(holder, "tokenizer.ggml.tokens", "the vocabulary is empty");
  if (tokens.length > MAX_TOKENS) {
    throw unsupported(
      holder,
      "tokenizer.ggml.tokens",
      `the vocabulary has ${tokens.length} tokens; at most ${MAX_TOKENS} are supported`,
    );
  }
  const ids = new Map<string, number>();
  for (const [id, token] of tokens.entries()) ids.set(token, id);
  if (ids.size !== tokens.length) {
    const twice = tokens.find((token, id) => ids.get(token) !== id) ?? "";
    throw unsupported(holder, "tokenizer.ggml.tokens", `token ${quote(twice)} is in the vocabulary twice`);
  }
  const absent = BYTE_CHARACTERS.flatMap((character, byte) => (ids.has(character) ? [] : [byte]));
  if (absent.length > 0) {
    const list = absent.map((byte) => byte.toString(16).toUpperCase().padStart(2, "0")).join(" ");
    warnings.push(`no token stands for the bytes ${list}; text with them loses them`);
  }
  const id = (name: string) =>
    metadataInteger(holder, `tokenizer.ggml.${name}_token_id`, { default: undefined, min: 0, max: tokens.length - 1 });
  const bosId = id("bos");
  const eosId = id("eos");
  const ends = [eosId, id("eot"), id("eom")].filter((end) => end !== undefined);
  const { controls, userDefined } = classify(holder, tokens, [bosId, ...ends], warnings);
  const merges = readMerges(holder, ids, controls);
  for (const [name, control] of controls) if (TURN_ENDS.has(name)) ends.push(control);
  const addBos = metadataBoolean(holder, "tokenizer.ggml.add_bos_token", { default: false });
  if (addBos && bosId === undefined) metadataInteger(holder, "tokenizer.ggml.bos_token_id"); // says that it is absent
  const eosIds = [...new Set(ends)].sort((a, b) => a - b);
  return { tokens, merges, controls, userDefined, pre, bosId, eosId, eosIds, addBos, warnings };
}

function readPre(holder: MetadataHolder, warnings: string[]): PreTokenizer {
  const pre = metadataString(holder, "tokenizer.ggml.pre", { default: undefined });
  if (pre === "gpt-2" || pre === "smollm") return pre;
  if (pre === undefined || pre === "default") {
    warnings.push(`tokenizer.ggml.pre is ${pre === undefined ? "absent" : '"default"'}; text is split as for "gpt-2"`);
    return "gpt-2";
  }
  throw unsupported(
    holder,
    "tokenizer.ggml.pre",
    `the pre-tokenizer is "${clip(pre)}"; this build knows "gpt-2" and "smollm"`,
  );
}

/** Sorts the tokens that are matched as a whole into control tokens and user-defined text. */
function classify(
  holder: MetadataHolder,
  tokens: readonly string[],
  named: readonly (number | undefined)[],
  warnings: string[],
) {
  const key = "tokenizer.ggml.token_type";
  const types = metadataNumbers(holder, key, { default: undefined });
  if (types === undefined) warnings.push(`${key} is absent; only tokens named by an id or spelled <|...|> are control`);
  else if (types.length !== tokens.length) {
    throw unsupported(holder, key, `there are ${types.length} token types for ${tokens.length} tokens`);
  }
  const controls = new Map<string, number>();
  const userDefined = new Map<string, number>();
  for (const [id, text] of tokens.entries()) {
    const type = types?.[id] ?? (isMarker(text) ? TokenType.Control : TokenType.Normal);
    const marker = type === TokenType.UserDefined && isMarker(text);
    if (type === TokenType.Control || type === TokenType.Unknown || marker) controls.set(text, id);
    else if (type === TokenType.UserDefined) userDefined.set(text, id);
  }
  for (const id of named) if (id !== undefined && !isByteCharacter(tokens[id]!)) controls.set(tokens[id]!, id);
  for (const text of controls.keys()) userDefined.delete(text);
  for (const text of [...controls.keys(), ...userDefined.keys()]) {
    if (text === "" || /\p{Surrogate}/u.test(text)) {
      throw unsupported(holder, "tokenizer.ggml.tokens", `control or user-defined token ${quote(text)} is not text`);
    }
    if (isByteCharacter(text) && controls.has(text)) {
      throw unsupported(
        holder,
        key,
        `control token ${quote(text)} is the spelling of a byte: plain text could write it`,
      );
    }
  }
  if (controls.size + userDefined.size > MAX_LITERALS) {
    throw unsupported(holder, key, `more than ${MAX_LITERALS} control and user-defined tokens`);
  }
  return { controls, userDefined };
}

/** Checks the merges and takes back from `controls` the named tokens that merges can spell. */
function readMerges(holder: MetadataHolder, ids: ReadonlyMap<string, number>, controls: Map<string, number>) {
  const key = "tokenizer.ggml.merges";
  const lines = metadataStrings(holder, key);
  if (new Set(lines).size !== lines.length) throw unsupported(holder, key, "a merge is listed twice");
  const types = metadataNumbers(holder, "tokenizer.ggml.token_type", { default: undefined });
  return lines.map((line, rank): readonly [string, string] => {
    const space = line.indexOf(" ");
    const left = line.slice(0, space);
    const right = line.slice(space + 1);
    if (space < 1 || right === "" || right.includes(" ")) {
      throw unsupported(holder, key, `merge ${rank} is ${quote(line)}; expected two tokens with one space between`);
    }
    const merged = left + right;
    const id = ids.get(merged);
    if (id === undefined || !ids.has(left) || !ids.has(right)) {
      throw unsupported(holder, key, `merge ${rank}, ${quote(line)}, uses a token that is not in the vocabulary`);
    }
    if (controls.has(merged)) {
      if (isMarker(merged) || (types?.[id] ?? TokenType.Normal) !== TokenType.Normal) {
        throw unsupported(
          holder,
          key,
          `merge ${rank} spells the control token ${quote(merged)}: plain text could write it`,
        );
      }
      controls.delete(merged);
    }
    return [left, right];
  });
}

const isMarker = (text: string) => /^<\|.*\|>$/su.test(text);
const isByteCharacter = (text: string) => text.length === 1 && BYTE_CHARACTERS.includes(text);
const clip = (text: string) => (text.length > 60 ? `${text.slice(0, 60)}...` : text);
const quote = (text: string) => JSON.stringify(clip(text));

function unsupported(holder: MetadataHolder, name: string, message: string): ThimbleError {
  const details = holder.file === undefined ? { name } : { name, file: holder.file };
  return new ThimbleError("unsupported_tokenizer", `${message} (${name})`, details);
}
