/**
 * Places to keep capsules on Node: files and memory here, all else by the drivers of `unstorage` (docs/capsule.md).
 * @module
 */
import { createStorage } from "unstorage";
import fsDriver from "unstorage/drivers/fs";
import memoryDriver from "unstorage/drivers/memory";
import { type CapsuleStore, capsuleStore } from "../../host/capsule/store.ts";

export * from "../../host/capsule/store.ts";

/** Capsules in files below a folder, which is made when it is needed. */
export function fileCapsules(folder: string): CapsuleStore {
  return capsuleStore(createStorage({ driver: fsDriver({ base: folder }) }));
}

/** Capsules in this process's memory. */
export function memoryCapsules(): CapsuleStore {
  return capsuleStore(createStorage({ driver: memoryDriver() }));
}
