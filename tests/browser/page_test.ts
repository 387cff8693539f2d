import { assert, assertEquals } from "@std/assert";
import type { Page } from "playwright-core";
import { BrowserPage, CHROMIUM } from "../support/browser.ts";
import { Background } from "../support/background.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** Runs `deno task dev` and opens its page. */
async function openPage(viewport?: { width: number; height: number }) {
  const stack = new AsyncDisposableStack();
  const env = { NO_COLOR: "1", HEALTH_ADDR: "off" };
  const command = `${Deno.execPath()} run -P=dev dev/dev.ts --port=0`;
  const program = stack.use(Background.start(command, { cwd: ROOT, env }));
  const [, url = ""] = await program.output(/StreamSpace runs at (\S+)/);
  const browser = stack.use(await BrowserPage.open(url, viewport));
  return { url, browser, page: browser.page, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

/** Starts a session with the form and returns its id. */
async function startSession(page: Page, template = "firefox"): Promise<string> {
  await page.locator("select[name=agent] option").first().waitFor({ state: "attached" });
  await page.fill("input[name=template]", template);
  await page.click("text=Start >> nth=-1");
  const card = page.locator("#sessions [data-session]").first();
  await card.waitFor();
  return await card.getAttribute("data-session") ?? "";
}

interface Screen {
  /** Pixels of the whole screen that have the color of the background. */
  readonly background: number;
  /** The pixels of the window's paper, without the clock. */
  readonly paper: string;
}

/** Reads the desktop's canvas. A text, because the test itself is checked without the types of a browser. */
const READ_SCREEN = `(() => {
  const canvas = document.querySelector("#screen canvas");
  const context = canvas.getContext("2d");
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  let background = 0;
  for (let i = 0; i < data.length; i += 4) {
    if (data[i] === 0x2b && data[i + 1] === 0x58 && data[i + 2] === 0x76) background++;
  }
  return { background, paper: context.getImageData(80, 130, 640, 250).data.join("") };
})()`;

/** Waits until the desktop looks as expected. */
async function waitForScreen(page: Page, isExpected: (screen: Screen) => boolean): Promise<Screen> {
  const signal = AbortSignal.timeout(30_000);
  while (true) {
    const screen = await page.evaluate<Screen>(READ_SCREEN);
    if (isExpected(screen)) return screen;
    signal.throwIfAborted();
  }
}

const options = { ignore: CHROMIUM === "", sanitizeOps: false, sanitizeResources: false };

Deno.test(
  "a session is started, seen, used, hibernated, woken and stopped in the browser",
  options,
  async () => {
    await using stage = await openPage();
    const { page, url, browser } = stage;
    const id = await startSession(page);
    await page.click(`#open-${id}`);
    await page.locator("#screen canvas").waitFor();
    await page.getByText("Connected", { exact: true }).waitFor();
    const { paper } = await waitForScreen(page, ({ background }) => background > 100_000);
    await page.keyboard.type("Hello from the browser");
    await waitForScreen(page, (screen) => screen.paper !== paper);
    await browser.screenshot("desktop");

    await page.goto(url);
    await page.click(`#hibernate_session-${id}`);
    await page.locator("#sessions .hibernated").waitFor();
    await browser.screenshot("sessions");
    await page.click(`#open-${id}`);
    await page.getByText("Connected", { exact: true }).waitFor();

    await page.goto(url);
    await page.click(`#stop_session-${id}`);
    await page.getByText("unsaved work is lost").waitFor();
    await page.click("text=Cancel");
    assertEquals(await page.locator("#sessions .running").count(), 1);
    await page.click(`#stop_session-${id}`);
    await page.click("dialog .danger");
    await page.locator("#sessions .terminated").waitFor();
    browser.expectNoErrors();
  },
);

Deno.test("a session that fails shows why", options, async () => {
  await using stage = await openPage();
  const { page, browser } = stage;
  await startSession(page, "no-such-template");
  await page.locator("#sessions .failed").waitFor();
  await page.locator("#sessions").getByText("no-such-template", { exact: false }).nth(1).waitFor();
  browser.expectNoErrors();
});

Deno.test("the page fits a phone and can be used with the keyboard", options, async () => {
  await using stage = await openPage({ width: 375, height: 700 });
  const { page, browser } = stage;
  await page.locator("select[name=agent] option").first().waitFor({ state: "attached" });
  await page.focus("select[name=agent]");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.locator("#sessions .running").waitFor();
  await browser.screenshot("phone");
  const width = await page.evaluate<number>("document.documentElement.scrollWidth");
  assert(width <= 375, `${width} pixels on a screen of 375`);
  browser.expectNoErrors();
});
