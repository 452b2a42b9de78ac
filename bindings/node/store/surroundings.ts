/**
 * What the environment says about downloads, with the variables of the hub's own tools: HF_HUB_CACHE,
 * HUGGINGFACE_HUB_CACHE, HF_HOME, XDG_CACHE_HOME (where files are), HF_ENDPOINT (a mirror), HF_TOKEN (gated and private
 * repositories), HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE (use no network).
 * @module
 */
import { homedir } from "node:os";
import { join } from "node:path";
import { ThimbleError } from "../../../host/errors.ts";

export interface Surroundings {
  /** The cache that is shared with the hub's own tools. */
  readonly hubCache: string;
  /** What does not come from the hub, and what Thimble notes down about files. */
  readonly store: string;
  /** Without a slash at its end. */
  readonly endpoint: string;
  /** For `endpoint` only. */
  readonly token: string | undefined;
  readonly isOffline: boolean;
}

/** @throws ThimbleError invalid_option when HF_ENDPOINT or HF_TOKEN cannot be used */
export async function readSurroundings(): Promise<Surroundings> {
  const { env } = process;
  // The library is large (0.1 s): loaded by those who get here only.
  const { HUB_URL, getHFHubCachePath } = await import("@huggingface/hub");
  return {
    hubCache: getHFHubCachePath(),
    store: join(env.XDG_CACHE_HOME || join(homedir(), ".cache"), "thimble"),
    endpoint: checkEndpoint(env.HF_ENDPOINT || HUB_URL),
    token: checkToken(env.HF_TOKEN),
    isOffline: isTrue(env.HF_HUB_OFFLINE) || isTrue(env.TRANSFORMERS_OFFLINE),
  };
}

function isTrue(value: string | undefined): boolean {
  return value !== undefined && /^(?:1|on|yes|true)$/i.test(value);
}

function checkEndpoint(given: string): string {
  const url = URL.canParse(given) ? new URL(given) : undefined;
  if (url !== undefined && /^https?:$/.test(url.protocol) && url.search === "" && url.username === "") {
    return given.replace(/\/+$/, "");
  }
  const message = "HF_ENDPOINT must be an http or https address without a query or user name";
  throw new ThimbleError("invalid_option", message, { name: "HF_ENDPOINT" });
}

function checkToken(given: string | undefined): string | undefined {
  const token = given?.trim();
  if (token === undefined || token === "") return undefined;
  // The message does not repeat it.
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  throw new ThimbleError("invalid_option", "HF_TOKEN has characters that no token has", { name: "HF_TOKEN" });
}

/** @throws ThimbleError offline */
export function requireNetwork({ isOffline }: Surroundings, what: string): void {
  if (!isOffline) return;
  const message = `"${what}" is not on this machine, and HF_HUB_OFFLINE forbids the network; pull it while online`;
  throw new ThimbleError("offline", message, { name: what });
}
