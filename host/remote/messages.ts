/**
 * What a page and the worker with its model say to each other. Every request has one answer; a turn is asked for piece by
 * piece, so that a page that stops asking stops the turn, as a loop that is left does.
 * @module
 */
import type { CacheMap } from "../cache-map.ts";
import type { CapsuleSource } from "../capsule/byte-reader.ts";
import type { SaveOptions } from "../capsule/save.ts";
import type { ChatMessage } from "../chat.ts";
import { ThimbleError, type ThimbleErrorCode } from "../errors.ts";
import type { Forgotten } from "../forgotten.ts";
import type { GenerateOptions, GenerationResult } from "../generation.ts";
import type { LoadOptions } from "../load-engine.ts";
import type { ModelStats } from "../model.ts";
import type { Prompt, SessionStats } from "../session.ts";
import type { ModelSource } from "../source.ts";
import type { Pin, SessionOptions } from "../token-turn.ts";

/** Options as they travel: without what is called back. */
export type PlainLoadOptions = Omit<LoadOptions, "signal" | "onProgress">;
export type PlainGenerateOptions = Omit<GenerateOptions, "signal" | "onPrefill">;

export type PlainRestoreOptions = Pick<SaveOptions, "key"> & Pick<SessionOptions, "tenant">;

/** What a page knows of its model. */
export interface ModelInfo {
  readonly name: string;
  readonly hasChatTemplate: boolean;
  readonly stats: ModelStats;
}

/** What a page knows of a session, as of its last turn. */
export interface SessionInfo {
  readonly stats: SessionStats;
  readonly tokens: readonly number[];
  readonly messages: readonly ChatMessage[];
  readonly ledger: readonly Forgotten[];
  readonly isPaused: boolean;
  readonly tenant: string | undefined;
}

export type Step =
  | { readonly done: false; readonly piece: string }
  | { readonly done: true; readonly result: GenerationResult; readonly info: SessionInfo };

/** The worker's side, by the names of the requests. Sessions and turns have numbers that the page gives them. */
export interface Requests {
  load(source: string | ModelSource, options: PlainLoadOptions): Promise<ModelInfo>;
  stats(): ModelStats;
  tokenize(text: string): number[];
  detokenize(ids: readonly number[]): string;
  count(input: string | readonly ChatMessage[]): number;
  session(session: number, options: SessionOptions): SessionInfo;
  restore(session: number, capsule: CapsuleSource, options: PlainRestoreOptions): Promise<SessionInfo>;
  fork(session: number, made: number): SessionInfo;
  save(session: number, options: SaveOptions): Promise<Uint8Array<ArrayBuffer>>;
  trim(session: number, level: "half" | "all"): number;
  pin(session: number, what: number | Pin): void;
  recall(session: number, span: Pin): void;
  cacheMap(session: number): CacheMap;
  close(session: number): void;
  /** A prompt of undefined resumes the paused turn. */
  turn(turn: number, session: number, prompt: Prompt | undefined, options: PlainGenerateOptions): void;
  step(turn: number): Promise<Step>;
  /** Ends a turn that is not over; the session is then as before it. */
  end(turn: number): Promise<void>;
}

export type RequestName = keyof Requests;

export interface Request {
  readonly id: number;
  readonly name: RequestName;
  readonly args: readonly unknown[];
}

/** The worker's: an answer, what a request or a turn has done so far, or the name of the lock that it holds while it lives. */
export type Answer =
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly error: PlainError }
  | { readonly id: number; readonly progress: readonly [done: number, total: number] }
  | { readonly lock: string | undefined };

export interface PlainError {
  readonly name: string;
  readonly message: string;
  readonly code?: ThimbleErrorCode;
  readonly file?: string | undefined;
  readonly needed?: number | undefined;
  readonly available?: number | undefined;
  readonly subject?: string | undefined;
}

export function toPlain(error: unknown): PlainError {
  if (!(error instanceof Error)) return { name: "Error", message: String(error) };
  const { name, message } = error;
  if (!(error instanceof ThimbleError)) return { name, message };
  const { code, file, needed, available, subject } = error;
  return { name, message, code, file, needed, available, subject };
}

export function fromPlain({ name, message, code, file, needed, available, subject }: PlainError): Error {
  if (code === undefined) return name === "AbortError" ? new DOMException(message, name) : new Error(message);
  const text = file !== undefined && message.startsWith(`${file}: `) ? message.slice(file.length + 2) : message;
  return new ThimbleError(code, text, {
    ...(file === undefined ? {} : { file }),
    ...(needed === undefined ? {} : { needed }),
    ...(available === undefined ? {} : { available }),
    ...(subject === undefined ? {} : { name: subject }),
  });
}
