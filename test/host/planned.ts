/** What tests of plans share: models, their plans, refusals. @module */
import * as assert from "uvu/assert";
import { openFile } from "../../bindings/node/file-source.ts";
import { ThimbleError, type ThimbleErrorCode } from "../../host/errors.ts";
import { readHeader } from "../../host/gguf.ts";
import type { GgufHeader } from "../../host/header.ts";
import { LADDER, type Plan, type PlanOptions } from "../../host/plan.ts";
import { plan } from "../../host/plan-source.ts";
import { DEFAULT_MODEL } from "../model/load.ts";

export const FOLDER = "test/golden/architectures";
export const SLIDING = `${FOLDER}/mistral-swa.f32.gguf`;
export const MODELS = [DEFAULT_MODEL, `${FOLDER}/llama.f32.gguf`, SLIDING, `${FOLDER}/gemma3.f32.gguf`];
export const WASM_PAGE = 65_536;
export const CHOICES = LADDER.slice(1);

export async function planOf(path: string, options: PlanOptions = {}): Promise<Plan> {
  return plan(await openFile(path), options);
}

export async function headerOf(path: string): Promise<GgufHeader> {
  const file = await openFile(path);
  try {
    return await readHeader(file);
  } finally {
    await file.close();
  }
}

export function codeOf(action: () => unknown): ThimbleErrorCode | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    assert.instance(error, ThimbleError, String(error));
    return (error as ThimbleError).code;
  }
}

export async function errorOf(promise: Promise<unknown>): Promise<ThimbleError> {
  const error = await promise.then(
    () => assert.unreachable("it was not refused"),
    (reason: unknown) => reason,
  );
  assert.instance(error, ThimbleError, String(error));
  return error as ThimbleError;
}
