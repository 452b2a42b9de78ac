/**
 * Restoring a session against computing it: a capsule of some thousand tokens read from disk (its file in the page cache)
 * until the session can go on, and a prompt pack opened and a session begun from it, against the prefill of the same
 * tokens, in one process and in turns (A B A B):
 *
 *   npm run bench:restore -- MODEL.gguf [--tokens 4096] [--rounds 5] [--threads 1]
 *
 * Every round also checks that what was restored says the next token that was computed. The bar: 150 times faster.
 */
import { createReadStream, createWriteStream, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable, Writable } from "node:stream";
import { parseArgs } from "node:util";
import { openFile } from "../bindings/node/file-source.ts";
import { loadFrom, type Model } from "../host/model.ts";
import type { Session } from "../host/session.ts";
import { commandOf, counts } from "./lib/command-line.ts";
import { interleave, type Side } from "./lib/interleave.ts";
import { storePart } from "./lib/results.ts";
import { ratioOf } from "./lib/statistics.ts";
import { platform } from "./ours.ts";
import { promptTokens } from "./prompt.ts";

const BAR = 150;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tokens: { type: "string", default: "4096" },
    rounds: { type: "string", default: "5" },
    threads: { type: "string", default: "1" },
    forms: { type: "string", default: "q8,q4" },
    results: { type: "string", default: "bench/results" },
  },
});
const [file] = positionals;
if (file === undefined) throw new Error("which model? npm run bench:restore -- MODEL.gguf");
const [tokens, rounds, threads] = [values.tokens, values.rounds, values.threads].map((n) => counts(n)[0]!);
const folder = mkdtempSync(join(tmpdir(), "restore-"));

const fromDisk = (path: string): ReadableStream<Uint8Array> =>
  Readable.toWeb(createReadStream(path, { highWaterMark: 1 << 20 })) as unknown as ReadableStream<Uint8Array>;

const toDisk = (stream: ReadableStream<Uint8Array>, path: string): Promise<void> =>
  stream.pipeTo(Writable.toWeb(createWriteStream(path)) as WritableStream<Uint8Array>);

/** The next token is part of no time: it shows that the session is what it should be. */
async function check(session: Session, expected: { id: number | undefined }): Promise<void> {
  const { completionIds, usage } = await session.complete(
    { ids: [40] },
    { maxTokens: 1, temperature: 0, ignoreEos: true },
  );
  session.close();
  if (usage.reusedTokens !== tokens) throw new Error(`${usage.reusedTokens} of ${tokens} tokens were there`);
  expected.id ??= completionIds[0];
  if (completionIds[0] !== expected.id) throw new Error("the restored session says something else");
}

/** Prefill, capsule and pack of one form of keys and values. */
async function sidesOf(form: string, model: Model): Promise<Side[]> {
  const ids = [...promptTokens(tokens!, model.config.vocabSize)];
  const expected = { id: undefined as number | undefined };
  const [capsule, packed] = [join(folder, `${form}.capsule`), join(folder, `${form}.pack`)];
  const side = (name: string, info: Side["info"], begin: () => Promise<Session>): Side => ({
    name: `${name} ${form}`,
    info,
    async measure() {
      const start = performance.now();
      const session = await begin();
      const value = (performance.now() - start) / 1000;
      await check(session, expected);
      return { value };
    },
    close: async () => {},
  });
  const compute = async (): Promise<Session> => {
    const session = model.session();
    await session.complete({ ids }, { maxTokens: 0 });
    return session;
  };
  const computed = await compute();
  await toDisk(computed.save(), capsule);
  computed.close();
  const pack = await model.createPack({ ids });
  await toDisk(pack.save(), packed);
  pack.close();
  return [
    side("prefill", { keys: form, values: form, threads: threads! }, compute),
    side("restore", { bytes: statSync(capsule).size }, () => model.restore(fromDisk(capsule))),
    side("pack", { bytes: statSync(packed).size }, async () => {
      await using opened = await model.openPack(fromDisk(packed));
      return opened.session();
    }),
  ];
}

const forms = values.forms.split(",");
const models: Model[] = [];
const sides: Side[] = [];
try {
  for (const form of forms) {
    const options = { keys: form as "q8", values: form as "q8", contextLength: tokens! + 2, threads: threads! };
    const model = await loadFrom(platform, await openFile(file), options);
    models.push(model);
    sides.push(...(await sidesOf(form, model)));
  }
  const label = `${tokens} tokens`;
  const plan = { rounds: rounds!, warmups: 1, log: (line: string) => console.error(line) };
  const { cases, skipped } = await interleave(sides, [{ label, unit: "s", request: {} }], plan);
  const info = Object.fromEntries(sides.map((each) => [each.name, each.info]));
  const notes = [`model ${models[0]!.name}; the bar is ${BAR} times faster than prefill`];
  const stored = await storePart(values.results, commandOf("bench:restore"), {
    part: "restore",
    sides: info,
    skipped,
    cases,
    notes,
  });
  for (const { side, reason } of skipped) console.error(`not measured: ${side}: ${reason}`);
  const samples = cases[0]?.samples ?? {};
  for (const form of forms) {
    for (const name of ["restore", "pack"]) {
      const [slow, fast] = [samples[`prefill ${form}`], samples[`${name} ${form}`]];
      if (slow === undefined || fast === undefined) continue;
      const { median, low, high } = ratioOf(slow, fast);
      const verdict = median >= BAR ? "" : `, below the bar of ${BAR}`;
      console.log(
        `${name} ${form}: ${median.toFixed(0)} times faster than prefill (${low.toFixed(0)} to ${high.toFixed(0)})${verdict}`,
      );
    }
  }
  console.error(`written to ${stored}`);
  if (skipped.length > 0) process.exitCode = 1;
} finally {
  for (const model of models) await model.close();
  rmSync(folder, { recursive: true, force: true });
}
