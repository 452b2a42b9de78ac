#!/usr/bin/env node
/**
 * `thimble-wasi [--dir FOLDER] MODEL [PROMPT] [options]`: the command under `node:wasi`, with one folder opened for it, by
 * default the one it is called in.
 * @module
 */
import { runCommand } from "./index.ts";

// Node 20 says of every use that WASI is experimental.
process.removeAllListeners("warning");
const [first, folder, ...others] = process.argv.slice(2);
const hasFolder = first === "--dir" && folder !== undefined;
process.exitCode = await runCommand({
  args: hasFolder ? others : process.argv.slice(2),
  preopens: { "/": hasFolder ? folder : "." },
});
