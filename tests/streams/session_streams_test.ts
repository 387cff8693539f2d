import { abortable } from "@std/async";
import { assertEquals } from "@std/assert";
import { KINDS } from "../../lib/kubernetes/kinds.ts";
import { SessionCache } from "../../lib/kubernetes/session_cache.ts";
import { SessionActivity } from "../../lib/status/session_activity.ts";
import type { Dialer, PodConnection, PodPort } from "../../lib/streams/dialer.ts";
import { relay, SessionStreams } from "../../lib/streams/session_streams.ts";
import { TunnelConnection } from "../../lib/streams/tunnel_connection.ts";
import { encodeMessage, StreamResetError, type TunnelMessage } from "../../lib/streams/tunnel_messages.ts";
import type { TunnelStream } from "../../lib/streams/tunnel_stream.ts";
import { FakeTime } from "../support/fake_time.ts";

const LABELS = { app: "streamspace-session", session: "s1" };

function runningSession(): SessionCache {
  const cache = new SessionCache("a1");
  const metadata = (name: string) => ({ name, uid: name, resourceVersion: "1", labels: LABELS });
  cache.put(
    "deployment",
    { metadata: metadata("s1"), spec: { replicas: 1, selector: {}, template: {} } } as object,
  );
  cache.put("pod", {
    metadata: metadata("p1"),
    spec: { containers: [{ name: "desktop", ports: [{ containerPort: 3000 }] }] },
    status: { phase: "Running", podIP: "10.0.0.1" },
  } as object);
  return cache;
}

/** Requests a stream to session s1, which is never accepted. */
function rejectedStream(
  { cache, dial }: { cache: SessionCache; dial: Dialer["dial"] },
): { served: Promise<void>; viewer: AbortController; rejections: string[] } & Disposable {
  const streams = new SessionStreams({
    cache,
    dialer: { mode: "direct", dial },
    activity: new SessionActivity(),
    limits: { maxSessionStreams: 1 },
    observer: { requested: () => ({ opened: () => {}, rejected: () => {}, ended: () => {} }) },
  });
  const viewer = new AbortController();
  const rejections: string[] = [];
  const accept = () => {
    throw new Error("There is nothing to accept");
  };
  const served = streams.serve(
    { sessionId: "s1", port: undefined },
    Object.assign(accept, {
      reject: (code: StreamResetError["code"]) => void rejections.push(code),
      cancelled: viewer.signal,
    }),
  );
  return { served, viewer, rejections, [Symbol.dispose]: () => streams[Symbol.dispose]() };
}

Deno.test("SessionStreams stops connecting when the viewer has gone", async () => {
  const dialed = Promise.withResolvers<PodPort>();
  using request = rejectedStream({
    cache: runningSession(),
    dial: async (target, signal) => {
      dialed.resolve(target);
      return await abortable(new Promise<PodConnection>(() => {}), signal);
    },
  });
  assertEquals(await dialed.promise, { podName: "p1", podIP: "10.0.0.1", port: 3000 });
  request.viewer.abort(new StreamResetError("cancelled", "the viewer has gone"));
  await request.served;
  assertEquals(request.rejections, ["cancelled"]);
});

Deno.test("SessionStreams waits until a new process knows its sessions", async () => {
  const cache = new SessionCache("a1");
  using request = rejectedStream({
    cache,
    dial: () => Promise.reject(new Error("There is nothing to dial")),
  });
  await new Promise((resolve) => setTimeout(resolve, 0));
  assertEquals(request.rejections, []);
  for (const kind of KINDS) cache.replace(kind, [], "1");
  await request.served;
  assertEquals(request.rejections, ["unknown-session"]);
});

const MAX_BUFFERED = 64 * 1024;

/** A stream of which both sides have finished, and which has received so many bytes. */
function finishedStream(byteCount: number): { stream: TunnelStream; tunnel: TunnelConnection } {
  const streams: TunnelStream[] = [];
  const tunnel = new TunnelConnection({ send: () => {}, close: () => {}, bufferedAmount: 0 }, {
    maxBuffered: MAX_BUFFERED,
    onOpen: (_request, accept) => streams.push(accept({ port: 3000, podName: "p1" })),
  });
  const messages: TunnelMessage[] = [
    { type: "hello", maxPayload: 65_536, maxStreams: 1 },
    { type: "open", stream: 1, sessionId: "s1", window: 1 },
    { type: "data", stream: 1, bytes: new Uint8Array(byteCount) },
    { type: "fin", stream: 1 },
  ];
  for (const message of messages) tunnel.receive(encodeMessage(message));
  const [stream] = streams;
  if (!stream) throw new Error("The stream was not accepted");
  return { stream, tunnel };
}

/** A connection to a pod that sends no more. */
function halfClosed(write: () => Promise<void>): { connection: PodConnection; events: string[] } {
  const events: string[] = [];
  const closed = Promise.withResolvers<never>();
  closed.promise.catch(() => {});
  const connection: PodConnection = {
    read: () => Promise.resolve(null),
    write: async (bytes) => {
      await Promise.race([write(), closed.promise]);
      events.push(`${bytes.length} bytes`);
    },
    finish: () => Promise.resolve(void events.push("finish")),
    close: () => {
      events.push("close");
      closed.reject(new Error("closed"));
    },
  };
  return { connection, events };
}

Deno.test("relay() closes the connection to a pod only after it has accepted all, even if it finished first", async () => {
  const accepted = Promise.withResolvers<void>();
  const { connection, events } = halfClosed(() => accepted.promise);
  const { stream } = finishedStream(10_000);
  const relayed = relay(stream, connection, () => {});
  await stream.closed;
  accepted.resolve();
  assertEquals((await relayed).code, "finished");
  assertEquals(events, ["10000 bytes", "finish", "close"]);
});

Deno.test("relay() waits 30 seconds for a pod that does not accept the last bytes, and drops them", async () => {
  using time = new FakeTime();
  const { connection, events } = halfClosed(() => new Promise(() => {}));
  const { stream, tunnel } = finishedStream(10_000);
  const relayed = relay(stream, connection, () => {});
  await stream.closed;
  await settled(() => time.pending.includes(30_000));
  time.tick(30_000);
  await relayed;
  assertEquals(events, ["close"]);
  assertEquals([tunnel.buffer(MAX_BUFFERED), tunnel.buffer(1)], [true, false]);
});

/** Lets everything run that is due until a condition is true. */
async function settled(isTrue: () => boolean): Promise<void> {
  for (let i = 0; i < 100 && !isTrue(); i++) await Promise.resolve();
}
