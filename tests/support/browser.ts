/**
 * A headless Chromium, for tests of the Control Plane's page, and the check that the page reported no errors and stayed on this machine.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { type Browser, chromium, type Page } from "playwright-core";

/** Path of Chromium, which the variable `CHROMIUM` names; tests in a browser are skipped without it. */
export const CHROMIUM = Deno.env.get("CHROMIUM") ?? "";

const SCREENSHOTS = new URL("../../.cache/screenshots/", import.meta.url);

const IMAGES = new URL("../../docs/images/", import.meta.url);
/** Part of an image that names, times and other fonts take at most. */
const MAX_DIFFERING = 0.02;
/** The part of two images that differs. A text, because the test itself is checked without the types of a browser. */
const differingPixels = `async (...images) => {
  const [one, other] = await Promise.all(images.map(async (base64) => {
    const image = new Image();
    image.src = "data:image/png;base64," + base64;
    await image.decode();
    const { width, height } = image;
    const context = Object.assign(document.createElement("canvas"), { width, height }).getContext("2d");
    context.drawImage(image, 0, 0);
    return new Uint32Array(context.getImageData(0, 0, width, height).data.buffer);
  }));
  if (one.length !== other.length) return 1;
  return one.filter((pixel, i) => pixel !== other[i]).length / one.length;
}`;

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
    page.on("request", (request) => {
      const { protocol, hostname } = new URL(request.url());
      const isLocal = ["data:", "blob:"].includes(protocol) || /(^|\.)localhost$/.test(hostname);
      if (!isLocal) this.#errors.push(`a request to ${hostname}`);
    });
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

  /** Keeps a screenshot, and fails if the documentation's image of that name differs in more than names and times. */
  async documented(name: string): Promise<void> {
    await this.screenshot(name);
    const [image, screenshot] = await Promise.all(
      [IMAGES, SCREENSHOTS].map(async (folder) =>
        (await Deno.readFile(new URL(`${name}.png`, folder))).toBase64()
      ),
    );
    const differing = await this.page.evaluate<number>(`(${differingPixels})("${image}", "${screenshot}")`);
    assert(
      differing < MAX_DIFFERING,
      `docs/images/${name}.png is outdated (${differing}): replace it by .cache/screenshots/${name}.png`,
    );
  }

  /** Fails if the page has logged an error, or sent a request to another host. */
  expectNoErrors(): void {
    assertEquals(this.#errors, []);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#browser.close();
  }
}
