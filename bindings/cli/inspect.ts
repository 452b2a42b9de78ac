/**
 * `thimble inspect`: what a file says of itself, and whether it can run here. Reads the header only, of any architecture.
 * @module
 */
import { describeModel } from "../../host/architecture.ts";
import { type MemoryPlan, planMemory } from "../../host/budget.ts";
import { ThimbleError } from "../../host/errors.ts";
import type { GgufHeader } from "../../host/header.ts";
import { cacheConfig } from "../../host/kv-cache.ts";
import type { ModelConfig } from "../../host/model-config.ts";
import { createTokenizer } from "../../host/tokenizer.ts";
import { checkTypes } from "../../host/weights.ts";
import { openFile, readHeader } from "../node/index.ts";
import { flag } from "./arguments.ts";
import { defineCommand } from "./command.ts";
import { printHeader } from "./inspect-text.ts";
import { modelFile } from "./model-file.ts";
import { MODEL, modelPath, OUTPUT, onlyModel } from "./options.ts";
import { printJson } from "./output.ts";
import { shortenJson, summarizeTypes, type TypeSummary } from "./summary.ts";

const OPTIONS = {
  ...MODEL,
  tensors: flag("List every tensor, not only their types"),
  json: OUTPUT.json,
} as const;

/** What can be said without the weights. */
export interface Inspection {
  readonly header: GgufHeader;
  readonly parameters: number;
  readonly types: readonly TypeSummary[];
  /** Why the file cannot run here; undefined when it can. */
  readonly refusal: ThimbleError | undefined;
  /** Where the file can run. */
  readonly config: ModelConfig | undefined;
  readonly plan: MemoryPlan | undefined;
  /** Why there is no tokenizer: the file then runs on nothing that comes as text. */
  readonly tokenizerRefusal: ThimbleError | undefined;
}

export const command = defineCommand(
  {
    name: "inspect",
    summary: "show a file's metadata and tensors, and whether it can run here",
    usage: ["[MODEL] [options]"],
    about: [
      "Reads the header of MODEL, not its weights, and shows what is in the file, how this build would compute with it, the memory it would take, and if it cannot run, why.",
    ],
    examples: [
      ["thimble inspect model.gguf", "Can it run here?"],
      ["thimble inspect model.gguf --tensors", "Name, type, shape, size and place of every tensor"],
      ["thimble inspect model.gguf --json", "The same for a program"],
    ],
  },
  OPTIONS,
  async (values, positionals) => {
    const given = onlyModel(values, positionals);
    const found = await inspect(await modelFile(modelPath(values, given), false));
    if (values.json) printJson(toJson(found));
    else printHeader(found, values.tensors);
    return undefined;
  },
);

async function inspect(path: string): Promise<Inspection> {
  const source = await openFile(path);
  try {
    const header = await readHeader(source);
    let described: Pick<Inspection, "config" | "plan"> | undefined;
    const refusal = refusalOf(() => {
      const architecture = describeModel(header);
      checkTypes(header, architecture);
      const { config } = architecture;
      const sizes = { contextLength: config.trainedContext, maxRows: 64, maxOutputs: 8, cache: cacheConfig() };
      described = { config, plan: planMemory(header, architecture, "int8", sizes) };
    });
    return {
      header,
      parameters: header.tensors.reduce((sum, tensor) => sum + tensor.rows * tensor.columns, 0),
      types: summarizeTypes(header),
      refusal,
      config: described?.config,
      plan: described?.plan,
      tokenizerRefusal: refusalOf(() => createTokenizer(header.metadata, header.file)),
    };
  } finally {
    await source.close();
  }
}

function refusalOf(check: () => unknown): ThimbleError | undefined {
  try {
    check();
    return undefined;
  } catch (error) {
    if (error instanceof ThimbleError) return error;
    throw error;
  }
}

function toJson({ header, refusal, tokenizerRefusal, ...found }: Inspection): unknown {
  const { file, version, architecture, alignment, dataOffset, size } = header;
  const failure = (error: ThimbleError | undefined) => error && { code: error.code, message: error.message };
  return {
    file,
    version,
    architecture,
    alignment,
    dataOffset,
    size,
    parameters: found.parameters,
    runs: refusal === undefined,
    error: failure(refusal),
    tokenizerError: failure(tokenizerRefusal),
    config: found.config,
    memory: found.plan,
    types: found.types,
    metadata: Object.fromEntries(Object.entries(header.metadata).map(([key, value]) => [key, shortenJson(value)])),
    tensors: header.tensors.map(({ name, typeName, shape, bytes, offset }) => ({
      name,
      type: typeName,
      shape,
      bytes,
      offset,
    })),
  };
}
