/**
 * The suite in a page's main thread; chromium.ts calls `conform` and prints what it reports.
 * @module
 */
import { loadModel } from "../../bindings/browser/index.ts";
import { type CheckResult, runConformance } from "./conformance.ts";

declare global {
  /** Resolves once all results are reported. */
  var conform: () => Promise<void>;
  /** Of chromium.ts: takes a result. */
  var report: (result: CheckResult) => Promise<void>;
}

globalThis.conform = async () => {
  const location = new URL("model.gguf", document.baseURI).href;
  const bytes = new Uint8Array(await (await fetch(location)).arrayBuffer());
  const reports: Promise<void>[] = [];
  const host = { name: "browser", threads: globalThis.crossOriginIsolated, loadModel, location, bytes };
  await runConformance(host, (result) => reports.push(globalThis.report(result)));
  await Promise.all(reports);
};
