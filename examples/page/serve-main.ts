/** `npm run page`. @module */
import { serveFiles } from "./serve.ts";

const { url } = await serveFiles("build/page", Number(process.argv[2] ?? 0));
console.log(`The page is at ${url}`);
