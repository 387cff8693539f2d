import { assert, assertEquals, assertRejects } from "@std/assert";
import { CLUSTERS, MEMORY } from "../../support/clusters.ts";
import { AGENT_ID, onEachCluster, Stage } from "../../support/stage.ts";
import { TraceCollector } from "../../support/trace_collector.ts";

/** Whether an executable exports traces is decided when it is compiled; the tested ones do not. */
const isExecutable = Deno.env.has("K8S_AGENT");
const KINDS = CLUSTERS.map((kind) => ({ ...kind, isMissing: kind.isMissing || isExecutable }));
const START = { sessionId: "s1", user: "alice", template: "firefox", persistentHome: false };
/** Spans are exported in batches, ten times a second here. */
const OTEL = { OTEL_DENO: "true", OTEL_EXPORTER_OTLP_PROTOCOL: "http/json", OTEL_BSP_SCHEDULE_DELAY: "100" };

onEachCluster("a start is a span with its phases and requests as children", async (cluster) => {
  await using collector = TraceCollector.start();
  const env = { ...OTEL, OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, AGENT_API_KEY: "s3cret-key" };
  await using stage = await Stage.startProcess(cluster, { env });
  const commandId = stage.send("start_session", START);
  await stage.controlPlane.result(commandId);
  const span = await collector.span("start_session");
  assertEquals(span.attributes, {
    "streamspace.command.action": "start_session",
    "streamspace.command.id": commandId,
    "streamspace.session.id": "s1",
    "streamspace.command.outcome": "complete",
  });
  assertEquals([span.error, span.exceptions], [undefined, []]);
  const children = collector.childrenOf(span);
  // Simulated containers are ready as soon as they run.
  const phases = ["queue", "objects", "scheduling", "pulling"];
  assertEquals(children.map(({ name }) => name).filter((name) => phases.includes(name)), phases);
  const created = children.filter(({ attributes }) => attributes["http.request.method"] === "POST");
  assert(created.length >= 2, children.map(({ name }) => name).join(", "));
  assert(!collector.text.includes("s3cret-key"));
}, KINDS);

onEachCluster("a failed command is a span with its error", async (cluster) => {
  await using collector = TraceCollector.start();
  await using stage = await Stage.startProcess(cluster, {
    env: { ...OTEL, OTEL_EXPORTER_OTLP_ENDPOINT: collector.url },
  });
  await stage.command("wake_session", { sessionId: "s1" });
  const span = await collector.span("wake_session");
  const message = 'Cannot wake session "s1": it does not exist';
  assertEquals(span.attributes["error.type"], "not_found");
  assertEquals([span.error, span.exceptions], [message, [{
    "exception.type": "not_found",
    "exception.message": message,
  }]]);
}, [{ ...MEMORY, isMissing: isExecutable }]);

onEachCluster("a stream is a span with what it carried", async (cluster) => {
  await using collector = TraceCollector.start();
  await using stage = await Stage.startProcess(cluster, {
    args: ["--stream-dial=direct"],
    env: { ...OTEL, OTEL_EXPORTER_OTLP_ENDPOINT: collector.url },
  });
  const signal = AbortSignal.timeout(60_000);
  await stage.command("start_session", START);
  const { tunnels } = stage.controlPlane;
  await tunnels.waitFor(AGENT_ID, signal);
  await assertRejects(() => tunnels.open(AGENT_ID, { sessionId: "s1", port: 1 }, signal));
  const { stream } = await tunnels.open(AGENT_ID, { sessionId: "s1" }, signal);
  const greeting = await stream.read();
  await stream.write(new Uint8Array(5));
  while (stream.bytesIn < (greeting?.length ?? 0) + 5) await stream.read();
  stream.reset("cancelled", "the viewer has gone");
  const ended = await collector.span("stream", ({ error }) => error === undefined);
  assertEquals(ended.attributes, {
    "streamspace.session.id": "s1",
    "streamspace.stream.dial": "direct",
    "streamspace.stream.port": 3000,
    "streamspace.stream.code": "cancelled",
    "streamspace.stream.bytes_to_session": 5,
    "streamspace.stream.bytes_from_session": 17,
  });
  const rejected = await collector.span("stream", ({ error }) => error !== undefined);
  assertEquals(rejected.attributes["error.type"], "port-not-declared");
  assertEquals(rejected.error, "the session does not declare port 1");
}, [{ ...MEMORY, isMissing: isExecutable }]);
