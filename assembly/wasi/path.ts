/** Finds a file in the folders that the host has opened beforehand: names are taken from "/", where a command of WASI begins. */
import { answer, Exit, exit, fail, need, put, putBytes, putNumber } from "./io";
import { fd_filestat_get, fd_prestat_dir_name, fd_prestat_get, path_open } from "./preview1";

const FIRST_FOLDER: u32 = 3;
/** Folders that are looked at, at most. */
const MOST_FOLDERS: u32 = 1 << 12;
const MOST_NAME: u32 = 1 << 12;

const SYMLINK_FOLLOW: u32 = 1;
/** fd_read, fd_filestat_get. */
const RIGHTS: u64 = (1 << 1) | (1 << 21);
const ENOENT: u32 = 44;
const DIRECTORY: u8 = 3;
const REGULAR_FILE: u8 = 4;

/** Bytes of "/" and "./" in front of a name. */
function lead(name: usize, n: u32): u32 {
  let i: u32 = 0;
  for (; i < n; ++i) {
    const byte = load<u8>(name + i);
    const isDot = byte == 46 && (i + 1 == n || load<u8>(name + i, 1) == 47);
    if (byte != 47 && !isDot) break;
  }
  return i;
}

/** A descriptor for reading a file; without one the command ends. */
export function openPath(path: usize, n: u32): u32 {
  const skip = lead(path, n);
  const wanted = path + skip;
  const length = n - skip;
  const name = need(MOST_NAME);
  let folder: u32 = 0;
  let prefix: u32 = 0;
  for (let fd = FIRST_FOLDER; fd < FIRST_FOLDER + MOST_FOLDERS && fd_prestat_get(fd, answer()) == 0; ++fd) {
    const bytes = load<u32>(answer(), 4);
    if (load<u8>(answer()) != 0 || bytes > MOST_NAME || fd_prestat_dir_name(fd, name, bytes) != 0) continue;
    const from = lead(name, bytes);
    let size = bytes - from;
    while (size > 0 && load<u8>(name + from + size - 1) == 47) --size;
    const fits = size == 0 || (size < length && load<u8>(wanted + size) == 47 && memory.compare(name + from, wanted, size) == 0);
    if (!fits || (folder != 0 && size <= prefix)) continue;
    folder = fd;
    prefix = size;
  }
  if (folder == 0) refuse(path, n, "no opened folder holds it; give the command its folder (a preopen)", 0);
  while (prefix < length && load<u8>(wanted + prefix) == 47) ++prefix;
  const errno = path_open(folder, SYMLINK_FOLLOW, wanted + prefix, length - prefix, 0, RIGHTS, 0, 0, answer());
  if (errno == ENOENT) refuse(path, n, "there is no such file", 0);
  if (errno != 0) refuse(path, n, "the file could not be opened, error ", errno);
  return load<u32>(answer());
}

function refuse(path: usize, n: u32, message: string, errno: u32): void {
  put("thimble: ");
  putBytes(path, n);
  put(": ");
  put(message);
  if (errno != 0) putNumber(errno);
  exit(Exit.FAILED);
}

/** Bytes of a file, u64.MAX_VALUE where it does not say. */
export function fileSize(fd: u32): u64 {
  const stat = need(64);
  if (fd_filestat_get(fd, stat) != 0) return u64.MAX_VALUE;
  if (load<u8>(stat, 16) == DIRECTORY) fail("the model is a folder; give a file");
  return load<u8>(stat, 16) == REGULAR_FILE ? load<u64>(stat, 32) : u64.MAX_VALUE;
}
