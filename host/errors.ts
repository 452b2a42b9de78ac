/**
 * The one error type Thimble throws. `code` is stable and machine-readable; `message` says what happened and what to do;
 * `details` carries the file and the needed and available amounts.
 * @module
 */

/** Stable codes. New ones may be added; none changes its meaning. */
export type ThimbleErrorCode =
  /** The source could not be opened or read (missing file, HTTP failure). */
  | "source_unreadable"
  /** There is no such model, repository, file or address where it was looked for. */
  | "not_found"
  /** The network is needed, and it is switched off or cannot be reached. */
  | "offline"
  /** A file could not be downloaded: access refused, connections cut too often, or a tool that fetches it failed. */
  | "download_failed"
  /** A file's bytes are not the ones that were promised: another size or SHA-256. */
  | "hash_mismatch"
  /** The disk has no room for the file. */
  | "disk_full"
  /** Another process is working on the same file. */
  | "locked"
  /** The file does not begin with the GGUF magic number. */
  | "bad_magic"
  /** The file ends before data that its header declares. */
  | "truncated_file"
  /** The header contradicts itself or lies outside sane limits. */
  | "malformed_file"
  /** `general.architecture` names a family this build does not know. */
  | "unsupported_architecture"
  /** A tensor has a type this build cannot compute with. */
  | "unsupported_type"
  /** A tensor that the architecture needs is not in the file. */
  | "missing_tensor"
  /** A metadata key that the architecture or tokenizer needs is absent or of the wrong type. */
  | "missing_metadata"
  /** The vocabulary or merges cannot be turned into a tokenizer. */
  | "unsupported_tokenizer"
  /** The file has no chat template and messages were given. */
  | "no_chat_template"
  /** The chat template threw, looped, or wrote too much. */
  | "template_failed"
  /** The prompt, or the prompt and the tokens to come, exceed the context. */
  | "context_length_exceeded"
  /** There is nothing to evaluate: no token at all. */
  | "empty_prompt"
  /** Text that is not valid UTF-8, or a string with lone surrogates. */
  | "invalid_text"
  /** An option is out of range or of the wrong type. */
  | "invalid_option"
  /** The engine cannot have the memory it needs. */
  | "out_of_memory"
  /** What was asked for does not fit the memory budget. */
  | "over_budget"
  /** The runtime does not support what the build needs (WebAssembly SIMD). */
  | "unsupported_runtime"
  /** The WebAssembly module of the build could not be fetched, or what came is none. */
  | "wasm_unreadable"
  /** The worker that computed for a page has ended. */
  | "worker_ended"
  /** The model or session was used after it was closed. */
  | "closed"
  /** The session is already generating. */
  | "busy"
  /** The bytes are no capsule, or they were cut, changed or put together from others. */
  | "capsule_malformed"
  /** The capsule is of another model, tokenizer, numeric contract or form of cache; `subject` says which. */
  | "capsule_mismatch"
  /** The capsule needs a key, has none though one was given, or was made with another one. */
  | "capsule_key"
  /** A file of filters or of head scores is none, or it was cut or changed. */
  | "calibration_malformed"
  /** It was made with another model, other activations, or for another policy. */
  | "calibration_mismatch"
  /** The engine broke an invariant; a defect in Thimble. */
  | "internal";

/** What an error can carry besides its message. Amounts are in the unit the message names (bytes or tokens). */
export interface ThimbleErrorDetails {
  /** The file, URL or label of the source. */
  readonly file?: string;
  /** How much was needed. */
  readonly needed?: number;
  /** How much there was. */
  readonly available?: number;
  /** The tensor, metadata key, option or type the message is about. */
  readonly name?: string;
  readonly cause?: unknown;
}

export class ThimbleError extends Error {
  override readonly name = "ThimbleError";
  /** Stable, machine-readable. */
  readonly code: ThimbleErrorCode;
  readonly file: string | undefined;
  readonly needed: number | undefined;
  readonly available: number | undefined;
  /** The tensor, metadata key or option concerned. */
  readonly subject: string | undefined;

  constructor(code: ThimbleErrorCode, message: string, details: ThimbleErrorDetails = {}) {
    super(
      details.file === undefined ? message : `${details.file}: ${message}`,
      details.cause === undefined ? undefined : { cause: details.cause },
    );
    this.code = code;
    this.file = details.file;
    this.needed = details.needed;
    this.available = details.available;
    this.subject = details.name;
  }
}
