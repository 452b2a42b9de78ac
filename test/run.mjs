/**
 * Runs uvu on a folder of bundled tests and fails unless every test passed. uvu itself exits 0 when a hook throws: the rest
 * of its suite is then neither run nor counted as failed, only missing from "Passed".
 *
 *   node test/run.mjs build/test [PATTERN ...]
 *
 * Several patterns run side by side, each in a process of its own, their outputs one after the other. A pattern with commas
 * is a list of folders.
 */
import { spawn } from "node:child_process";

const [folder, ...given] = process.argv.slice(2);
const patterns = given.map((pattern) => (pattern.includes(",") ? `^(${pattern.replaceAll(",", "|")})/` : pattern));

/** Output and verdict of uvu on the files that match; all files without a pattern. */
function run(pattern, write) {
  const args = [
    "--enable-source-maps",
    "node_modules/uvu/bin.js",
    folder,
    ...pattern,
    "--ignore",
    "(\\.map|\\.wasm|/worker\\.js)$",
  ];
  const child = spawn(process.execPath, args, { stdio: ["inherit", "pipe", "inherit"] });
  let tail = "";
  child.stdout.on("data", (piece) => {
    write(piece);
    tail = (tail + piece).slice(-2000);
  });
  return new Promise((resolve) => {
    child.on("close", (code, signal) => {
      const count = (name) =>
        Number(new RegExp(`${name}:\\D*(\\d+)`).exec(tail.slice(tail.lastIndexOf("Total:")))?.[1]);
      const [total, passed] = [count("Total"), count("Passed")];
      if (signal !== null || code !== 0) resolve(code || 1);
      else if (total > 0 && passed === total) resolve(0);
      else {
        console.error(`only ${passed} of ${total} tests passed`);
        resolve(1);
      }
    });
  });
}

const outputs = patterns.slice(1).map(() => []);
const runs = [run(patterns.slice(0, 1), (piece) => process.stdout.write(piece))];
patterns.slice(1).forEach((pattern, i) => {
  runs.push(run([pattern], (piece) => outputs[i].push(piece)));
});
for (const [i, verdict] of runs.entries()) {
  const code = await verdict;
  if (i > 0) process.stdout.write(Buffer.concat(outputs[i - 1]));
  if (code !== 0) process.exitCode = code;
}
