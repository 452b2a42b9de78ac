/**
 * The few commands of WebDriver (https://www.w3.org/TR/webdriver2/) that driving a page takes, for WebKitGTK's
 * WebKitWebDriver and MiniBrowser under Xvfb.
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createServer } from "node:net";

export interface WebDriver {
  readonly version: string;
  open(url: string): Promise<void>;
  /** Runs the body of a function whose last argument takes the result; undefined where the page was lost. */
  run(body: string, ...args: unknown[]): Promise<unknown>;
  /** Presses and releases keys, one after the other; WebDriver's codes stand for those without a character. */
  keys(text: string): Promise<void>;
  /** Another tab is in front for a time, and closed again. */
  away(milliseconds: number): Promise<void>;
  /** Makes the window as large as the screen lets it be. */
  resize(width: number, height: number): Promise<void>;
  /** A PNG of what is seen. */
  screenshot(): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** Milliseconds that one script of a page may take. */
const SCRIPT_MS = 240_000;

/** @param program WebKitWebDriver @param browser MiniBrowser */
export async function openWebKit(program: string, browser: string): Promise<WebDriver> {
  const screen = await startXvfb();
  const port = await freePort();
  const driver = spawn(program, [`--port=${port}`], {
    stdio: "ignore",
    env: { ...process.env, DISPLAY: screen.display, WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS: "1" },
  });
  const send = async (method: string, path: string, body?: object): Promise<unknown> => {
    const request = body === undefined ? { method } : { method, body: JSON.stringify(body) };
    const response = await fetch(`http://127.0.0.1:${port}${path}`, request);
    const { value } = (await response.json()) as { value: { error?: string; message?: string } | null };
    if (!response.ok) throw new Error(`${path}: ${value?.error} ${value?.message}`);
    return value;
  };
  await until(() => send("GET", "/status"));
  const alwaysMatch = { "webkitgtk:browserOptions": { binary: browser, args: ["--automation"] } };
  const { sessionId, capabilities } = (await send("POST", "/session", { capabilities: { alwaysMatch } })) as {
    sessionId: string;
    capabilities: { browserName: string; browserVersion: string };
  };
  const session = `/session/${sessionId}`;
  await send("POST", `${session}/timeouts`, { script: SCRIPT_MS });
  return {
    version: `${capabilities.browserName} ${capabilities.browserVersion}`,
    open: async (url) => void (await send("POST", `${session}/url`, { url })),
    run: (script, ...args) => send("POST", `${session}/execute/async`, { script, args }),
    async keys(text) {
      const actions = [...text].flatMap((value) => ["keyDown", "keyUp"].map((type) => ({ type, value })));
      await send("POST", `${session}/actions`, { actions: [{ type: "key", id: "keyboard", actions }] });
    },
    async away(milliseconds) {
      const own = await send("GET", `${session}/window`);
      const { handle } = (await send("POST", `${session}/window/new`, { type: "tab" })) as { handle: string };
      await send("POST", `${session}/window`, { handle });
      await new Promise((resolve) => setTimeout(resolve, milliseconds));
      await send("DELETE", `${session}/window`);
      await send("POST", `${session}/window`, { handle: own });
    },
    resize: async (width, height) => void (await send("POST", `${session}/window/rect`, { width, height })),
    screenshot: async () => Buffer.from((await send("GET", `${session}/screenshot`)) as string, "base64"),
    async close() {
      await send("DELETE", session).catch(() => {});
      driver.kill();
      screen.process.kill();
    },
  };
}

/** A screen of its own: the server picks a free number. */
async function startXvfb(): Promise<{ process: ChildProcess; display: string }> {
  const process = spawn("Xvfb", ["-displayfd", "1", "-screen", "0", "1024x768x24"], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  const display = await new Promise<string>((resolve, reject) => {
    process.on("error", reject);
    process.stdout!.setEncoding("utf8").once("data", (text: string) => resolve(`:${text.trim()}`));
  });
  return { process, display };
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

async function until(attempt: () => Promise<unknown>): Promise<void> {
  for (let left = 50; ; --left) {
    try {
      await attempt();
      return;
    } catch (error) {
      if (left === 0) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}
