/**
 * Where results are kept: a JSON file for each model and process, written whole after every unit and put in place by a
 * rename, so that a run which was ended can be taken up again. A unit that any file of the folder has is not computed again.
 *
 *   cases[case][variant][item] = [bytes of the cache at the prompt's end, figures ...]
 *
 *   nll/SOURCE/TOKENS           mean nats of the tokens that follow
 *   recall/KIND/TOKENS/MODE     1: the whole value was most likely, else 0; mean ln p of its tokens
 *   turns/KIND/TOKENS/MODE      1 or 0 for each turn
 * @module
 */
import { mkdir, readdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";

export type Cases = Record<string, Record<string, Record<string, number[]>>>;

export interface QualityResults {
  readonly model: string;
  /** Commands that the results come from, with their dates. */
  readonly runs: { readonly command: string; readonly date: string }[];
  /** How many items each case has in all. */
  readonly items: Record<string, number>;
  readonly cases: Cases;
}

export interface Shard {
  readonly index: number;
  readonly count: number;
}

export class Store {
  readonly #file: string;
  readonly #own: QualityResults;
  readonly #known: Cases;

  private constructor(file: string, own: QualityResults, known: Cases) {
    this.#file = file;
    this.#own = own;
    this.#known = known;
  }

  /** @param from - what the run is: its command, and the items of all its cases */
  static async open(
    folder: string,
    model: string,
    shard: Shard,
    from: { readonly command: string; readonly items: Readonly<Record<string, number>> },
  ): Promise<Store> {
    await mkdir(folder, { recursive: true });
    const name = shard.count === 1 ? `${model}.json` : `${model}.${shard.index}of${shard.count}.json`;
    const all = await readModel(folder, model);
    const own = (await readOne(join(folder, name))) ?? { model, runs: [], items: {}, cases: {} };
    const run = { command: from.command, date: new Date().toISOString().slice(0, 10) };
    if (!own.runs.some(({ command, date }) => command === run.command && date === run.date)) own.runs.push(run);
    Object.assign(own.items, from.items);
    return new Store(join(folder, name), own, all?.cases ?? {});
  }

  has(of: string, variant: string, item: string): boolean {
    return this.#known[of]?.[variant]?.[item] !== undefined;
  }

  async put(of: string, variant: string, item: string, figures: readonly number[]): Promise<void> {
    for (const cases of [this.#own.cases, this.#known]) {
      cases[of] ??= {};
      cases[of][variant] ??= {};
      cases[of][variant][item] = figures.map((figure) => Math.round(figure * 1e6) / 1e6);
    }
    await writeWhole(this.#file, `${linesOf(this.#own)}\n`);
  }
}

/** Either the whole text is there or what was before. */
export async function writeWhole(file: string, text: string): Promise<void> {
  const part = `${file}.${process.pid}.part`;
  await writeFile(part, text);
  await rename(part, file);
}

/** All that is known of a model, from all of its files; undefined: nothing. */
export async function readModel(folder: string, model: string): Promise<QualityResults | undefined> {
  const names = (await readdir(folder).catch(() => [])).filter((name) => modelOf(name) === model).sort();
  const files = await Promise.all(names.map((name) => readOne(join(folder, name))));
  const merged: QualityResults = { model, runs: [], items: {}, cases: {} };
  for (const file of files) {
    if (file === undefined) continue;
    merged.runs.push(...file.runs.filter((run) => !merged.runs.some(({ command }) => command === run.command)));
    Object.assign(merged.items, file.items);
    for (const [of, variants] of Object.entries(file.cases)) {
      for (const [variant, items] of Object.entries(variants)) {
        merged.cases[of] ??= {};
        merged.cases[of][variant] = { ...merged.cases[of][variant], ...items };
      }
    }
  }
  return files.length === 0 ? undefined : merged;
}

/** Names of the models that a folder has results of. */
export async function storedModels(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch(() => []);
  return [...new Set(names.flatMap((name) => modelOf(name) ?? []))].sort();
}

/** NAME.json and NAME.IofN.json. */
function modelOf(file: string): string | undefined {
  return /^(.*?)(?:\.\d+of\d+)?\.json$/.exec(file)?.[1];
}

async function readOne(file: string): Promise<QualityResults | undefined> {
  const text = await readFile(file, "utf8").catch(() => undefined);
  return text === undefined ? undefined : (JSON.parse(text) as QualityResults);
}

/** JSON with a variant's items on one line and keys in order, so that files can be compared. */
function linesOf(results: QualityResults): string {
  const cases = sorted(results.cases).map(([of, variants]) => {
    const lines = sorted(variants).map(([name, items]) => `   ${JSON.stringify(name)}: ${itemsOf(items)}`);
    return `  ${JSON.stringify(of)}: {\n${lines.join(",\n")}\n  }`;
  });
  const runs = results.runs.map((run) => `  ${JSON.stringify(run)}`);
  const items = sorted(results.items).map(([of, n]) => `  ${JSON.stringify(of)}: ${n}`);
  const parts = [
    `"model": ${JSON.stringify(results.model)}`,
    `"runs": [\n${runs.join(",\n")}\n ]`,
    `"items": {\n${items.join(",\n")}\n }`,
    `"cases": {\n${cases.join(",\n")}\n }`,
  ];
  return `{\n ${parts.join(",\n ")}\n}`;
}

function itemsOf(items: Readonly<Record<string, readonly number[]>>): string {
  return `{ ${sorted(items)
    .map(([item, figures]) => `${JSON.stringify(item)}: ${JSON.stringify(figures)}`)
    .join(", ")} }`;
}

function sorted<T>(record: Readonly<Record<string, T>>): [string, T][] {
  return Object.entries(record).sort(([a], [b]) => a.localeCompare(b, "en", { numeric: true }));
}
