/**
 * The suite in a page's main thread; chromium.ts calls `conform` and prints what it reports.
 * @module
 */
import { loadModel } from "../../bindings/browser/index.ts";
import { offerConformance } from "./page-side.ts";

offerConformance("browser", globalThis.crossOriginIsolated, loadModel);
