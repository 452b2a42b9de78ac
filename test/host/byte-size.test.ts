/** Amounts of memory as people write them, and what means nothing. */
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { parseByteSize } from "../../host/byte-size.ts";
import { ThimbleError } from "../../host/errors.ts";
import { codeOf } from "./planned.ts";

test("amounts are read as people write them", () => {
  const amounts: [number | string, number][] = [
    [1, 1],
    [134_217_728, 134_217_728],
    ["134217728", 134_217_728],
    ["128MB", 128_000_000],
    ["128 MiB", 134_217_728],
    ["128mib", 134_217_728],
    [" 1.5GiB ", 1_610_612_736],
    ["1.15MB", 1_150_000],
    ["0.5KiB", 512],
    ["1.0009kB", 1000],
    ["64kb", 64_000],
    ["7B", 7],
    ["2GB", 2_000_000_000],
    ["999999GiB", 999_999 * 2 ** 30],
  ];
  for (const [given, bytes] of amounts) assert.is(parseByteSize("budget", given), bytes, String(given));
});

test("amounts that mean nothing are refused by name", () => {
  const hostile: unknown[] = [
    ...["", " ", "MB", "128M", "128TB", "-1MB", "+1MB", "1e9", "0x80", "1,5GiB", "1.MB", ".5MB", "1..5MB", "12 8MB"],
    ...[
      "128MB\n128MB",
      "NaN",
      "Infinity",
      "0",
      "0.1B",
      "٣MB",
      "9".repeat(17),
      `${"9".repeat(100_000)}MB`,
      "9999999999999999GiB",
    ],
    ...[
      "1.0000000001MB",
      "1constructor",
      "1 mb mb",
      "__proto__",
      0,
      -1,
      1.5,
      Number.NaN,
      Number.POSITIVE_INFINITY,
      2 ** 53,
    ],
    ...[
      null,
      true,
      10n,
      [],
      [128],
      {},
      { valueOf: () => 5 },
      { toString: null },
      Object.create(null),
      Symbol("MB"),
      () => 5,
    ],
  ];
  for (const size of hostile) {
    try {
      parseByteSize("budget", size);
    } catch (error) {
      assert.instance(error, ThimbleError, String(error));
      const { code, subject, message } = error as ThimbleError;
      assert.equal([code, subject], ["invalid_option", "budget"]);
      assert.ok(message.length < 200, message);
      continue;
    }
    assert.unreachable(`taken: ${String(typeof size === "object" ? "object" : size).slice(0, 50)}`);
  }
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.anything()), (size) => {
      const code = codeOf(() => parseByteSize("budget", size));
      assert.ok(code === undefined || code === "invalid_option");
    }),
    { numRuns: 500 },
  );
});

test.run();
