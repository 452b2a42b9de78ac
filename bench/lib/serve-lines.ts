/** The child's end of line-side.ts. @module */
import { createInterface } from "node:readline";
import type { Request } from "./interleave.ts";
import type { SideInfo } from "./results.ts";

/** Answers requests until the parent closes the line. `measure` gives a value in the unit the parent expects. */
export async function serveLines(
  info: SideInfo,
  measure: (request: Request) => Promise<number> | number,
): Promise<void> {
  const write = (answer: object): void => console.log(JSON.stringify(answer));
  write({ ready: info });
  for await (const line of createInterface({ input: process.stdin })) {
    try {
      const before = process.cpuUsage();
      const start = performance.now();
      const value = await measure(JSON.parse(line) as Request);
      const { user, system } = process.cpuUsage(before);
      write({ value, cpu: (user + system) / 1000 / (performance.now() - start) });
    } catch (error) {
      write({ error: error instanceof Error ? error.message : String(error) });
    }
  }
  process.exit(0);
}
