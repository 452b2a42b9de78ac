/**
 * A GGUF header as data: metadata and the tensor table, from any byte source, with every offset, size and count checked
 * against the file before anyone uses it. Only the header is read, never the tensors' data.
 * https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 *
 * `@huggingface/gguf` parses; `gguf-layout.ts` has walked the header first. Deviation from GGUF: version 1, big-endian
 * files, arrays of arrays and tensors without a dimension are refused.
 * @module
 */

import { type GGUFTensorInfo, gguf } from "@huggingface/gguf";
import { ThimbleError } from "./errors.ts";
import { type GgufLayout, readLayout } from "./gguf-layout.ts";
import { checkEnd, type GgufHeader, type TensorInfo } from "./header.ts";
import { type Metadata, metadataInteger, metadataString } from "./metadata.ts";
import type { ByteSource } from "./source.ts";
import { tensorType } from "./tensor-type.ts";

const DEFAULT_ALIGNMENT = 32;
const MAX_ALIGNMENT = 65_536;
/** The library wants an address; ".invalid" is reserved (RFC 2606), and the `fetch` we pass never looks at it. */
const ADDRESS = "https://model.invalid/";

/**
 * Reads the header of `source`; a sequential source keeps what was read until the caller releases it.
 * @throws ThimbleError bad_magic, truncated_file, malformed_file, unsupported_type, missing_metadata, source_unreadable;
 * the signal's reason when aborted
 */
export async function readHeader(source: ByteSource, signal?: AbortSignal): Promise<GgufHeader> {
  const layout = await readLayout(source, signal);
  const parsed = await parse(layout, source.name);
  const file = source.name;
  const metadata: Metadata = Object.assign(Object.create(null), parsed.metadata, Object.fromEntries(layout.decoded));
  const holder = { metadata, file };
  const alignment = metadataInteger(holder, "general.alignment", {
    default: DEFAULT_ALIGNMENT,
    min: 1,
    max: MAX_ALIGNMENT,
  });
  if ((alignment & (alignment - 1)) !== 0) {
    throw malformed(file, `general.alignment is ${alignment}, which is not a power of two`, "general.alignment");
  }
  const dataOffset = Math.ceil(layout.headerBytes / alignment) * alignment;
  const tensors = parsed.tensors
    .map((info) => readTensor(file, info, dataOffset, alignment))
    .sort((a, b) => a.offset - b.offset);
  checkDistinct(file, tensors);
  const architecture = metadataString(holder, "general.architecture");
  const { version } = layout;
  const header = { file, version, metadata, tensors, dataOffset, size: source.size, alignment, architecture };
  if (header.size !== undefined) checkEnd(header, header.size);
  return header;
}

interface Parsed {
  readonly metadata: Record<string, unknown>;
  readonly tensors: readonly GGUFTensorInfo[];
}

/** The library over the reduced header, which is in memory: its range requests are answered from there. */
async function parse(layout: GgufLayout, file: string): Promise<Parsed> {
  const serve = async (_address: unknown, init?: RequestInit): Promise<Response> => {
    const { Range } = { ...init?.headers } as { Range?: string };
    const [start, last] = /(\d+)-(\d+)$/
      .exec(Range ?? "")!
      .slice(1)
      .map(Number);
    const piece = layout.reduced.slice(start, last! + 1);
    // The two members that the library uses. The first real Response loads Node's HTTP client, which takes 45 ms.
    return { headers: new Map<string, string>(), arrayBuffer: async () => piece.buffer } as unknown as Response;
  };
  try {
    const { metadata, tensorInfos } = await gguf(ADDRESS, { fetch: serve });
    const own: Record<string, unknown> = { ...metadata };
    // The library puts these three in; a file's own key of that name has overwritten one, and stays.
    for (const key of ["version", "tensor_count", "kv_count"]) if (!layout.keys.has(key)) delete own[key];
    return { metadata: own, tensors: tensorInfos };
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new ThimbleError("malformed_file", `its header could not be parsed (${reason})`, { file, cause });
  }
}

function readTensor(file: string, info: GGUFTensorInfo, dataOffset: number, alignment: number): TensorInfo {
  const { name } = info;
  const type = tensorType(info.dtype);
  if (type === undefined) {
    const message = `tensor "${name}" has ggml type ${info.dtype}, which this build does not know`;
    throw new ThimbleError("unsupported_type", message, { file, name });
  }
  const shape = info.shape.map(Number);
  const label = `tensor "${name}" of shape [${shape.join(", ")}]`;
  const [columns = 0, ...others] = shape;
  if (shape.some((length) => length < 1)) throw malformed(file, `${label} has an empty dimension`, name);
  if (columns % type.blockLength !== 0) {
    const message = `${label} has type ${type.name}, whose rows are multiples of ${type.blockLength} values`;
    throw malformed(file, message, name);
  }
  const rows = others.reduce((product, length) => product * length, 1);
  const bytes = rows * (columns / type.blockLength) * type.blockBytes;
  const offset = dataOffset + Number(info.offset);
  // A product that was rounded on the way is beyond 53 bits at the end too.
  if (![rows * columns, bytes, offset + bytes].every(Number.isSafeInteger)) {
    throw malformed(file, `${label} is too large to address`, name);
  }
  if (Number(info.offset) % alignment !== 0) {
    throw malformed(file, `${label} begins at data byte ${info.offset}, which is not aligned to ${alignment}`, name);
  }
  return { name, type: type.id, typeName: type.name, shape, rows, columns, offset, bytes };
}

/** No name twice, no byte in two tensors. */
function checkDistinct(file: string, tensors: readonly TensorInfo[]): void {
  const names = new Set<string>();
  let before: TensorInfo | undefined;
  for (const tensor of tensors) {
    const { name } = tensor;
    if (names.has(name)) throw malformed(file, `tensor "${name}" appears twice`, name);
    if (before !== undefined && before.offset + before.bytes > tensor.offset) {
      throw malformed(file, `tensors "${before.name}" and "${name}" overlap`, name);
    }
    names.add(name);
    before = tensor;
  }
}

function malformed(file: string, message: string, name: string): ThimbleError {
  return new ThimbleError("malformed_file", message, { file, name });
}
