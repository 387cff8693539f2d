/**
 * Displays in messages of the control link, for Control Planes without the tunnel.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { SessionCache } from "../../lib/kubernetes/session_cache.ts";
import type { ViewerStream } from "../../lib/streams/session_streams.ts";
import { VncMessages } from "../../lib/streams/vnc_messages.ts";
import { GREETING } from "../../dev/desktop/echo_pod.ts";
import { AGENT_ID, type AnyStage, onEachCluster, Stage, START } from "../support/stage.ts";

const OPTIONS = { quirks: ["no-tunnel"], args: ["--vnc-messages"] } as const;

/** What the display of a session has sent in messages so far. */
function received(stage: AnyStage, sessionId: string): string {
  return stage.controlPlane.messages.flatMap(({ message: { type, payload } }) =>
    type === "vnc_data" && payload.sessionId === sessionId ? [atob(String(payload.data))] : []
  ).join("");
}

async function untilReceived(stage: AnyStage, sessionId: string, text: string): Promise<void> {
  await stage.controlPlane.waitFor(() => received(stage, sessionId) === text);
}

function send(stage: AnyStage, type: "vnc_data" | "vnc_close", payload: Record<string, string>): void {
  stage.controlPlane.send(AGENT_ID, { type, payload });
}

for (const mode of ["direct", "port-forward"]) {
  onEachCluster(
    `messages carry the displays of sessions by ${mode}, and each viewer gets a new connection`,
    async (cluster) => {
      const args = [...OPTIONS.args, `--stream-dial=${mode}`];
      await using stage = await Stage.start(cluster, { ...OPTIONS, args, timings: { reconnectMs: 20 } });
      for (const sessionId of ["s1", "s2"]) await stage.command("start_session", { ...START, sessionId });
      for (const sessionId of ["s1", "s2"]) await untilReceived(stage, sessionId, GREETING);
      const { payload: ready } = await stage.controlPlane.waitFor(({ type, payload }) =>
        type === "vnc_ready" && payload.sessionId === "s1"
      );
      const [name] = (await cluster.list("v1", "Pod")).map(({ metadata }) => metadata?.name)
        .filter((name) => name?.startsWith("s1-"));
      assertEquals(ready, { sessionId: "s1", vncPort: 3000, podName: name });
      assertEquals(stage.states("s1").at(-1), "running");

      send(stage, "vnc_data", { sessionId: "s1", data: btoa("hello") });
      await untilReceived(stage, "s1", `${GREETING}hello`);
      // A session is in use once a viewer has sent something.
      await stage.controlPlane.waitFor(({ type, payload }) =>
        type === "status" && payload.sessionId === "s1" && payload.viewers === 1
      );
      send(stage, "vnc_close", { sessionId: "s1" });
      await untilReceived(stage, "s1", `${GREETING}hello${GREETING}`);

      stage.controlPlane.disconnect(AGENT_ID);
      await untilReceived(stage, "s1", `${GREETING}hello${GREETING}${GREETING}`);
      await untilReceived(stage, "s2", `${GREETING}${GREETING}`);

      await stage.command("hibernate_session", { sessionId: "s1" });
      send(stage, "vnc_data", { sessionId: "s1", data: btoa("nobody") });
      send(stage, "vnc_data", { sessionId: "s2", data: "no base64!" });
      send(stage, "vnc_close", { sessionId: "unknown" });
      await stage.command("wake_session", { sessionId: "s1" });
      await untilReceived(stage, "s1", `${GREETING}hello${GREETING}${GREETING}${GREETING}`);
      await stage.agent.line(/Ignored a malformed message: "data" is not base64/);
      assertEquals([...stage.controlPlane.problems], []);
    },
  );
}

onEachCluster("displays are not carried in messages by default, or if there is a tunnel", async (cluster) => {
  for (const options of [{ ...OPTIONS, args: [] }, { ...OPTIONS, quirks: [] }]) {
    await using stage = await Stage.start(cluster, options);
    await stage.command("start_session", { ...START, sessionId: "s1" });
    send(stage, "vnc_data", { sessionId: "s1", data: btoa("hello") });
    await stage.roundTrip();
    const types = stage.controlPlane.messages.map(({ message }) => message.type);
    assertEquals(types.filter((type) => type.startsWith("vnc_")), []);
    await stage.command("stop_session", { sessionId: "s1" });
  }
});

Deno.test("VncMessages sends nothing while the socket is congested, and in messages of at most 32 KiB", async () => {
  const sent: string[] = [];
  const wire = { bufferedAmount: 100_000, send: (text: string) => sent.push(text) > 0 };
  const accepted = Promise.withResolvers<ViewerStream>();
  const pod = {
    metadata: { name: "p1" },
    status: { phase: "Running", conditions: [{ type: "Ready", status: "True" }] },
  };
  const cache = {
    sessionIds: () => ["s1"],
    session: () => ({ deployment: { spec: { replicas: 1 } }, pods: [pod] }),
    listen: () => () => {},
  } as unknown as SessionCache;
  using messages = new VncMessages({
    cache,
    retryMs: 1,
    streams: {
      serve: async (_request, accept) => {
        const stream = accept({ port: 5900, podName: "p1" });
        accepted.resolve(stream);
        await stream.closed;
      },
    },
  });
  messages.onLinkUp([], wire);
  const stream = await accepted.promise;
  const written = stream.write(new Uint8Array(100_000));
  await new Promise((resolve) => setTimeout(resolve, 0));
  assertEquals(sent.map((text) => JSON.parse(text).type), ["vnc_ready"]);
  wire.bufferedAmount = 0;
  await written;
  const sizes = sent.slice(1).map((text) => atob(JSON.parse(text).payload.data).length);
  assertEquals(sizes, [32_768, 32_768, 32_768, 1696]);
  // The viewer sends more than the pod accepts.
  for (let i = 0; i < 5; i++) messages.receive("s1", new Uint8Array(60_000));
  assertEquals((await stream.closed).code, "flow-control");
  assert(sent.length === 5);
});
