/**
 * Displays of real programs in the pods of a real API server, seen and used in a browser.
 * @module
 */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { CHROMIUM } from "../support/browser.ts";
import { openDevPage, startSession } from "../support/dev_page.ts";
import { httpDisplay } from "../support/http_display.ts";
import { RealDesktop } from "../support/real_desktop.ts";

const KUBECONFIG = Deno.env.get("KUBECONFIG") ?? "";
const isReady = CHROMIUM !== "" && KUBECONFIG !== "";
const options = { sanitizeOps: false, sanitizeResources: false };

/** Runs `deno task dev` on the real API server, with a template whose pods pass connections on to a server of this machine. */
async function openOnCluster(dial: string, upstream: string) {
  await using opening = new AsyncDisposableStack();
  const real = { baseImage: "example.com/real:1", env: [{ name: "TESTCLUSTER_UPSTREAM", value: upstream }] };
  const flags = `--templates='${JSON.stringify({ real })}' --stream-dial=${dial}`;
  const dev = opening.use(await openDevPage({ args: `--kubeconfig=${KUBECONFIG} -- ${flags}` }));
  const id = await startSession(dev.page, "real");
  await dev.page.locator(`[data-session=${id}] .running`).waitFor();
  const stack = opening.move();
  return { ...dev, id, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

for (const dial of ["direct", "port-forward"]) {
  Deno.test({
    ...options,
    name: `what is typed in the browser reaches a terminal on a real desktop by ${dial}`,
    ignore: !isReady || !RealDesktop.isInstalled(),
    async fn() {
      await using desktop = await RealDesktop.start();
      await using stage = await openOnCluster(dial, desktop.address);
      const { page, browser, id, url } = stage;
      await page.click(`#open-${id}`);
      await page.getByText("connected", { exact: true }).waitFor();
      // Without a window manager, the window below the pointer has the focus.
      await page.locator("#screen canvas").click();
      await page.keyboard.type("Hello from the browser");
      await page.keyboard.press("Enter");
      await desktop.typed("Hello from the browser\n");
      await browser.screenshot(`real-desktop-${dial}`);
      await page.goto(url);
      await page.click(`#stop_session-${id}`);
      await page.click("dialog .danger");
      await page.locator(`[data-session=${id}] .terminated`).waitFor();
      browser.expectNoErrors();
    },
  });

  Deno.test({
    ...options,
    name: `what is typed in the browser reaches a real desktop that websockify serves by HTTP by ${dial}`,
    ignore: !isReady || !RealDesktop.isInstalled(),
    async fn() {
      await using desktop = await RealDesktop.start();
      await using stage = await openOnCluster(dial, desktop.serveWeb());
      const { page, browser, id } = stage;
      await page.click(`#open-${id}`);
      await page.locator("#screen iframe").waitFor();
      await page.goto(`${await page.locator("#alone").getAttribute("href")}vnc_lite.html`);
      await page.getByText("Connected to").waitFor();
      await page.locator("#screen canvas").click();
      await page.keyboard.type("Hello through HTTP");
      await page.keyboard.press("Enter");
      await desktop.typed("Hello through HTTP\n");
      await browser.screenshot(`websockify-${dial}`);
    },
  });

  Deno.test({
    ...options,
    name: `an HTTP display is used through an origin of its own by ${dial}`,
    ignore: !isReady,
    async fn() {
      await using server = Deno.serve(
        { hostname: "127.0.0.1", port: 0, onListen: () => {} },
        httpDisplay().handle,
      );
      await using stage = await openOnCluster(dial, `127.0.0.1:${server.addr.port}`);
      const { page, browser, id, url } = stage;
      await page.click(`#open-${id}`);
      const frame = page.frameLocator("#screen iframe");
      await frame.locator("#typed").fill("Hello");
      await frame.getByText("echo Hello").waitFor();
      // More of the response arrives although it never ends.
      await frame.locator("#ticks").filter({ hasNotText: /^[0-9]$/ }).waitFor();
      await browser.screenshot(`http-display-${dial}`);
      const alone = await page.locator("#alone").getAttribute("href") ?? "";
      assertStringIncludes(alone, `http://${id}.localhost:`);
      await page.goto(alone);
      await page.locator("#typed").fill("alone");
      await page.getByText("echo alone").waitFor();
      browser.expectNoErrors();
      assertEquals(await page.evaluate(misuse(url, id)), ["no answer", "no connection"]);
      await page.goto(url);
      await page.locator(`[data-session=${id}] .running`).waitFor();
      assertEquals(await page.locator("#commands li").count(), 1);
      await page.click(`#stop_session-${id}`);
      await page.click("dialog .danger");
      await page.locator(`[data-session=${id}] .terminated`).waitFor();
    },
  });
}

/** What a program in a session might try on its own page: to stop the session, to read the list of sessions, and to see a display. */
function misuse(url: string, sessionId: string): string {
  const command = { action: "stop_session", sessionId, payload: { sessionId } };
  return `(async () => {
    const body = ${JSON.stringify(JSON.stringify(command))};
    const api = "${url}api/v1/";
    await fetch(api + "agents/k8s-dev-local/command", { method: "POST", mode: "no-cors", body });
    const answer = await fetch(api + "sessions").then(() => "an answer", () => "no answer");
    const connection = await new Promise((resolve) => {
      const socket = new WebSocket(api.replace("http", "ws") + "sessions/${sessionId}/stream");
      socket.onopen = () => resolve("a connection");
      socket.onerror = () => resolve("no connection");
    });
    return [answer, connection];
  })()`;
}
