import { assertEquals } from "@std/assert";
import { ControlPlane } from "../../dev/control_plane/control_plane.ts";
import { TunnelConnection } from "../../lib/streams/tunnel_connection.ts";
import { TUNNEL_PROTOCOL } from "../../lib/streams/tunnel_messages.ts";
import { HandAgent } from "./hand_agent.ts";

/** An agent's tunnel that accepts each stream. */
class HandTunnel {
  readonly opened: Promise<void>;
  readonly closed: Promise<void>;

  constructor(url: string, agentId: string) {
    const address = `${url.replace(/^http/, "ws")}/api/v1/agents/tunnel?agent_id=${agentId}`;
    const socket = new WebSocket(address, TUNNEL_PROTOCOL);
    socket.binaryType = "arraybuffer";
    const opened = Promise.withResolvers<void>();
    const closed = Promise.withResolvers<void>();
    [this.opened, this.closed] = [opened.promise, closed.promise];
    socket.onclose = () => closed.resolve();
    socket.onopen = () => {
      const connection = new TunnelConnection(socket, {
        onOpen: (_request, accept) => void accept({ port: 3000, podName: "p1" }),
      });
      socket.onmessage = ({ data }) => connection.receive(new Uint8Array(data));
      opened.resolve();
    };
  }
}

Deno.test("Tunnels ends the streams of a tunnel that is replaced, and uses the new one", async () => {
  await using controlPlane = ControlPlane.start();
  await using _agent = await HandAgent.join(controlPlane.url, "a1");
  const signal = AbortSignal.timeout(60_000);
  const open = () => controlPlane.tunnels.open("a1", { sessionId: "s1" }, signal);
  const first = new HandTunnel(controlPlane.url, "a1");
  await controlPlane.tunnels.waitFor("a1", signal);
  const { stream } = await open();
  const second = new HandTunnel(controlPlane.url, "a1");
  await second.opened;
  assertEquals((await stream.closed).code, "cancelled");
  await first.closed;
  assertEquals((await open()).podName, "p1");
});
