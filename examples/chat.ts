/** Two turns with the embedded model on Node: `npm run example` (bundles this file beside the build and runs it). */
import { loadModel } from "thimble";

await using model = await loadModel("models/thimble-15m.Q4_0.gguf");
await using session = model.session();
for (const question of ["What is the capital of France?", "Tell me a short story about a fox."]) {
  console.log(`> ${question}`);
  for await (const piece of session.generate(question, { temperature: 0 })) process.stdout.write(piece);
  console.log();
}
const { promptTokens, reusedTokens, cacheBytes } = session.stats;
console.log(`${promptTokens} prompt tokens, ${reusedTokens} of them from the cache of ${cacheBytes / 1024} KiB`);
