import { assertEquals } from "@std/assert";
import type { V1Pod } from "@kubernetes/client-node";
import { displayPort, statusOf } from "../../lib/status/status.ts";

function pod(parts: { podIP?: string; nodeName?: string }): V1Pod {
  const { podIP, nodeName } = parts;
  const ports = [{ name: "vnc", containerPort: 5900 }];
  return {
    metadata: { name: "p1" },
    spec: { containers: [{ name: "session", ports }], ...(nodeName ? { nodeName } : {}) },
    status: { ...(podIP ? { podIP } : {}) },
  };
}

Deno.test("K26 statusOf() leaves an IPv6 address unchanged", () => {
  const status = statusOf("s1", "running", { pod: pod({ podIP: "fd00:10:244::7", nodeName: "n1" }) });
  assertEquals(status, {
    sessionId: "s1",
    state: "running",
    vncReady: true,
    vncPort: 5900,
    platformMetadata: { podName: "p1", podIP: "fd00:10:244::7", nodeName: "n1" },
  });
});

Deno.test("K26 statusOf() sets every field, also for a pod without an address", () => {
  assertEquals(statusOf("s1", "pending", { pod: pod({}) }).platformMetadata, {
    podName: "p1",
    podIP: "",
    nodeName: "",
  });
  assertEquals(statusOf("s1", "pending").platformMetadata, { podName: "", podIP: "", nodeName: "" });
});

Deno.test("statusOf() takes the display port of a session without a pod from its Deployment", () => {
  const deployment = { spec: { selector: {}, template: pod({}) } };
  assertEquals(statusOf("s1", "pending", { deployment }).vncPort, 5900);
  assertEquals(statusOf("s1", "pending").vncPort, 3000);
});

Deno.test("statusOf() adds the reason and the message", () => {
  const metadata = (detail: { reason: string; message: string }) =>
    statusOf("s1", "pending", { detail }).platformMetadata;
  const noPod = { podName: "", podIP: "", nodeName: "" };
  assertEquals(metadata({ reason: "OOMKilled", message: "its container needs more memory" }), {
    ...noPod,
    reason: "OOMKilled",
    message: "its container needs more memory",
  });
  assertEquals(metadata({ reason: "", message: 'pulling image "x:1"' }), {
    ...noPod,
    message: 'pulling image "x:1"',
  });
});

for (
  const [annotation, expected] of [["6901", 6901], [undefined, 5900], ["", 5900], ["x", 5900], [
    "-1",
    5900,
  ]] as const
) {
  Deno.test(`displayPort() is ${expected} for annotation ${annotation ?? "none"} and a port 5900`, () => {
    const annotations: Record<string, string> = annotation === undefined
      ? {}
      : { "stream.space/display-port": annotation };
    assertEquals(displayPort({ ...pod({}), metadata: { annotations } }), expected);
  });
}
