/**
 * `node policy.js MODEL POLICY TOKENS`: what a policy costs, as a side (lib/line-side.ts); POLICY "none" is a model without one,
 * else the same: 8-bit pages, keys not rotated. The prompt is computed once; everything else happens in forks of it.
 *
 *   {op: "prefill"}               seconds of the whole prompt, the first time it was computed
 *   {op: "chunk"}                 tokens a second of the prompt's last 64 rows, observed as a turn has them observed
 *   {op: "end"}                   seconds of the prompt's end, half kept
 *   {op: "slots"}                 slots that a head keeps then, the mean of all
 *   {op: "decode", tokens}        tokens a second behind the whole prompt
 *   {op: "decode", tokens, slots} behind what stays; without a policy behind so many tokens
 * @module
 */
import { basename } from "node:path";
import { openFile } from "../../bindings/node/file-source.ts";
import { writeFilters } from "../../host/filters.ts";
import { modelDigest } from "../../host/head-scores.ts";
import type { LoadOptions } from "../../host/load-engine.ts";
import { loadFrom, type Model } from "../../host/model.ts";
import { parsePolicy } from "../../host/policy.ts";
import { beginPrompt, endPrompt, heldPositions } from "../../host/prompt-end.ts";
import type { Request } from "../lib/interleave.ts";
import { serveLines } from "../lib/serve-lines.ts";
import { platform } from "../ours.ts";
import { promptTokens } from "../prompt.ts";

const CHUNK = 64;
/** Room for what a policy computes besides at a prompt's end: a chunk of KVzip's pass. */
const MORE = 2304;
const HALF = { keep: { share: 0.5 }, sinks: 0, window: 0 };
const PASS = { host: { pause: async () => {} }, check: () => {} };

const [file, policy, count] = process.argv.slice(2) as [string, string, string];
const n = Number(count);
const isNone = policy === "none";
const FORMS = { keys: "q8", values: "q8", kvRotation: false, contextLength: n + MORE } as const;

async function open(options: LoadOptions = {}): Promise<Model> {
  return loadFrom(platform, await openFile(file), { ...FORMS, ...options });
}

/** What has to be calibrated, made up: it costs the same whatever it says. */
async function calibration(): Promise<LoadOptions> {
  const name = isNone ? undefined : parsePolicy(policy).name;
  if (name !== "q-filter" && name !== "duo-attention" && name !== "razor") return {};
  const model = await open();
  const { nLayers, nKvHeads, keyDim } = model.config;
  const digest = await modelDigest(model.calibrated);
  await model.close();
  if (name === "q-filter") {
    const bytes = Uint8Array.from(digest.match(/../g)!, (byte) => Number.parseInt(byte, 16));
    const values = Float32Array.from({ length: nLayers * nKvHeads * keyDim }, (_, i) => Math.sin(i));
    return { filters: await writeFilters({ model: bytes, values }, model.config) };
  }
  const scores = Array.from({ length: nLayers }, (_, layer) =>
    Array.from({ length: nKvHeads }, (_, kv) => ((layer * nKvHeads + kv) % 7) / 7),
  );
  const kind = name === "razor" ? "razor" : "duo";
  return { headScores: { thimble: "head-scores", version: 1, kind, model: digest, tokens: 1, scores } };
}

const model = await open(isNone ? {} : { policy, ...(await calibration()) });
const { engine, config } = model;
const { exports } = engine.runtime;
const ids = [...promptTokens(n, config.vocabSize)];
const parent = engine.openSession();

function feed(session: number, rows: readonly number[], from: number): void {
  for (let at = 0; at < rows.length; at += CHUNK) {
    const piece = rows.slice(at, at + CHUNK).map((input, i) => ({ session, input, position: from + at + i }));
    engine.forward(piece.map((row, i) => ({ ...row, logits: i === piece.length - 1 && at + CHUNK >= rows.length })));
  }
}

let prefillSeconds: number | undefined;
function prefill(): number {
  if (prefillSeconds !== undefined) return prefillSeconds;
  const start = performance.now();
  if (!isNone) beginPrompt(engine, parent, 0);
  feed(parent, ids.slice(0, n - CHUNK), 0);
  exports.sessionMark(parent); // where `chunk` goes back to
  feed(parent, ids.slice(n - CHUNK), n - CHUNK);
  prefillSeconds = (performance.now() - start) / 1000;
  return prefillSeconds;
}

function chunk(): number {
  const from = exports.sessionTruncate(parent, n - CHUNK);
  const start = performance.now();
  feed(parent, ids.slice(from), from);
  return ((n - from) * 1000) / (performance.now() - start);
}

/** A fork whose prompt has ended: the newest one, from which decodes go on. */
let endedSession = 0;
async function end(): Promise<number> {
  const session = engine.forkSession(parent);
  const start = performance.now();
  await endPrompt(engine, session, HALF, ids, PASS);
  const seconds = (performance.now() - start) / 1000;
  if (endedSession !== 0) exports.sessionClose(endedSession);
  endedSession = session;
  return seconds;
}

/** A fork that goes on from what stays, or from so many tokens. */
async function goingOn(slots: number | undefined): Promise<number> {
  if (slots === undefined) return engine.forkSession(parent);
  if (isNone) {
    const session = engine.forkSession(parent);
    exports.sessionTruncate(session, Math.floor(slots / 32) * 32);
    return session;
  }
  if (endedSession === 0) await end();
  return engine.forkSession(endedSession);
}

async function decode(tokens: number, slots: number | undefined): Promise<number> {
  const session = await goingOn(slots);
  const from = exports.sessionLength(session);
  feed(session, [ids[0]!], from); // opens a page
  const start = performance.now();
  for (let i = 0; i < tokens; ++i) feed(session, [ids[i]!], from + 1 + i);
  const rate = (tokens * 1000) / (performance.now() - start);
  exports.sessionClose(session);
  return rate;
}

async function measure({ op, tokens, slots }: Request): Promise<number> {
  prefill();
  if (op === "prefill") return prefill();
  if (op === "chunk") return chunk();
  if (op === "decode") return decode(Number(tokens), slots === undefined ? undefined : Number(slots));
  if (op === "end") return end();
  if (op === "slots") {
    const session = await goingOn(0);
    const held = heldPositions(engine, session);
    exports.sessionClose(session);
    return held.reduce((sum, { length }) => sum + length, 0) / held.length;
  }
  throw new Error(`no measure ${op}`);
}

const info = {
  runtime: `thimble, ${engine.runtime.variant}`,
  host: `Node ${process.version}`,
  model: basename(file),
  policy,
};
await serveLines(info, measure);
