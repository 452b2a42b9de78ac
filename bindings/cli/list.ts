/**
 * `thimble list`: what models are on this machine.
 * @module
 */
import { listModels } from "../node/store/index.ts";
import { flag, UsageError } from "./arguments.ts";
import { defineCommand, EXIT } from "./command.ts";
import { OUTPUT } from "./options.ts";
import { formatBytes, printJson, printText } from "./output.ts";
import { formatTable } from "./table.ts";

const OPTIONS = {
  verify: flag("Read every file and compare its SHA-256; exit code 1 if one is damaged"),
  json: OUTPUT.json,
} as const;

export const command = defineCommand(
  {
    name: "list",
    summary: "show the models on this machine",
    usage: ["[options]"],
    about: [
      "Shows the model in the package, the models that were pulled, and every GGUF file in the cache of the hub's own tools, with its size, where it is from and its state: verified (it had the SHA-256 it should have, and has not changed since), unchecked (nobody has compared it yet, or there is nothing to compare it to), damaged, or incomplete.",
    ],
    examples: [
      ["thimble list", "Name, size, state, source and path"],
      ["thimble list --verify", "Are all of them still as they came?"],
    ],
  },
  OPTIONS,
  async ({ verify, json }, positionals) => {
    if (positionals.length > 0) throw new UsageError(`list takes no arguments, got "${positionals[0]}"`);
    const models = await listModels({ verify });
    if (json) printJson({ models: models.map((model) => ({ ...model, verified: model.state === "verified" })) });
    else {
      const rows = models.map(({ name, bytes, state, from, path }) => [name, formatBytes(bytes), state, from, path]);
      const head = ["name", "size", "state", "from", "path"];
      printText(formatTable(head, ["left", "right", "left", "left", "left"], rows));
    }
    return verify && models.some(({ state }) => state === "damaged") ? EXIT.failed : undefined;
  },
);
