/**
 * `deno task dev` with its page in a browser.
 * @module
 */
import type { Page } from "playwright-core";
import { Background } from "./background.ts";
import { BrowserPage } from "./browser.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** A running `deno task dev`, and the browser that shows its page. */
export interface DevPage extends AsyncDisposable {
  readonly url: string;
  readonly browser: BrowserPage;
  readonly page: Page;
}

/** Options of {@linkcode openDevPage}. */
export interface DevPageOptions {
  /** Arguments of `deno task dev`. */
  readonly args?: string;
  readonly viewport?: { readonly width: number; readonly height: number };
}

/** Runs `deno task dev` and opens its page. */
export async function openDevPage({ args = "", viewport }: DevPageOptions = {}): Promise<DevPage> {
  await using opening = new AsyncDisposableStack();
  const env = { NO_COLOR: "1" };
  const command = `${Deno.execPath()} run -P=dev dev/dev.ts --port=0 ${args}`;
  const program = opening.use(Background.start(command, { cwd: ROOT, env }));
  // It ends the agent.
  opening.defer(() => program.stop());
  const [, url = ""] = await program.output(/StreamSpace runs at (\S+)/);
  const browser = opening.use(await BrowserPage.open(url, viewport));
  const stack = opening.move();
  return { url, browser, page: browser.page, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

/** Starts a session with the form and returns its id. */
export async function startSession(page: Page, template = "firefox"): Promise<string> {
  await page.locator("select[name=agent] option").first().waitFor({ state: "attached" });
  await page.fill("input[name=template]", template);
  const sent = page.waitForRequest(/\/command$/);
  await page.getByRole("button", { name: "Start", exact: true }).click();
  const { sessionId } = (await sent).postDataJSON();
  await page.locator(`[data-session=${sessionId}]`).waitFor();
  return sessionId;
}
