/**
 * `thimble pull`: a model onto this machine.
 * @module
 */
import { CATALOG } from "../node/store/index.ts";
import { flag, single, text, UsageError } from "./arguments.ts";
import { defineCommand } from "./command.ts";
import { pullModel } from "./model-file.ts";
import { OUTPUT } from "./options.ts";
import { formatBytes, note, printJson, printText } from "./output.ts";

const OPTIONS = {
  sha256: single(text("HEX"), "The SHA-256 that the file must have"),
  offline: flag("Use no network; fails if the model is not on this machine"),
  ...OUTPUT,
} as const;

export const command = defineCommand(
  {
    name: "pull",
    summary: "fetch a model and check it",
    usage: ["MODEL [options]"],
    about: [
      `MODEL is a name of the catalog (${CATALOG.map(({ name }) => name).join(", ")}), a file of the hub (org/repo/file.gguf, or org/repo@revision/file.gguf), or an https address. Prints the path of the file.`,
      "A download that was cut off goes on where it stopped. What comes is held to its SHA-256 where one is known. Files of the hub go to the cache that the hub's own tools use, and are found there; a model that is on this machine is not asked for again.",
    ],
    examples: [
      ["thimble pull smollm2-135m", "A model of the catalog"],
      ["thimble pull org/repo/model.Q4_0.gguf", "A file of the hub"],
      ['thimble run -m "$(thimble pull -q smollm2-135m)" "Hello!"', "Its path in a script"],
    ],
  },
  OPTIONS,
  async (values, positionals) => {
    const [name] = positionals;
    if (name === undefined) throw new UsageError("there is nothing to pull; give a MODEL");
    if (positionals.length > 1) throw new UsageError(`there are ${positionals.length} arguments, one MODEL is taken`);
    const { sha256, offline, quiet, json } = values;
    const model = await pullModel(name, { sha256, offline }, quiet);
    if (json) {
      const { isNew, ...rest } = model;
      printJson({ ...rest, new: isNew });
      return undefined;
    }
    if (!quiet) {
      note(`thimble: ${model.name}: ${formatBytes(model.bytes)}${model.isNew ? "" : ", on this machine already"}`);
    }
    printText(`${model.path}\n`);
    return undefined;
  },
);
