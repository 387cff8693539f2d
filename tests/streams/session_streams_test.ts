import { abortable } from "@std/async";
import { assertEquals } from "@std/assert";
import { SessionCache } from "../../lib/kubernetes/session_cache.ts";
import { SessionActivity } from "../../lib/status/session_activity.ts";
import type { PodConnection, PodPort } from "../../lib/streams/dialer.ts";
import { SessionStreams } from "../../lib/streams/session_streams.ts";
import { StreamResetError } from "../../lib/streams/tunnel_messages.ts";

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

Deno.test("SessionStreams stops connecting when the viewer has gone", async () => {
  const dialed = Promise.withResolvers<PodPort>();
  const streams = new SessionStreams({
    cache: runningSession(),
    dialer: {
      mode: "direct",
      dial: async (target, signal) => {
        dialed.resolve(target);
        return await abortable(new Promise<PodConnection>(() => {}), signal);
      },
    },
    activity: new SessionActivity(),
    limits: { maxSessionStreams: 1 },
    observer: { requested: () => ({ opened: () => {}, rejected: () => {}, ended: () => {} }) },
  });
  using _ = streams;
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
  assertEquals(await dialed.promise, { podName: "p1", podIP: "10.0.0.1", port: 3000 });
  viewer.abort(new StreamResetError("cancelled", "the viewer has gone"));
  await served;
  assertEquals(rejections, ["cancelled"]);
});
