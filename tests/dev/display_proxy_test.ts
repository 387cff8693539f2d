import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { request } from "node:http";
import { Cluster, type RunningPod } from "@streamspace/memory-cluster";
import { WebSocket } from "ws";
import { AgentProcess } from "../../dev/agent_process.ts";
import { ControlPlane } from "../../dev/control_plane/control_plane.ts";
import { KubeconfigFile } from "../../dev/kubeconfig_file.ts";
import { FLOOD, type HttpDisplay, httpDisplay } from "../support/http_display.ts";
import { send } from "../support/raw_request.ts";

const AGENT_ID = "k8s-page";
/** Far more than all buffers on the way can contain, and far less than what the display sends. */
const BUFFERS = 64 * 1024 * 1024;

function serve({ handle }: HttpDisplay, { ip, ports }: RunningPod, signal: AbortSignal): void {
  for (const port of ports) Deno.serve({ hostname: ip, port, signal, onListen: () => {} }, handle);
}

/** A Control Plane and an agent with one running session, whose pod serves HTTP. */
async function startHttpSession() {
  const display = httpDisplay();
  const stack = new AsyncDisposableStack();
  const controlPlane = ControlPlane.start();
  const cluster = stack.use(Cluster.start({ servePod: (pod, signal) => serve(display, pod, signal) }));
  stack.use(controlPlane);
  const file = stack.use(await KubeconfigFile.write(cluster.kubeconfig()));
  stack.use(
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
  const { port } = new URL(controlPlane.url);
  return {
    controlPlane,
    display,
    host: `s1.localhost:${port}`,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** The body of a response as it arrives, without the rest if the reader stops. */
async function open(url: string, headers: Record<string, string>) {
  const { promise, resolve, reject } = Promise.withResolvers<AsyncIterable<Uint8Array>>();
  const outgoing = request(url, { headers, agent: false }, resolve).on("error", reject);
  outgoing.end();
  return { body: await promise, [Symbol.dispose]: () => void outgoing.destroy() };
}

/** Waits until the display has stopped sending, and returns how many bytes it has sent. */
async function stalled({ sent }: HttpDisplay): Promise<number> {
  let last = -1;
  for (let same = 0; same < 5; same = sent() === last ? same + 1 : 0) {
    last = sent();
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return last;
}

/** A WebSocket of a viewer, with its messages in order. */
async function connect(url: string, headers: Record<string, string>) {
  const socket = new WebSocket(`${url.replace("http", "ws")}/socket`, "text", { headers });
  const messages = new ReadableStream<string | ArrayBuffer>({
    start(controller) {
      socket.onmessage = ({ data }) => controller.enqueue(data as string | ArrayBuffer);
      socket.onclose = () => controller.close();
    },
  }).getReader();
  socket.binaryType = "arraybuffer";
  const closed = new Promise<readonly [number, string]>((resolve) =>
    socket.once("close", (code, reason) => resolve([code, String(reason)]))
  );
  await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
  return { socket, closed, next: async () => (await messages.read()).value };
}

Deno.test("an HTTP display is found and proxied on the session's own origin", async () => {
  await using stage = await startHttpSession();
  const { controlPlane: { url }, host } = stage;
  const { sessions } = await (await fetch(`${url}/api/v1/sessions`)).json();
  assertEquals([sessions.length, sessions[0].template, sessions[0].state], [1, "firefox", "running"]);
  assertEquals(await (await fetch(`${url}/api/v1/sessions/s1/display`)).json(), {
    sessionId: "s1",
    kind: "http",
  });

  const answer = await send(`${url}/a/b?c=d`, { host }, "hello");
  assertEquals([answer.status, answer.text], [201, "POST /a/b?c=d hello"]);
  assertEquals([answer.headers["x-display"], answer.headers["set-cookie"]], ["yes", ["a=b", "c=d"]]);
  assertStringIncludes(
    String(answer.headers["content-security-policy"]),
    "frame-ancestors 'self' http://localhost:",
  );
  assertEquals((await send(`${url}/nothing`, { host })).status, 204);

  const { socket, next, closed } = await connect(url, { host, cookie: "a=b" });
  assertEquals([await next(), socket.protocol], [`${host} a=b`, "text"]);
  socket.send("hi");
  assertEquals(await next(), "echo hi");
  socket.send("close");
  assertEquals(await closed, [4001, "bye"]);

  const stopped = stage.controlPlane.command(AGENT_ID, { action: "stop_session", sessionId: "s1" });
  await stage.controlPlane.result(stopped);
  const gone = await send(url, { host });
  assertEquals(gone.status, 502);
  assertStringIncludes(gone.text, "The display cannot be reached");
});

Deno.test("a response of a display arrives in pieces, and ends with the viewer", async () => {
  await using stage = await startHttpSession();
  using ticks = await open(`${stage.controlPlane.url}/ticks`, { host: stage.host });
  let pieces = 0;
  for await (const _ of ticks.body) if (++pieces === 3) break;
  assertEquals(pieces, 3);
});

Deno.test("a display waits for a viewer that does not read", async () => {
  await using stage = await startHttpSession();
  const { controlPlane: { url }, display, host } = stage;
  {
    using _ = await open(`${url}/endless`, { host });
    const sent = await stalled(display);
    assert(sent > 0 && sent < BUFFERS, `${sent} bytes`);
  }
  const { socket, next, closed } = await connect(url, { host });
  await next();
  const before = await stalled(display);
  socket.send("flood");
  socket.pause();
  const sent = await stalled(display) - before;
  assert(sent > 0 && sent < BUFFERS, `${sent} bytes`);
  socket.resume();
  for (let i = 0; i < FLOOD.messages; i++) {
    assertEquals((await next() as ArrayBuffer).byteLength, FLOOD.bytes);
  }
  socket.close();
  await closed;
});
