/**
 * `thimble rm`: a model off this machine.
 * @module
 */
import { removeModel } from "../node/store/index.ts";
import { UsageError } from "./arguments.ts";
import { defineCommand } from "./command.ts";
import { OUTPUT } from "./options.ts";
import { formatBytes, oneLine, printJson, printText } from "./output.ts";

export const command = defineCommand(
  {
    name: "rm",
    summary: "remove a model from this machine",
    usage: ["MODEL [options]"],
    about: [
      "Removes what thimble list shows under the name MODEL: its file, in the cache of the hub also the links to it, and what an unfinished download left. Says what was removed and how many bytes that gave back. What another file of the cache still uses stays.",
    ],
    examples: [["thimble rm smollm2-135m", "Remove a model of the catalog"]],
  },
  { json: OUTPUT.json },
  async ({ json }, positionals) => {
    const [name] = positionals;
    if (name === undefined) throw new UsageError("there is nothing to remove; give a MODEL");
    if (positionals.length > 1) throw new UsageError(`there are ${positionals.length} arguments, one MODEL is taken`);
    const removed = await removeModel(name);
    if (json) printJson(removed);
    else {
      for (const path of removed.paths) printText(`${oneLine(path)}\n`);
      printText(`removed ${removed.name}: ${removed.bytes} bytes (${formatBytes(removed.bytes)})\n`);
    }
    return undefined;
  },
);
