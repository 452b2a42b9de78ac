/**
 * What a binding's `loadModel` and `plan` are given: a location that only the host understands, or bytes in some form.
 * @module
 */
import type { Platform } from "./platform.ts";
import type { ByteSource, ModelSource } from "./source.ts";
import { openSource } from "./sources.ts";

/** @throws ThimbleError source_unreadable, invalid_option; the signal's reason */
export async function openLocation(
  platform: Platform,
  source: string | URL | ModelSource,
  signal?: AbortSignal,
): Promise<ByteSource> {
  const isLocation = typeof source === "string" || source instanceof URL;
  return isLocation ? platform.open(String(source), signal) : openSource(source);
}
