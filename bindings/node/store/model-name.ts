/**
 * What a user can call a model: a name of the catalog, a file of the hub (`org/repo/file.gguf`, `org/repo@revision/file.gguf`,
 * with folders in between), or an https address. Every part becomes a part of a path on disk, so parts that could mean
 * another place (`..`, absolute paths, hidden files, other separators, control characters) are refused here, once.
 * @module
 */
import { ThimbleError } from "../../../host/errors.ts";
import { CATALOG, type CatalogEntry } from "./catalog.ts";

export interface CatalogName {
  readonly kind: "catalog";
  readonly entry: CatalogEntry;
}

export interface HubName {
  readonly kind: "hub";
  /** `organisation/name`. */
  readonly repo: string;
  /** Branch, tag or commit as given. */
  readonly revision: string | undefined;
  /** Path inside the repository, with forward slashes. */
  readonly file: string;
}

export interface UrlName {
  readonly kind: "url";
  readonly url: URL;
  /** Last part of the path. */
  readonly file: string;
}

export type ModelName = CatalogName | HubName | UrlName;

const MAX_NAME = 1024;
/** As the hub has them: no separator at either end. */
const REPO_PART = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?$/;
const REVISION = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
/** No hidden files and with that neither `.` nor `..`. */
const FILE_PART = /^[A-Za-z0-9_+=][A-Za-z0-9._+=-]{0,199}$/;
const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/;

/**
 * Reads a name.
 * @throws ThimbleError invalid_option when it is no name, not_found when the catalog has none like it
 */
export function parseModelName(name: string, catalog: readonly CatalogEntry[] = CATALOG): ModelName {
  if (name.length > MAX_NAME) throw refuse(name.slice(0, 60), `a model's name has at most ${MAX_NAME} characters`);
  const entry = catalog.find((one) => one.name === name);
  if (entry !== undefined) return { kind: "catalog", entry };
  if (/^[A-Za-z][A-Za-z0-9+.-]*:\/\//.test(name)) return parseUrl(name);
  if (name.includes("/") || name.includes("\\")) return parseHubName(name);
  if (!REPO_PART.test(name)) throw refuse(name, NAME_FORMS);
  const known = catalog.map((one) => one.name).join(", ");
  throw new ThimbleError("not_found", `the catalog has no model "${name}"; it has ${known}; ${NAME_FORMS}`, { name });
}

const NAME_FORMS =
  "a model is named by the catalog, as org/repo/file.gguf or org/repo@revision/file.gguf on the hub, or by an https address";

/** Whether a text has the form of a model's name. Says nothing about whether there is such a model. */
export function isModelName(text: string, catalog: readonly CatalogEntry[] = CATALOG): boolean {
  try {
    parseModelName(text, catalog);
    return true;
  } catch {
    return false;
  }
}

/** How a name is shown and told apart: without a query, which may carry keys. */
export function canonicalName(name: ModelName): string {
  if (name.kind === "catalog") return name.entry.name;
  if (name.kind === "url") return name.url.origin + name.url.pathname;
  return hubLabel(name.repo, name.revision, name.file);
}

export function hubLabel(repo: string, revision: string | undefined, file: string): string {
  return revision === undefined ? `${repo}/${file}` : `${repo}@${revision}/${file}`;
}

function parseHubName(name: string): HubName {
  const [org = "", rest = "", ...folders] = name.split("/");
  const [repo = "", revision, ...more] = rest.split("@");
  const file = folders.join("/");
  if (more.length > 0 || folders.length === 0) throw refuse(name, NAME_FORMS);
  checkRepo(`${org}/${repo}`, name);
  if (revision !== undefined) checkRevision(revision, name);
  checkFile(file, name);
  return { kind: "hub", repo: `${org}/${repo}`, revision, file };
}

/** @throws ThimbleError invalid_option; `shown` is the whole name */
export function checkRepo(repo: string, shown: string): void {
  const parts = repo.split("/");
  const isGood =
    parts.length === 2 &&
    parts.every((part) => REPO_PART.test(part) && !/--|\.\./.test(part)) &&
    !repo.endsWith(".git");
  if (!isGood) throw refuse(shown, `"${repo}" is not the name of a repository (org/repo)`);
}

/** @throws ThimbleError invalid_option */
export function checkRevision(revision: string, shown: string): void {
  if (!REVISION.test(revision) || revision.includes("..")) {
    throw refuse(shown, `"${revision}" is not a branch, tag or commit`);
  }
}

/** A .gguf file below a folder. @throws ThimbleError invalid_option */
export function checkFile(file: string, shown: string): void {
  const parts = file.split("/");
  if (!parts.every((part) => FILE_PART.test(part) && !part.includes(".."))) {
    throw refuse(shown, `"${file}" is not a file's path of letters, digits and . _ + = - inside a repository`);
  }
  if (!/\.gguf$/i.test(file)) throw refuse(shown, `"${file}" is not a .gguf file`);
}

function parseUrl(name: string): UrlName {
  const url = URL.canParse(name) ? new URL(name) : undefined;
  if (url === undefined) throw refuse(name, "this is not an address");
  const isSafe = url.protocol === "https:" || (url.protocol === "http:" && LOOPBACK.test(url.hostname));
  if (!isSafe) throw refuse(name, "only https addresses are fetched");
  if (url.username !== "" || url.password !== "") {
    throw refuse(url.host, "an address with a user name or password is not taken");
  }
  const file = decodeURIComponentOr(url.pathname.split("/").at(-1) ?? "");
  checkFile(file, url.origin + url.pathname);
  if (url.pathname.slice(1).split("/").includes("")) throw refuse(name, "the address has an empty part");
  url.hash = "";
  return { kind: "url", url, file };
}

function decodeURIComponentOr(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function refuse(name: string, message: string): ThimbleError {
  return new ThimbleError("invalid_option", `"${name}": ${message}`, { name });
}
