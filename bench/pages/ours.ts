/** Our browser build, as it is shipped (dist/browser.js), in the page's main thread. @module */
import type { LoadOptions } from "../../host/load-engine.ts";
import type { Model } from "../../host/model.ts";
import type { ModelSource } from "../../host/source.ts";
import { measurerOf } from "../engine-measurer.ts";
import type { BenchVariant } from "../lib/variants.ts";
import { offer } from "./page.ts";

interface Browser {
  loadModel(source: ModelSource, options?: LoadOptions): Promise<Model>;
}

const BUNDLE = "/dist/browser.js"; // not in this bundle
const { loadModel } = (await import(BUNDLE)) as Browser;

offer(async (blob, { variant }) => {
  const model = await loadModel(blob, { variant: variant as BenchVariant });
  const measurer = measurerOf(model);
  await measurer.prefill(1);
  return { ...measurer, info: { runtime: `thimble, ${variant}`, threads: 1, cache: "f32 pages" } };
});
