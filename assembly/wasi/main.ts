/**
 * The command: arguments, a model file, a prompt; the answer's bytes on stdout as its tokens come. A WASI preview 1 command of
 * the same engine as the library, without any host of JavaScript. docs/wasi.md.
 */
import { poolFreePages, poolReserve } from "../cache/pool";
import { sessionOpen, sessionPagesNeeded } from "../cache/session";
import { arenaStart } from "../memory/arena";
import { engine, Row } from "../memory/records";
import { RowFlag, Size, Status } from "../memory/status";
import { forward } from "../model/forward";
import { logitsAddress } from "../model/layout";
import { answer, endLine, Exit, exit, fail, Fd, need, openIo, put, putNumber, writeAll } from "./io";
import { contextLimit, layoutModel, RunChoice } from "./model-config";
import { openModel, readModel } from "./model-file";
import { lengthOfArgument } from "./arguments";
import { newOptions, Options, readOptions } from "./options";
import { clock_time_get, random_get } from "./preview1";
import { encodePrompt, readPrompt } from "./prompt";
import { seedRandom } from "./random";
import { openSampler, sample, Sampled, Sampling } from "./sampler";
import { endsTurn, idCount, idsAddress, isControl, nTokens, spellingLength, spellingOf } from "./tokenizer";
import { repair } from "./utf8";

const MONOTONIC: u32 = 1;
/** Tokens whose pages are taken at once. */
const AHEAD: u32 = 256;

let session: usize = 0;
/** Bytes of a character that has not come to its end. */
let held: usize = 0;
let nHeld: u32 = 0;
let repaired: usize = 0;
let textRoom: u32 = 0;

function now(): u64 {
  return clock_time_get(MONOTONIC, 1000, answer()) == 0 ? load<u64>(answer()) : 0;
}

/** 53 bits of the host's. */
function drawSeed(): u64 {
  if (random_get(answer(), 8) != 0) fail("the host has no random numbers; give a --seed");
  return load<u64>(answer()) >> 11;
}

/** Runs n tokens; the logits of the last one are there afterwards where they are wanted. */
function extend(ids: usize, n: u32, position: u32, wantLogits: bool): void {
  const e = engine();
  const needed = sessionPagesNeeded(session, n, false);
  if (needed > poolFreePages(false)) {
    const ahead = sessionPagesNeeded(session, min<u32>(AHEAD, e.contextLength - position), false);
    if (!poolReserve(max<u32>(needed, ahead), false) && !poolReserve(needed, false)) fail("out of memory: no room for more keys and values");
  }
  for (let r: u32 = 0; r < n; ++r) {
    const row = changetype<Row>(e.rows + <usize>r * Size.ROW);
    row.session = session;
    row.token = load<i32>(ids + (<usize>r << 2));
    row.position = position + r;
    row.flags = wantLogits && r == n - 1 ? RowFlag.LOGITS : 0;
    row.vector = 0;
  }
  const status = forward(n);
  if (status != Status.OK) {
    put("thimble: the engine refused a token, status ");
    putNumber(status);
    exit(Exit.FAILED);
  }
}

/** The bytes that n bytes behind those held back complete, or all of them. */
function emit(bytes: usize, n: u32, last: bool): void {
  if (nHeld + n > textRoom) {
    textRoom = 2 * (nHeld + n) + 256;
    const larger = need(textRoom);
    memory.copy(larger, held, nHeld);
    held = larger;
    repaired = need(<u64>textRoom * 3);
  }
  memory.copy(held + nHeld, bytes, n);
  const end = held + nHeld + n;
  const size = repair(repaired, held, end, last, answer()) - repaired;
  const taken = load<usize>(answer());
  nHeld = <u32>(end - taken);
  memory.copy(held, taken, nHeld);
  if (size > 0) writeAll(Fd.STDOUT, repaired, size);
}

function printId(id: u32, isFirst: bool): void {
  if (!isFirst) put(" ");
  putNumber(id);
}

/** The prompt's ids, a hundred or so a line. */
function printIds(): void {
  for (let i: u32 = 0; i < idCount(); ++i) {
    printId(load<u32>(idsAddress() + (<usize>i << 2)), i % 128 == 0);
    if (i % 128 == 127) endLine(Fd.STDOUT);
  }
  if (idCount() % 128 != 0) endLine(Fd.STDOUT);
}

function describe(nPrompt: u32, nAnswer: u32, prefill: u64, decode: u64): void {
  put("thimble: ");
  putNumber(nPrompt);
  put(" prompt tokens in ");
  putNumber(prefill / 1000000);
  put(" ms, ");
  putNumber(nAnswer);
  put(" tokens in ");
  putNumber(decode / 1000000);
  put(" ms, ");
  putNumber(<u64>memory.size() << 6);
  put(" KiB of memory");
  endLine(Fd.STDERR);
}

/** The turn: the prompt in chunks, then token by token until the model, a limit or the context ends it. */
function generate(options: Options, sampling: Sampling, choice: RunChoice): void {
  const nPrompt = idCount();
  const context = engine().contextLength;
  if (nPrompt > context) {
    put("thimble: the prompt is ");
    putNumber(nPrompt);
    put(" tokens; the context holds ");
    putNumber(context);
    exit(Exit.FAILED);
  }
  const start = now();
  const n = nTokens();
  for (let at: u32 = 0; at < nPrompt; at += choice.chunk) {
    const rows = min<u32>(choice.chunk, nPrompt - at);
    extend(idsAddress() + (<usize>at << 2), rows, at, options.maxTokens > 0 && at + rows == nPrompt);
  }
  const prefilled = now();
  const next = need(4);
  let count: u32 = 0;
  while (count < options.maxTokens) {
    const id = sample(sampling, logitsAddress(0), n);
    if (id == Sampled.BROKEN) fail("the model gives numbers that are none; its file is damaged");
    if (id < 0) fail("the model gives no token");
    if (options.ignoreEos == 0 && endsTurn(id)) break;
    if (options.ids != 0) {
      printId(id, true);
      endLine(Fd.STDOUT);
    } else if (!isControl(id)) emit(spellingOf(id), spellingLength(id), false);
    ++count;
    if (count == options.maxTokens || nPrompt + count > context) break;
    store<u32>(next, id);
    extend(next, 1, nPrompt + count - 1, true);
  }
  if (options.ids == 0) {
    emit(0, 0, true);
    endLine(Fd.STDOUT);
  }
  if (options.stats != 0) describe(nPrompt, count, prefilled - start, now() - prefilled);
}

export function _start(): void {
  arenaStart();
  openIo();
  const options = newOptions();
  const sampling = changetype<Sampling>(need(offsetof<Sampling>()));
  const choice = changetype<RunChoice>(need(offsetof<RunChoice>()));
  readOptions(options, sampling, choice);
  readPrompt(options);
  openModel(options.model, lengthOfArgument(options.model));
  encodePrompt(options);
  if (options.tokenize != 0) {
    printIds();
    return;
  }
  if (choice.context > contextLimit()) {
    put("thimble: the context of this file is ");
    putNumber(contextLimit());
    put(" tokens at most");
    exit(Exit.FAILED);
  }
  if (!layoutModel(choice)) fail("out of memory: no room for the model");
  readModel();
  seedRandom(options.hasSeed != 0 ? options.seed : drawSeed());
  openSampler(sampling, nTokens());
  session = sessionOpen();
  if (session == 0) fail("out of memory: no room for a session of this context; give a smaller --context");
  generate(options, sampling, choice);
}
