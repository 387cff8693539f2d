import { assertEquals, assertStringIncludes } from "@std/assert";
import { ControlPlane } from "../../dev/control_plane/control_plane.ts";
import { StateEvents } from "../../dev/control_plane/state_events.ts";
import { FakeTime } from "../support/fake_time.ts";
import { send } from "../support/raw_request.ts";

Deno.test("the page and its files are served, with a policy that allows no other origin", async () => {
  await using controlPlane = ControlPlane.start();
  for (const path of ["/", "/sessions/s1", "/page/main.js", "/page/style.css", "/novnc/core/rfb.js"]) {
    const response = await fetch(controlPlane.url + path);
    assertEquals(response.status, 200, path);
    assertStringIncludes(response.headers.get("content-security-policy") ?? "", "default-src 'self'");
    await response.body?.cancel();
  }
  for (const path of ["/page/nothing.js", "/novnc/core/../package.js", "/page/..%2Fcontrol_plane.ts"]) {
    const response = await fetch(controlPlane.url + path);
    assertEquals(response.status, 404, path);
    await response.body?.cancel();
  }
});

Deno.test("requests of other web pages are rejected", async () => {
  await using controlPlane = ControlPlane.start();
  const { host } = new URL(controlPlane.url);
  const cases: ReadonlyArray<readonly [Record<string, string>, number]> = [
    [{ origin: `http://${host}` }, 200],
    [{ origin: "http://evil.example" }, 403],
    [{ origin: `http://s1.localhost:${new URL(controlPlane.url).port}` }, 403],
    [{ origin: "null" }, 403],
    [{ host: "evil.example" }, 403],
    [{ host: "localhost.evil.example" }, 403],
  ];
  for (const [headers, status] of cases) {
    for (const path of ["/", "/api/v1/agents", "/api/v1/agents/connect?agent_id=a1", "/sessions/s1"]) {
      const answer = await send(controlPlane.url + path, headers);
      assertEquals(answer.status === 403, status === 403, JSON.stringify([headers, path]));
    }
  }
});

Deno.test("the elements and links of other web pages reach only the first page and the displays", async () => {
  await using controlPlane = ControlPlane.start();
  const { port } = new URL(controlPlane.url);
  const element = { "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors" };
  const link = { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate" };
  const host = `s1.localhost:${port}`;
  const cases: ReadonlyArray<readonly [string, Record<string, string>, number]> = [
    ["/api/v1/sessions", { "sec-fetch-site": "same-origin" }, 200],
    ["/api/v1/sessions", { "sec-fetch-site": "none" }, 200],
    ["/api/v1/sessions", element, 403],
    ["/api/v1/sessions", { ...element, "sec-fetch-site": "same-site" }, 403],
    ["/", element, 403],
    ["/", link, 200],
    // It wakes a hibernated session.
    ["/sessions/s1", link, 403],
    ["/", { ...element, host }, 403],
    ["/", { ...link, host }, 502],
  ];
  for (const [path, headers, status] of cases) {
    const answer = await send(controlPlane.url + path, headers);
    assertEquals(answer.status, status, JSON.stringify([path, headers]));
  }
});

Deno.test("the display of an unknown session is not found", async () => {
  await using controlPlane = ControlPlane.start();
  const response = await fetch(`${controlPlane.url}/api/v1/sessions/s1/display`);
  assertEquals(response.status, 502);
  assertEquals(await response.json(), {
    error: "unknown-session",
    details: 'no agent reported on session "s1"',
  });
});

Deno.test("the state is sent as an event at first and after each change", async () => {
  await using controlPlane = ControlPlane.start();
  const response = await fetch(`${controlPlane.url}/api/v1/events`);
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  const next = async () => JSON.parse((await reader.read()).value?.replace(/^data: /, "") ?? "null");
  assertEquals((await next()).agents, []);
  const body = JSON.stringify({ agentId: "a1", platform: "kubernetes" });
  await (await fetch(`${controlPlane.url}/api/v1/agents/register`, { method: "POST", body })).body?.cancel();
  assertEquals((await next()).agents[0].agentId, "a1");
  await reader.cancel();
});

Deno.test("StateEvents keeps only the newest state for a page that does not read", async () => {
  using time = new FakeTime();
  let state = 0;
  const events = new StateEvents(() => state);
  const reader = events.open().body!.getReader();
  for (; state < 10; state++) {
    events.changed();
    await time.tickAsync(1000);
  }
  const next = async () => new TextDecoder().decode((await reader.read()).value);
  assertEquals([await next(), await next()], ["data: 0\n\n", "data: 10\n\n"]);
  events.close();
});
