/** The worker of `loadInWorker`: a model that computes for a page. See host/remote. */
import { type Port, serveModel } from "../../host/remote/serve-model.ts";
import { loadModel } from "./index.ts";

serveModel(globalThis as unknown as Port, loadModel);
