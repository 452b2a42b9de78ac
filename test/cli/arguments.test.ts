/**
 * Argument lists to typed values, and token ids to numbers, without a process.
 * @module
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { readArguments, UsageError } from "../../bindings/cli/arguments.ts";
import { readIds } from "../../bindings/cli/input.ts";
import { generateOptions, memoryOptions, RUN } from "../../bindings/cli/options.ts";

const read = (...args: string[]) => readArguments(RUN, args);

test("options and arguments in any order, short, long, joined and negative", () => {
  const { values, positionals } = read(
    "model.gguf",
    "-qn5",
    "--temp",
    "0",
    "hi",
    "--min-p=0.1",
    "--repeat-last-n",
    "-1",
  );
  assert.equal(positionals, ["model.gguf", "hi"]);
  assert.equal([values.quiet, values["max-tokens"], values.temperature, values["min-p"]], [true, 5, 0, 0.1]);
  assert.is(values["repeat-last-n"], -1);
  assert.equal([values.json, values.seed, values.stop], [false, undefined, []]);
  assert.is(read("--presence-penalty", "-.5").values["presence-penalty"], -0.5);
});

test("lists collect, single options take the last", () => {
  const { values } = read(
    "--stop",
    "a",
    "--seed",
    "1",
    "--stop=--",
    "--seed",
    "2",
    "--logit-bias",
    "5=-inf",
    "--logit-bias",
    "6=2",
  );
  assert.equal(values.stop, ["a", "--"]);
  assert.is(values.seed, 2);
  assert.equal(values["logit-bias"], [
    [5, Number.NEGATIVE_INFINITY],
    [6, 2],
  ]);
});

test("after -- all is text, and - is an argument", () => {
  assert.equal(read("-", "--", "--temp", "-x").positionals, ["-", "--temp", "-x"]);
});

test("what is refused, and the allowed values", () => {
  for (const [args, message] of [
    [["--tempo", "1"], /^there is no option --tempo; the options are .*--temperature .*--stop/],
    [["-x"], /^there is no option -x/],
    [["--temp", "hot"], /^--temp takes 0, or a number from 0\.001 to 100, got "hot"/],
    [["--temp", "0.0001"], /^--temp takes 0, or/],
    [["--activations=f16"], /^--activations takes int8 or f32, got "f16"/],
    [["-n", "-1"], /^-n takes an integer from 0, got "-1"/],
    [["-n", "1.5"], /^-n takes an integer/],
    [["--seed", "99999999999999999999"], /^--seed takes an integer from 0/],
    [["--chunk", "0"], /^--chunk takes an integer from 1 to 4096/],
    [["--top-p", "NaN"], /^--top-p takes a number from 0 to 1, got "NaN"/],
    [["--top-p", ""], /^--top-p takes a number/],
    [["--logit-bias", "5"], /^--logit-bias takes a token id, =, and a number/],
    [["--stop", "--quiet"], /^--stop needs a value.*write --stop=--quiet/],
    [["--stop"], /^--stop needs a value/],
    [["--kv-group", "48"], /^--kv-group takes 32 or 64/],
    [["--kv-rotation", "yes"], /^--kv-rotation takes on or off/],
    [["--json=yes"], /^--json takes no value, got "yes"/],
  ] as const) {
    assert.throws(
      () => read(...args),
      (error: unknown) => error instanceof UsageError && message.test(error.message),
      String(args),
    );
  }
});

test("options of the cache reach the library under their own names", () => {
  const { values } = read("--kv-format", "mean,salient:2", "--kv-group", "32", "--kv-rotation", "off", "--keys", "q4");
  const expected = { keys: "q4", kvGroup: 32, kvRotation: false, kvFormat: "mean,salient:2" };
  assert.equal(memoryOptions(values), expected);
  assert.is(memoryOptions(read("--kv-rotation", "on").values).kvRotation, true);
  assert.throws(() => read("--kv-format", "mode"), /kvFormat has no "mode"; there are channels, mean, outliers, /);
  assert.throws(() => read("--kv-format", "outliers:9"), /outliers of kvFormat takes an integer from 1 to 8/);
});

test("every option of generation reaches the library under its own name", () => {
  const { values } = read(
    ...["-n", "1", "--temp", "0.2", "--top-k", "3", "--top-p", "0.4", "--min-p", "0.5", "--repeat-penalty", "1.6"],
    ...["--presence-penalty", "0.7", "--frequency-penalty", "0.8", "--repeat-last-n", "9", "--logit-bias", "10=11"],
    ...["--seed", "12", "--stop", "13", "--ignore-eos", "--special"],
  );
  assert.equal(generateOptions(values), {
    maxTokens: 1,
    temperature: 0.2,
    topK: 3,
    topP: 0.4,
    minP: 0.5,
    repetitionPenalty: 1.6,
    presencePenalty: 0.7,
    frequencyPenalty: 0.8,
    penaltyLastN: 9,
    logitBias: new Map([[10, 11]]),
    seed: 12,
    stop: ["13"],
    ignoreEos: true,
    special: true,
  });
});

test("token ids in every spelling", async () => {
  for (const spelling of ["1,2,30", "1 2 30", "[1, 2, 30]", " 1,\n2,\n30\n"]) {
    assert.equal(await readIds(spelling), [1, 2, 30]);
  }
  assert.equal(await readIds("[]"), []);
  for (const spelling of ["1;2", "[1,[2]]", "1.5", "-1", "0x10", "[1"]) {
    const error = await readIds(spelling).catch((reason: unknown) => reason);
    assert.instance(error, UsageError, spelling);
  }
});

test.run();
