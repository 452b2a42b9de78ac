/**
 * What operations of random lives came to: done, or refused with one of the codes they may be refused with.
 * @module
 */
import * as assert from "uvu/assert";
import { ThimbleError, type ThimbleErrorCode } from "../../host/errors.ts";
import type { OperationKind } from "./session-operation.ts";

/** How often what happened: kinds of operations, with the code of those that were refused. */
export type Tally = Map<string, number>;

export class Record {
  constructor(readonly tally: Tally) {}

  count(what: string): void {
    this.tally.set(what, (this.tally.get(what) ?? 0) + 1);
  }

  /** The result, or undefined where it was refused with one of the codes. @throws any other error */
  async attempt<T>(
    kind: OperationKind,
    codes: readonly ThimbleErrorCode[],
    run: () => T | Promise<T>,
  ): Promise<T | undefined> {
    try {
      const result = await run();
      this.count(kind);
      return result;
    } catch (error) {
      if (!(error instanceof ThimbleError) || !codes.includes(error.code)) throw error;
      const { code, needed, available } = error;
      if (code === "over_budget") assert.ok(needed! > available!, `${needed} needed, ${available} available`);
      this.count(`${kind}: ${code}`);
      return undefined;
    }
  }
}
