/**
 * A worker whose memory is measured (worker-memory.ts): loads a model with options of the request, fills its context with a
 * prompt but for some tokens that it writes, and tells what WebAssembly has.
 * @module
 */
import { loadModel, type Model } from "../../bindings/workers/index.ts";
import { pinnedIds } from "./digest.ts";

let model: Model | undefined;

export default {
  async fetch(request: Request): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname === "/load") {
      const { contextLength, ...options } = JSON.parse(searchParams.get("options")!);
      model = await loadModel("http://model/model.gguf", { ...options, contextLength });
      const { peakBytes, contextLength: context, keys, values } = model.stats;
      return Response.json({ wasm: peakBytes, context, keys, values });
    }
    if (model === undefined) return new Response(null, { status: 404 });
    await using session = model.session();
    const ids = pinnedIds(model.config.vocabSize);
    const n = Math.min(model.stats.contextLength - 32, Number(searchParams.get("tokens")));
    const prompt = Array.from({ length: n }, (_, i) => ids[i % ids.length]!);
    const { text, usage } = await session.complete({ ids: prompt }, { temperature: 0, maxTokens: 16, ignoreEos: true });
    const { peakBytes, contextLength, variant } = model.stats;
    return Response.json({ wasm: peakBytes, contextLength, variant, cached: session.stats.cachedTokens, usage, text });
  },
};
