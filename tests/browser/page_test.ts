import { assert, assertEquals } from "@std/assert";
import type { Page } from "playwright-core";
import { SCREEN } from "../../dev/desktop/desktop.ts";
import { CHROMIUM } from "../support/browser.ts";
import { openDevPage, startSession } from "../support/dev_page.ts";

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
    await using stage = await openDevPage();
    const { page, url, browser } = stage;
    const id = await startSession(page);
    await page.click(`#open-${id}`);
    await page.locator("#screen canvas").waitFor();
    await page.getByText("connected", { exact: true }).waitFor();
    const { paper } = await waitForScreen(page, ({ background }) => background > 100_000);
    await page.keyboard.type("Hello from the browser");
    await waitForScreen(page, (screen) => screen.paper !== paper);
    await browser.documented("desktop");

    await page.goto(url);
    await page.click(`#hibernate_session-${id}`);
    await page.getByText("unsaved work is lost").waitFor();
    await browser.screenshot("question");
    await page.click("dialog .danger");
    await page.locator("#sessions .hibernated").waitFor();
    await browser.screenshot("sessions");
    await page.click(`#open-${id}`);
    await page.getByText("connected", { exact: true }).waitFor();

    await page.goto(url);
    await page.click(`#stop_session-${id}`);
    await page.getByText("unsaved work is lost").waitFor();
    await page.keyboard.press("Escape");
    assertEquals(await page.locator("#sessions .running").count(), 1);
    await page.click(`#stop_session-${id}`);
    await page.click("dialog .danger");
    await page.locator("#sessions .terminated").waitFor();
    browser.expectNoErrors();
  },
);

Deno.test("the controls of a desktop work", options, async () => {
  await using stage = await openDevPage();
  const { page, browser } = stage;
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  const id = await startSession(page);
  await page.click(`#open-${id}`);
  await page.getByText("connected", { exact: true }).waitFor();
  const { paper: empty } = await waitForScreen(page, ({ background }) => background > 100_000);
  await page.keyboard.type("B");
  const { paper: typed } = await waitForScreen(page, ({ paper }) => paper !== empty);

  await page.keyboard.press("Backspace");
  await waitForScreen(page, ({ paper }) => paper === empty);
  await page.getByLabel("View only").check();
  await page.focus("#screen canvas");
  await page.keyboard.type("A");
  await page.getByLabel("View only").uncheck();
  await page.focus("#screen canvas");
  await page.keyboard.type("B");
  await waitForScreen(page, ({ paper }) => paper === typed);

  await page.evaluate(`navigator.clipboard.writeText("from the clipboard")`);
  await page.getByRole("button", { name: "Send clipboard" }).click();
  await waitForScreen(page, ({ paper }) => paper !== typed);

  const width = () =>
    page.evaluate<number>(`document.querySelector("#screen canvas").getBoundingClientRect().width`);
  const scaled = await width();
  await page.getByLabel("Scale").uncheck();
  assertEquals([scaled, await width()], [1100, SCREEN.width]);
  await page.getByRole("button", { name: "Full screen" }).click();
  await page.waitForFunction(`document.fullscreenElement?.id === "screen"`);
  browser.expectNoErrors();
});

Deno.test(
  "a desktop is connected again, and stays hibernated if it is hibernated while open",
  options,
  async () => {
    await using stage = await openDevPage();
    const { page, url, browser } = stage;
    await page.addInitScript(`window.sockets = [];
      window.WebSocket = new Proxy(WebSocket, {
        construct(target, args) {
          const socket = new target(...args);
          sockets.push(socket);
          return socket;
        },
      });`);
    const id = await startSession(page);
    await page.goto(`${url}sessions/${id}`);
    await page.getByText("connected", { exact: true }).waitFor();
    await page.evaluate(`sockets[0].close()`);
    await page.getByText("The connection was lost").waitFor();
    await page.getByText("connected", { exact: true }).waitFor();
    assertEquals(await page.evaluate(`sockets.length`), 2);

    await page.evaluate(`fetch("/api/v1/agents/k8s-dev-local/command", {
    method: "POST",
    body: JSON.stringify({ action: "hibernate_session", sessionId: "${id}", payload: { sessionId: "${id}" } }),
  })`);
    await page.getByText("The session is hibernated").waitFor();
    await browser.screenshot("hibernated");
    await page.getByRole("button", { name: "Wake" }).click();
    await page.getByText("connected", { exact: true }).waitFor();
    browser.expectNoErrors();
  },
);

Deno.test("a session that fails shows why", options, async () => {
  await using stage = await openDevPage();
  const { page, url, browser } = stage;
  const id = await startSession(page, "no-such-template");
  const reason = /Cannot start session ".*": .*template.*no-such-template/i;
  await page.locator(`[data-session=${id}] .message`).filter({ hasText: reason }).waitFor();
  await browser.screenshot("failed");
  await page.goto(`${url}sessions/${id}`);
  await page.locator("#notice-text").filter({ hasText: reason }).waitFor();
  await page.goto(`${url}sessions/nothing`);
  await page.getByText("There is no such session").waitFor();
  browser.expectNoErrors();
});

Deno.test("the page fits a phone and can be used with the keyboard", options, async () => {
  await using stage = await openDevPage({ viewport: { width: 375, height: 700 } });
  const { page, browser } = stage;
  await page.locator("select[name=agent] option").first().waitFor({ state: "attached" });
  await page.focus("select[name=agent]");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.locator("#sessions .running").waitFor();
  await browser.screenshot("phone");
  await page.emulateMedia({ colorScheme: "dark" });
  await browser.screenshot("phone-dark");
  await expectToFit(page);
  await page.locator("#sessions a").press("Enter");
  await page.getByText("connected", { exact: true }).waitFor();
  await waitForScreen(page, ({ background }) => background > 100_000);
  await browser.screenshot("phone-desktop");
  await expectToFit(page);
  browser.expectNoErrors();
});

/** Fails if a person has to scroll sideways. */
async function expectToFit(page: Page): Promise<void> {
  const width = await page.evaluate<number>("document.documentElement.scrollWidth");
  assert(width <= 375, `${width} pixels on a screen of 375`);
}
