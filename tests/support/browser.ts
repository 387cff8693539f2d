/**
 * A headless Chromium, for tests of the Control Plane's page, and the check that the page reported no errors.
 * @module
 */
import { assertEquals } from "@std/assert";
import { type Browser, chromium, type Page } from "playwright-core";

/** Path of Chromium, which the variable `CHROMIUM` names; tests in a browser are skipped without it. */
export const CHROMIUM = Deno.env.get("CHROMIUM") ?? "";

const SCREENSHOTS = new URL("../../.cache/screenshots/", import.meta.url);

/** One page in a browser of its own; disposing it closes the browser. */
export class BrowserPage implements AsyncDisposable {
  readonly page: Page;
  readonly #browser: Browser;
  readonly #errors: string[] = [];

  private constructor(browser: Browser, page: Page) {
    this.#browser = browser;
    this.page = page;
    page.on("console", (message) => {
      if (message.type() === "error") this.#errors.push(message.text());
    });
    page.on("pageerror", (error) => this.#errors.push(String(error)));
  }

  /** Opens an address. */
  static async open(url: string, viewport = { width: 1100, height: 800 }): Promise<BrowserPage> {
    const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
    const page = new BrowserPage(browser, await browser.newPage({ viewport }));
    await page.page.goto(url);
    return page;
  }

  /** Keeps a screenshot as build output. */
  async screenshot(name: string): Promise<void> {
    await this.page.screenshot({ fullPage: true, path: new URL(`${name}.png`, SCREENSHOTS).pathname });
  }

  /** Fails if the page has logged an error. */
  expectNoErrors(): void {
    assertEquals(this.#errors, []);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#browser.close();
  }
}
