/**
 * The one suite that every host passes: the same logits bits, the same text, the same behaviour of loading, sessions
 * and aborts, through the host's own `loadModel`. Nothing in here knows a host; see node.ts, deno.ts and page.ts.
 * @module
 */
import { capsuleStore, keepSession } from "../../host/capsule/store.ts";
import type {
  GenerateOptions,
  LoadOptions,
  Model,
  ModelSource,
  Session,
  ThimbleError,
  ThimbleErrorCode,
} from "../../host/index.ts";
import {
  GREEDY_TEXT,
  LOGITS_DIGEST,
  LOGITS_DIGESTS,
  logitsDigest,
  PIECES,
  pinnedIds,
  SAMPLED_TEXT,
  sha256,
} from "./digest.ts";

/** A host under test. */
export interface Host {
  /** As `Platform.name`. */
  readonly name: string;
  /** It can share memory with workers. */
  readonly threads: boolean;
  readonly loadModel: (source: string | ModelSource, options?: LoadOptions) => Promise<Model>;
  /** models/thimble-15m.Q4_0.gguf as this host opens it (a path, a URL), and its bytes. */
  readonly location: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

export interface Check {
  readonly name: string;
  /** Resolves to what was seen, in words; throws where the host does not conform. */
  run(): Promise<string>;
}

export interface CheckResult {
  readonly name: string;
  readonly ok: boolean;
  /** What was seen, or the error. */
  readonly detail: string;
  readonly ms: number;
}

/** Runs every check in order, also after a failure. */
export async function runConformance(host: Host, onResult?: (result: CheckResult) => void): Promise<CheckResult[]> {
  return runChecks(conformance(host), onResult);
}

/** As `runConformance`, of any checks. */
export async function runChecks(
  checks: readonly Check[],
  onResult?: (result: CheckResult) => void,
): Promise<CheckResult[]> {
  const results: CheckResult[] = [];
  for (const { name, run } of checks) {
    const start = performance.now();
    const outcome = await run().then(
      (detail) => ({ ok: true, detail }),
      (error: unknown) => ({ ok: false, detail: describe(error) }),
    );
    const result = { name, ...outcome, ms: Math.round(performance.now() - start) };
    results.push(result);
    onResult?.(result);
  }
  return results;
}

/** Not every engine has the message in the stack. */
function describe(error: unknown): string {
  const { stack = "" } = error instanceof Error ? error : {};
  return stack.includes(`${error}`) ? stack : `${error}\n${stack}`;
}

const STORY = "Tell me a short story about a fox.";
const SKY = "Why is the sky blue?";
const GREEDY = { temperature: 0, maxTokens: 40 } as const;
const SAMPLED = { seed: 20, maxTokens: 40 } as const;
/** Every row can have logits. */
const ALL_LOGITS = { chunk: 64, maxOutputs: 64 } as const;
/** Bytes of a stream's chunks, taken in turn: no boundary falls where the loader's reads do. */
const STREAM_CHUNKS: readonly number[] = [1, 65_537, 3, 1_000_003];

export function conformance(host: Host): Check[] {
  const { loadModel, location, bytes } = host;
  const blob = () => new Blob([bytes]);

  // One model for the checks that may share one; loaded by the first of them, from the host's own kind of location.
  let loading: Promise<Model> | undefined;
  const shared = () => {
    loading ??= loadModel(location, ALL_LOGITS);
    return loading;
  };

  return [
    {
      name: "logits of 160 tokens have the pinned digest",
      async run() {
        const model = await shared();
        same(model.stats.platform, host.name, "the platform's name");
        const digest = await logitsDigest(model, PIECES);
        same(digest, LOGITS_DIGEST, "digest");
        return `${digest}, build ${model.stats.variant}`;
      },
    },
    {
      name: "every build that runs here gives the same digest for every form of the cache; one that does not is refused by name",
      async run() {
        const outcomes: string[] = [];
        for (const variant of ["simd", "relaxed"] as const) {
          try {
            const model = await loadModel(location, { ...ALL_LOGITS, variant });
            same(model.stats.variant, variant, "the build");
            same(await logitsDigest(model, PIECES), LOGITS_DIGEST, `digest of ${variant}`);
            outcomes.push(variant);
            await model.close();
            for (const form of ["f32", "q4", "q3"] as const) {
              await using other = await loadModel(location, { ...ALL_LOGITS, variant, keys: form, values: form });
              same(await logitsDigest(other, PIECES), LOGITS_DIGESTS[form], `digest of ${variant}, ${form} pages`);
            }
          } catch (error) {
            const { code, subject } = error as ThimbleError;
            if (variant === "simd" || code !== "unsupported_runtime") throw error;
            same(`${subject}`, variant, "what the error names");
            outcomes.push(`no ${variant}`);
          }
        }
        same((await shared()).stats.variant, outcomes.includes("relaxed") ? "relaxed" : "simd", "what auto takes");
        return outcomes.join(", ");
      },
    },
    {
      name: "two threads give the same digest; where memory cannot be shared there is one",
      async run() {
        const model = await loadModel(location, { ...ALL_LOGITS, threads: 2 });
        same(model.stats.threads, host.threads ? 2 : 1, "threads");
        same(await logitsDigest(model, PIECES), LOGITS_DIGEST, "digest");
        await model.close();
        return `${host.threads ? 2 : 1}`;
      },
    },
    {
      name: "greedy text is the pinned one",
      async run() {
        const text = await alone(await shared(), STORY, GREEDY);
        same(text, GREEDY_TEXT, "text");
        return quote(text);
      },
    },
    {
      name: "sampled text of a seed is the pinned one",
      async run() {
        const text = await alone(await shared(), SKY, SAMPLED);
        same(text, SAMPLED_TEXT, "text");
        return quote(text);
      },
    },
    {
      name: "chunks of 1, 7 and 64 tokens give the same bits and text",
      async run() {
        const model = await shared();
        const digest = await logitsDigest(model, PIECES);
        const text = await alone(model, STORY, GREEDY);
        for (const chunk of [1, 7, 64]) {
          await using other = await loadModel(bytes, { chunk, maxOutputs: chunk });
          const pieces = Array<number>(Math.ceil(160 / chunk)).fill(chunk);
          same(await logitsDigest(other, pieces), digest, `digest in chunks of ${chunk}`);
          same(await alone(other, STORY, GREEDY), text, `text in chunks of ${chunk}`);
        }
        return "3 chunk sizes";
      },
    },
    {
      name: "bytes, a Blob and a stream give the same model",
      async run() {
        const digest = await logitsDigest(await shared(), PIECES);
        const sources: Record<string, () => ModelSource> = {
          "a Uint8Array": () => bytes,
          "an ArrayBuffer": () => bytes.slice().buffer,
          "a Blob": blob,
          "a Blob's stream": () => blob().stream(),
          "a stream of odd chunks": () => streamOf(bytes),
        };
        for (const [what, source] of Object.entries(sources)) {
          let progress = "";
          await using model = await loadModel(source(), {
            ...ALL_LOGITS,
            onProgress: ({ loaded, total }) => (progress = `${loaded} of ${total}`),
          });
          check(/^(\d{8}) of \1$/.test(progress), `progress of ${what} ended at ${progress} bytes`);
          same(await logitsDigest(model, PIECES), digest, `digest from ${what}`);
        }
        return `${Object.keys(sources).length} kinds of source, one digest`;
      },
    },
    {
      name: "an aborted or abandoned turn leaves the session as it was",
      async run() {
        const model = await shared();
        await using fresh = model.session();
        await fresh.complete(STORY, GREEDY);
        const expected = await fresh.complete(SKY, GREEDY);

        await using session = model.session();
        await session.complete(STORY, GREEDY);
        const before = JSON.stringify([session.tokens, session.messages]);
        const unchanged = (when: string) => same(JSON.stringify([session.tokens, session.messages]), before, when);

        const decoding = new AbortController();
        const reason = new Error("enough");
        let pieces = 0;
        const aborted = await caught(async () => {
          for await (const _piece of session.generate(SKY, { ...SAMPLED, signal: decoding.signal })) {
            if (++pieces === 3) decoding.abort(reason);
          }
        });
        check(aborted === reason, `iterating threw ${aborted} instead of the signal's reason`);
        same(pieces, 3, "pieces before the abort");
        unchanged("tokens after an abort while decoding");

        const prefilling = new AbortController();
        const options = { ...GREEDY, signal: prefilling.signal, onPrefill: () => prefilling.abort(reason) };
        const prefilled = await caught(() => session.complete(SKY.repeat(20), options));
        check(prefilled === reason, `prefill threw ${prefilled} instead of the signal's reason`);
        unchanged("tokens after an abort while prefilling");

        for await (const _piece of session.generate(SKY, SAMPLED)) break;
        unchanged("tokens after leaving the loop");

        const next = await session.complete(SKY, GREEDY);
        same(next.text, expected.text, "text of the next turn");
        same(next.promptIds.join(), expected.promptIds.join(), "prompt of the next turn");
        return quote(next.text);
      },
    },
    {
      name: "two interleaved sessions write what each writes alone",
      async run() {
        const model = await shared();
        const expected = [await alone(model, STORY, GREEDY), await alone(model, SKY, SAMPLED)];
        await using story = model.session();
        await using sky = model.session();
        const turns = [story.generate(STORY, GREEDY), sky.generate(SKY, SAMPLED)].map((turn) => ({
          pieces: turn[Symbol.asyncIterator](),
          text: "",
          isDone: false,
        }));
        while (turns.some(({ isDone }) => !isDone)) {
          for (const turn of turns) {
            const { done, value } = await turn.pieces.next();
            turn.isDone = done === true;
            turn.text += value ?? "";
          }
        }
        for (const [i, { text }] of turns.entries()) same(text, expected[i]!, `text of session ${i}, in turns`);

        await using first = model.session();
        await using second = model.session();
        const results = await Promise.all([first.complete(STORY, GREEDY), second.complete(SKY, SAMPLED)]);
        for (const [i, { text }] of results.entries()) same(text, expected[i]!, `text of session ${i}, both at once`);
        return "2 texts";
      },
    },
    {
      name: "a session kept as a capsule goes on with the same words",
      async run() {
        const model = await shared();
        await using session = model.session();
        await session.complete(STORY, GREEDY);
        const items = new Map<string, unknown>();
        const store = capsuleStore({
          getItem: async (key) => JSON.parse((items.get(key) as string | undefined) ?? "null"),
          setItem: async (key, value) => void items.set(key, value),
          getItemRaw: async (key) => items.get(key) ?? null,
          setItemRaw: async (key, value) => void items.set(key, value.slice()),
          removeItem: async (key) => void items.delete(key),
          getKeys: async () => [...items.keys()],
        });
        await keepSession(store, "fox", session);
        const expected = await session.complete(SKY, SAMPLED);
        await using restored = await model.restore((await store.get("fox"))!);
        const { text, usage } = await restored.complete(SKY, SAMPLED);
        same(text, expected.text, "text of the restored session");
        same(usage.reusedTokens, expected.usage.reusedTokens, "tokens that are not computed again");
        return `${usage.reusedTokens} tokens from the capsule`;
      },
    },
    {
      name: "rows of two sessions in one call have the bits they have alone",
      async run() {
        const model = await shared();
        const ids = pinnedIds(model.config.vocabSize);
        const first = ids.slice(0, 24);
        const second = ids.slice(24, 48);
        const expected = [await rowLogits(model, [first]), await rowLogits(model, [second])];
        const digests = await Promise.all(expected.map(([logits]) => sha256(logits!)));
        const mixed = await rowLogits(model, [first, second]);
        for (const [i, logits] of mixed.entries()) same(await sha256(logits), digests[i]!, `logits of session ${i}`);
        return "24 + 24 rows";
      },
    },
    {
      name: "the event loop keeps turning, and a timer can abort",
      async run() {
        const model = await shared();
        await using session = model.session();
        let ticks = 0;
        let prefillTicks = 0;
        let tokens = 0;
        const interval = setInterval(() => ++ticks, 1);
        try {
          const onPrefill = () => (prefillTicks = ticks);
          const ids = pinnedIds(model.config.vocabSize);
          const options = { temperature: 0, ignoreEos: true, maxTokens: 1000, onPrefill };
          for await (const _piece of session.generate({ ids: [...ids, ...ids] }, options)) {
            tokens += 1;
            if (ticks >= prefillTicks + 5) break;
          }
        } finally {
          clearInterval(interval);
        }
        check(prefillTicks > 0, "a 1 ms interval did not run while 320 tokens of prompt were evaluated");
        check(
          ticks >= prefillTicks + 5,
          `a 1 ms interval ran ${ticks - prefillTicks} times in ${tokens} pieces of text`,
        );

        const controller = new AbortController();
        setTimeout(() => controller.abort(), 30);
        const options = { temperature: 0, ignoreEos: true, maxTokens: 2000, signal: controller.signal };
        const error = await caught(() => session.complete(SKY, options));
        check(error instanceof Error && error.name === "AbortError", `a turn aborted by a timer threw ${error}`);
        return `${prefillTicks} ticks in the prefill of 320 tokens, 5 in ${tokens} pieces of text`;
      },
    },
    {
      name: "a closed session or model gives its pages back and refuses work",
      async run() {
        const model = await loadModel(bytes);
        const { poolFreePages, poolPages } = model.engine.runtime.exports;
        const expected = await alone(model, SKY, GREEDY);
        same(poolFreePages(), poolPages(), "free pages after every session closed");

        const session = model.session();
        await session.complete(STORY, GREEDY);
        check(poolFreePages() < poolPages(), "a session in use holds no page");
        const ended = await caught(async () => {
          for await (const _piece of session.generate(SKY, GREEDY)) session.close();
        });
        same(codeOf(ended), "closed", "closing in the middle of a turn");
        session.close();
        {
          await using _again = session;
        }
        same(poolFreePages(), poolPages(), "free pages after the session closed");
        same(codeOf(await caught(() => session.complete(SKY))), "closed", "a turn of a closed session");
        same(await alone(model, SKY, GREEDY), expected, "text on pages that were used before");

        const last = model.session();
        {
          await using _model = model;
        }
        await model.close();
        same(codeOf(await caught(() => last.complete(SKY))), "closed", "a session of a closed model");
        same(codeOf(await caught(async () => model.session())), "closed", "a session after the model closed");
        return `${poolPages()} pages`;
      },
    },
    {
      name: "a truncated or missing file is an error with its code",
      async run() {
        const middle = bytes.byteLength >> 1;
        const broken: [what: string, code: ThimbleErrorCode, source: string | ModelSource][] = [
          ["bytes without the last one", "truncated_file", bytes.subarray(0, -1)],
          ["a header without its end", "truncated_file", bytes.subarray(0, 1000)],
          ["half a Blob", "truncated_file", blob().slice(0, middle)],
          ["half a stream", "truncated_file", streamOf(bytes.subarray(0, middle))],
          ["text", "bad_magic", new TextEncoder().encode("This is not a model, only a text.")],
          ["a location where nothing is", "source_unreadable", `${location}.missing`],
        ];
        for (const [what, code, source] of broken) {
          same(codeOf(await caught(() => loadModel(source))), code, what);
        }
        return `${broken.length} errors`;
      },
    },
    {
      name: "the model of the other checks closes",
      async run() {
        const model = await shared();
        await model.close();
        same(codeOf(await caught(async () => model.forward([]))), "closed", "a forward call afterwards");
        return `${(model.stats.peakBytes / 1048576).toFixed(1)} MiB of memory`;
      },
    },
  ];
}

/** The text of one turn in a session of its own. */
async function alone(model: Model, prompt: string, options: GenerateOptions): Promise<string> {
  await using session: Session = model.session();
  return (await session.complete(prompt, options)).text;
}

/** Logits of all rows of sequences of equal length, which take turns row by row within one call. */
async function rowLogits(
  model: Model,
  sequences: readonly (readonly number[])[],
): Promise<Float32Array<ArrayBuffer>[]> {
  const { engine, config } = model;
  const sessions = sequences.map(() => engine.openSession());
  try {
    const n = sequences[0]!.length;
    const positions = Array.from({ length: n }, (_, position) => position);
    model.forward(
      positions.flatMap((position) =>
        sequences.map((ids, s) => ({ session: sessions[s]!, input: ids[position]!, position, logits: true })),
      ),
    );
    return sequences.map((_, s) => {
      const logits = new Float32Array(n * config.vocabSize);
      for (const i of positions) logits.set(engine.logits(i * sequences.length + s), i * config.vocabSize);
      return logits;
    });
  } finally {
    for (const session of sessions) engine.runtime.exports.sessionClose(session);
  }
}

function streamOf(bytes: Uint8Array<ArrayBuffer>): ReadableStream<Uint8Array> {
  let at = 0;
  let turn = 0;
  return new ReadableStream({
    pull(controller) {
      const end = at + STREAM_CHUNKS[turn++ % STREAM_CHUNKS.length]!;
      controller.enqueue(bytes.slice(at, end));
      at = end;
      if (at >= bytes.byteLength) controller.close();
    },
  });
}

/** What a call throws; undefined when it does not. */
async function caught(call: () => Promise<unknown>): Promise<unknown> {
  try {
    await call();
    return undefined;
  } catch (error) {
    return error;
  }
}

/** The code of a ThimbleError; of anything else what it is, so that a failure shows it. */
function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : `no ThimbleError: ${error}`;
}

function check(ok: boolean, message: string): void {
  if (!ok) throw new Error(message);
}

function same(actual: string | number, expected: string | number, what: string): void {
  if (actual !== expected) throw new Error(`${what}: ${quote(actual)} instead of ${quote(expected)}`);
}

function quote(value: string | number): string {
  return JSON.stringify(value);
}
