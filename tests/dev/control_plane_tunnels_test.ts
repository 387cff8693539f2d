import { assertEquals } from "@std/assert";
import { ControlPlane } from "../../dev/control_plane/control_plane.ts";
import { TunnelConnection } from "../../lib/streams/tunnel_connection.ts";
import { TUNNEL_PROTOCOL } from "../../lib/streams/tunnel_messages.ts";

/** The tunnel of an agent that accepts each stream. */
async function connect({ url }: ControlPlane) {
  const socket = new WebSocket(
    `${url.replace("http", "ws")}/api/v1/agents/tunnel?agent_id=a1`,
    TUNNEL_PROTOCOL,
  );
  socket.binaryType = "arraybuffer";
  const closed = new Promise((resolve) => socket.onclose = resolve);
  await new Promise((resolve) => socket.onopen = resolve);
  const connection = new TunnelConnection(socket, {
    onOpen: (_request, accept) => void accept({ port: 3000, podName: "p1" }),
  });
  socket.onmessage = ({ data }) => connection.receive(new Uint8Array(data as ArrayBuffer));
  return {
    closed,
    [Symbol.asyncDispose]: async () => {
      socket.close();
      await closed;
    },
  };
}

Deno.test("the end of a replaced tunnel does not affect the new one", async () => {
  await using controlPlane = ControlPlane.start();
  await fetch(`${controlPlane.url}/api/v1/agents/register`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({
      agentId: "a1",
      platform: "kubernetes",
      region: "",
      capacity: { maxCpu: 1, maxMemory: 1, maxSessions: 1, cpu: "1 cores", memory: "1Gi" },
      metadata: {},
    }),
  }).then((response) => response.text());
  const signal = AbortSignal.timeout(10_000);
  await using first = await connect(controlPlane);
  await controlPlane.tunnels.waitFor("a1", signal);
  const { stream } = await controlPlane.tunnels.open("a1", { sessionId: "s1" }, signal);
  await using _second = await connect(controlPlane);
  assertEquals((await stream.closed).message, "the tunnel was replaced by a new one");
  await first.closed;
  assertEquals((await controlPlane.tunnels.open("a1", { sessionId: "s1" }, signal)).podName, "p1");
});
