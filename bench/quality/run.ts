/**
 * Runs what is missing: format by format, item by item; one prefill an item, a fork for each variant, and the results are in
 * the store after each.
 * @module
 */
import { Observed } from "../../assembly/memory/status.ts";
import { ThimbleError } from "../../host/errors.ts";
import type { LoadOptions } from "../../host/load-engine.ts";
import type { Model } from "../../host/model.ts";
import { parsePolicy } from "../../host/policy.ts";
import { type Item, lengthOf, type Stop } from "./items.ts";
import { measureStop } from "./measure.ts";
import { Prefix } from "./prefix.ts";
import { Progress, prefillCost, stopCost } from "./progress.ts";
import type { Store } from "./store.ts";
import { type Format, groupVariants, loadOptionsOf, type Variant } from "./variants.ts";

export interface QualityRun {
  readonly load: (options: LoadOptions) => Promise<Model>;
  readonly formats: readonly Format[];
  readonly variants: readonly Variant[];
  readonly items: readonly Item[];
  readonly store: Pick<Store, "has" | "put">;
  readonly log: (line: string) => void;
}

/** Slots for a part of the prompt that is read once more. */
const REPEATED = 640;

function isRepeated(policy: string | undefined): boolean {
  return policy !== undefined && parsePolicy(policy).observed === Observed.LARGEST;
}

interface Unit {
  readonly stop: Stop;
  readonly variants: readonly Variant[];
}

/** @returns how many units were computed. @throws ThimbleError as loading does */
export async function runQuality({ load, formats, variants, items, store, log }: QualityRun): Promise<number> {
  const plans = formats.flatMap((format) =>
    groupVariants(variants).map((group) => {
      const possible = loadOptionsOf(format, group);
      const jobs = items.map((item) => ({ item, units: missing(item, format, possible.variants, store) }));
      return { format, options: possible.options, jobs: jobs.filter(({ units }) => units.length > 0) };
    }),
  );
  const progress = new Progress(costOf(plans.flatMap(({ jobs }) => jobs)), log);
  let done = 0;
  for (const { format, options, jobs } of plans) {
    if (jobs.length === 0) continue;
    const contextLength = Math.max(...jobs.map(({ item }) => lengthOf(item)));
    const slots = Math.ceil(contextLength / 32) * 32 + (isRepeated(options.policy) ? REPEATED : 0);
    await using model = await load({ ...options, contextLength: slots, maxOutputs: 64 });
    for (const { item, units } of jobs) {
      const prefix = new Prefix(model, item.ids);
      progress.add(prefillCost(item));
      for (const { stop, variants } of units) {
        const prompt = await prefix.endAt(stop.end);
        for (const variant of variants) {
          const figures = await measureStop(model, prompt, stop, variant);
          await store.put(stop.of, `${format.name} ${variant.name}`, item.name, figures);
          done += 1;
          progress.add(stopCost(stop));
        }
        prompt.close();
        progress.say(`${format.name}, ${stop.of}, item ${item.name}`);
      }
      prefix.close();
    }
  }
  return done;
}

function missing(item: Item, format: Format, variants: readonly Variant[], store: QualityRun["store"]): Unit[] {
  return item.stops
    .map((stop) => ({
      stop,
      variants: variants.filter(({ name }) => !store.has(stop.of, `${format.name} ${name}`, item.name)),
    }))
    .filter((unit) => unit.variants.length > 0);
}

/** Items that a model's context has room for; tells of the others. */
export function itemsWithin(items: readonly Item[], contextLength: number, log: (line: string) => void): Item[] {
  const within = items.filter((item) => lengthOf(item) <= contextLength);
  if (within.length < items.length) log(`${items.length - within.length} items are longer than the model's context`);
  if (within.length === 0) throw new ThimbleError("invalid_option", "nothing is left to measure", { name: "only" });
  return within;
}

function unitCost({ stop, variants }: Unit): number {
  return stopCost(stop) * variants.length;
}

function costOf(jobs: readonly { readonly item: Item; readonly units: readonly Unit[] }[]): number {
  return sum(jobs.map(({ item, units }) => prefillCost(item) + sum(units.map(unitCost))));
}

function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0);
}
