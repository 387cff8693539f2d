import { assertEquals, assertStringIncludes } from "@std/assert";
import { type IncomingHttpHeaders, request } from "node:http";
import { Cluster, type RunningPod } from "@streamspace/memory-cluster";
import { AgentProcess } from "../../dev/agent_process.ts";
import { ControlPlane } from "../../dev/control_plane/control_plane.ts";
import { WebSocket } from "ws";
import { KubeconfigFile } from "../../dev/kubeconfig_file.ts";

const AGENT_ID = "k8s-page";

interface Answer {
  readonly status: number | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

/** Sends a request with any header, including Host, which fetch() sets itself. */
async function send(url: string, headers: Record<string, string>, body?: string): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const method = body === undefined ? "GET" : "POST";
  request(url, { headers, method, agent: false }, async (response) => {
    const chunks = await Array.fromAsync(response as AsyncIterable<Uint8Array>);
    const text = await new Response(new Blob(chunks.map((chunk) => new Uint8Array(chunk)))).text();
    resolve({ status: response.statusCode, headers: response.headers, text });
  }).on("error", reject).end(body);
  return await promise;
}

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
    const answer = await send(`${controlPlane.url}/api/v1/agents`, headers);
    assertEquals(answer.status, status, JSON.stringify(headers));
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

/** Serves HTTP and WebSockets at the ports of a pod. */
function serveHttp({ ip, ports }: RunningPod, signal: AbortSignal): void {
  for (const port of ports) {
    Deno.serve({ hostname: ip, port, signal, onListen: () => {} }, async (request) => {
      if (request.headers.get("upgrade") === "websocket") {
        const { socket, response } = Deno.upgradeWebSocket(request);
        socket.onmessage = ({ data }) => socket.send(`echo ${data}`);
        return response;
      }
      const { pathname, search } = new URL(request.url);
      return new Response(`${request.method} ${pathname}${search} ${await request.text()}`, {
        status: 201,
        headers: { "X-Display": "yes", "Set-Cookie": "a=b" },
      });
    });
  }
}

/** A Control Plane and an agent with one running session, whose pod serves HTTP. */
async function startHttpSession() {
  const stack = new AsyncDisposableStack();
  const controlPlane = ControlPlane.start();
  const cluster = stack.use(Cluster.start({ servePod: serveHttp }));
  stack.use(controlPlane);
  const file = stack.use(await KubeconfigFile.write(cluster.kubeconfig()));
  const agent = stack.use(
    await AgentProcess.start({
      args: [
        `--agent-id=${AGENT_ID}`,
        `--control-plane-url=${controlPlane.url}`,
        `--kubeconfig=${file.path}`,
        "--stream-dial=direct",
      ],
    }),
  );
  await controlPlane.tunnels.waitFor(AGENT_ID, AbortSignal.timeout(60_000));
  const payload = { user: "alice", template: "firefox", persistentHome: false };
  const id = controlPlane.command(AGENT_ID, { action: "start_session", sessionId: "s1", payload });
  assertEquals((await controlPlane.result(id)).type, "complete");
  return { controlPlane, agent, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

Deno.test("an HTTP display is found and proxied on the session's own origin", async () => {
  await using stage = await startHttpSession();
  const { url } = stage.controlPlane;
  const { sessions } = await (await fetch(`${url}/api/v1/sessions`)).json();
  assertEquals([sessions.length, sessions[0].template, sessions[0].state], [1, "firefox", "running"]);
  assertEquals(await (await fetch(`${url}/api/v1/sessions/s1/display`)).json(), {
    sessionId: "s1",
    kind: "http",
  });

  const host = `s1.localhost:${new URL(url).port}`;
  const answer = await send(`${url}/a/b?c=d`, { host }, "hello");
  assertEquals([answer.status, answer.text], [201, "POST /a/b?c=d hello"]);
  assertEquals([answer.headers["x-display"], answer.headers["set-cookie"]], ["yes", ["a=b"]]);

  const socket = new WebSocket(`${url.replace("http", "ws")}/socket`, { headers: { host } });
  const [message] = await new Promise<unknown[]>((resolve, reject) =>
    socket.on("open", () => socket.send("hi")).on("message", (...event) => resolve(event)).on("error", reject)
  );
  assertEquals(String(message), "echo hi");
  const closed = new Promise((resolve) => socket.once("close", resolve));
  socket.close();
  await closed;

  const stopped = stage.controlPlane.command(AGENT_ID, { action: "stop_session", sessionId: "s1" });
  await stage.controlPlane.result(stopped);
  const gone = await send(url, { host });
  assertEquals(gone.status, 502);
  assertStringIncludes(gone.text, "The display cannot be reached");
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
