/**
 * Runs uvu on a folder of bundled tests and fails unless every test passed. uvu itself exits 0 when a hook throws: the rest
 * of its suite is then neither run nor counted as failed, only missing from "Passed".
 *
 *   node test/run.mjs build/test [PATTERN]
 */
import { spawn } from "node:child_process";

const args = ["--enable-source-maps", "node_modules/uvu/bin.js", ...process.argv.slice(2), "--ignore", "\\.map$"];
const child = spawn(process.execPath, args, { stdio: ["inherit", "pipe", "inherit"] });
let tail = "";
child.stdout.on("data", (piece) => {
  process.stdout.write(piece);
  tail = (tail + piece).slice(-2000);
});
child.on("close", (code, signal) => {
  const count = (name) => Number(new RegExp(`${name}:\\D*(\\d+)`).exec(tail.slice(tail.lastIndexOf("Total:")))?.[1]);
  const [total, passed] = [count("Total"), count("Passed")];
  if (signal !== null || code !== 0) process.exitCode = code || 1;
  else if (!(total > 0) || passed !== total) {
    console.error(`only ${passed} of ${total} tests passed`);
    process.exitCode = 1;
  }
});
