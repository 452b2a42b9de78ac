/** A model file (format.ts): its header and sections into memory, everything in them checked. */
import { checksum } from "../kernels/checksum";
import { openChat } from "./chat";
import { Format, HeaderAt } from "./format";
import { answer, Exit, exit, need, put, putBytes, readSome } from "./io";
import { checkModelConfig, vocabularySize } from "./model-config";
import { fileSize, openPath } from "./path";
import { nTokens, openTokenizer } from "./tokenizer";
import { readWeights } from "./weights";

const GGUF: u32 = 0x46554747;
const MOST_SECTIONS: u64 = 0x40000000;
const MOST_WEIGHTS: u64 = 0x100000000;

let name: usize = 0;
let nameLength: u32 = 0;
let fd: u32 = 0;
let header: usize = 0;
let sections: usize = 0;

/** Ends the command with what is wrong with the file. */
export function refuseFile(message: string): void {
  put("thimble: ");
  putBytes(name, nameLength);
  put(": ");
  put(message);
  exit(Exit.FAILED);
}

function isSum(from: usize, bytes: u32, sum: u64): bool {
  checksum(answer(), from, bytes >> 2, Format.SEED);
  return load<u64>(answer()) == sum;
}

function readHeader(): void {
  const size = fileSize(fd);
  header = need(HeaderAt.END);
  const got = readSome(fd, header, HeaderAt.END);
  if (got < 0) refuseFile("the file could not be read");
  if (got >= 4 && load<u32>(header) == GGUF) refuseFile("this is a GGUF file; make it ready with: thimble pack --wasi MODEL.gguf -o FILE");
  if (got < 8 || load<u32>(header) != Format.MAGIC_LOW || load<u32>(header, 4) != Format.MAGIC_HIGH)
    refuseFile("this is no file of thimble pack --wasi");
  if (got < HeaderAt.END) refuseFile("it ends within its header");
  if (load<u32>(header, HeaderAt.VERSION) != Format.VERSION) refuseFile("it has another version of the format; pack the model again");
  if (!isSum(header, HeaderAt.HEADER_SUM, load<u64>(header, HeaderAt.HEADER_SUM))) refuseFile("its header was changed");
  if (load<u32>(header, HeaderAt.CONTRACT) != Format.CONTRACT) refuseFile("it was made for another numeric contract; pack the model again");
  let promised: u64 = HeaderAt.END;
  for (let at: usize = HeaderAt.CONFIG_BYTES; at <= <usize>HeaderAt.INDEX_BYTES; at += 4) {
    if ((load<u32>(header + at) & 3) != 0) refuseFile("its header has a size that makes no sense");
    promised += load<u32>(header + at);
  }
  if (load<u64>(header, HeaderAt.WEIGHT_BYTES) > MOST_WEIGHTS) refuseFile("its header has a size that makes no sense");
  promised += load<u64>(header, HeaderAt.WEIGHT_BYTES);
  // Before any memory is taken for what is not there.
  if (size != u64.MAX_VALUE && size < promised) refuseFile("it ends too early: it was cut");
  if (size != u64.MAX_VALUE && size > promised) refuseFile("it goes on behind its end");
}

/** Opens a file, and takes over its configuration, tokenizer and chat template. */
export function openModel(path: usize, length: u32): void {
  name = path;
  nameLength = length;
  fd = openPath(path, length);
  readHeader();
  const configBytes = load<u32>(header, HeaderAt.CONFIG_BYTES);
  const tokenizerBytes = load<u32>(header, HeaderAt.TOKENIZER_BYTES);
  const chatBytes = load<u32>(header, HeaderAt.CHAT_BYTES);
  const all = <u64>configBytes + tokenizerBytes + chatBytes + load<u32>(header, HeaderAt.INDEX_BYTES);
  if (all > MOST_SECTIONS) refuseFile("its sections are larger than any model's");
  sections = need(all);
  if (readSome(fd, sections, all) != <i64>all) refuseFile("it ends within its sections");
  if (!isSum(sections, <u32>all, load<u64>(header, HeaderAt.SECTIONS_SUM))) refuseFile("its sections were changed");
  let problem = checkModelConfig(sections, configBytes);
  if (problem == "") problem = openTokenizer(sections + configBytes, tokenizerBytes);
  if (problem == "") problem = openChat(sections + configBytes + tokenizerBytes, chatBytes);
  if (problem == "" && nTokens() > vocabularySize()) problem = "its vocabulary has more tokens than its embedding";
  if (problem != "") refuseFile(problem);
}

/** Reads the weights, after the layout. */
export function readModel(): void {
  const indexBytes = load<u32>(header, HeaderAt.INDEX_BYTES);
  const all = load<u32>(header, HeaderAt.CONFIG_BYTES) + load<u32>(header, HeaderAt.TOKENIZER_BYTES) + load<u32>(header, HeaderAt.CHAT_BYTES);
  const problem = readWeights(fd, sections + all, indexBytes, load<u64>(header, HeaderAt.WEIGHT_BYTES));
  if (problem != "") refuseFile(problem);
  if (readSome(fd, answer(), 1) != 0) refuseFile("it goes on behind its end");
}
