/**
 * What a page of the suite offers to the program that drives its browser.
 * @module
 */
import type { LoadOptions, Model, ModelSource } from "../../host/index.ts";
import { type CheckResult, runConformance } from "./conformance.ts";
import { type Measured, measure } from "./measure.ts";

export type Report = CheckResult | { readonly measured: Measured };

declare global {
  /** Resolves once all results are reported; `version` is the browser's. */
  var conform: (version: string) => Promise<void>;
  /** Takes a result. Where the driver has given no such function, it is posted to the page's server. */
  var report: ((result: Report) => Promise<unknown>) | undefined;
}

export function offerConformance(
  name: string,
  threads: boolean,
  loadModel: (source: string | ModelSource, options?: LoadOptions) => Promise<Model>,
): void {
  const post = (result: Report) => fetch("report", { method: "POST", body: JSON.stringify(result) });
  globalThis.conform = async (version) => {
    const report = globalThis.report ?? post;
    const location = new URL("model.gguf", document.baseURI).href;
    const bytes = new Uint8Array(await (await fetch(location)).arrayBuffer());
    const reports: Promise<unknown>[] = [];
    const host = { name, threads, loadModel, location, bytes };
    await report({ measured: await measure(host, version) });
    await runConformance(host, (result) => reports.push(report(result)));
    await Promise.all(reports);
  };
}
