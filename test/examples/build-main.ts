/** `npm run examples:build`. @module */
import { buildExamples, OUT } from "./build.ts";

await buildExamples();
console.log(OUT);
