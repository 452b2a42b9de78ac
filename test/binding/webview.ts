/**
 * The suite in a web view's main thread; webkit.ts calls `conform` and prints what it reports.
 * @module
 */
import { loadModel } from "../../bindings/webview/index.ts";
import { offerConformance } from "./page-side.ts";

offerConformance("webview", false, loadModel);
