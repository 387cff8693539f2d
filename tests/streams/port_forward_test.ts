/**
 * Port forwarding through the API server: how failures are reported.
 * @module
 */
import { assertEquals, assertRejects } from "@std/assert";
import { type Authorize, Cluster } from "@streamspace/memory-cluster";
import { PortForwardDialer } from "../../lib/streams/port_forward.ts";
import { StreamResetError } from "../../lib/streams/tunnel_messages.ts";
import { call, waitFor } from "../dev/cluster_client.ts";
import { RecordingProxy } from "../support/recording_proxy.ts";
import { GREETING, serveEcho } from "../../dev/desktop/echo_pod.ts";

const PODS = "/api/v1/namespaces/default/pods";

/** A cluster with a pod that serves port 3000, one that is starting, and a dialer. */
async function start(
  { authorize = () => true, client = {} }: { authorize?: Authorize; client?: Deno.CreateHttpClientOptions } =
    {},
): Promise<Cluster & { dialer: PortForwardDialer }> {
  const cluster = Cluster.start({ podStartMs: 0, servePod: serveEcho, authorize });
  for (const [name, image] of [["p1", "example.com/desktop:1"], ["starting", "example.com/stuck:1"]]) {
    const containers = [{ name: "desktop", image, ports: [{ containerPort: 3000 }] }];
    await call(cluster, PODS, { body: { kind: "Pod", metadata: { name }, spec: { containers } } });
  }
  await waitFor(
    cluster,
    PODS,
    ({ object: { metadata, status } }) => metadata.name === "p1" && status.phase === "Running",
  );
  const access = () => Promise.resolve({ server: cluster.url, headers: [], client });
  return Object.assign(cluster, {
    dialer: new PortForwardDialer({ access, reload: () => {} }, "default"),
  });
}

const signal = AbortSignal.timeout(60_000);

for (
  const [name, code, target, authorize] of [
    ["a port that nothing listens on", "refused", { podName: "p1", port: 22 }],
    ["a pod that does not run", "unreachable", { podName: "starting", port: 3000 }],
    ["a pod that does not exist", "pod-gone", { podName: "nobody", port: 3000 }],
    [
      "missing rights",
      "forbidden",
      { podName: "p1", port: 3000 },
      ({ verb, subresource }) => subresource !== "portforward" || verb !== "create",
    ],
  ] as const satisfies readonly (readonly [string, string, { podName: string; port: number }, Authorize?])[]
) {
  Deno.test(`PortForwardDialer reports ${name} as ${code}`, async () => {
    await using cluster = await start(authorize ? { authorize } : {});
    const error = await assertRejects(
      () => cluster.dialer.dial({ ...target, podIP: "" }, signal),
      StreamResetError,
    );
    assertEquals(error.code, code, error.message);
  });
}

Deno.test("PortForwardDialer connects to a port, and the connection ends with the pod", async () => {
  await using cluster = await start();
  const connection = await cluster.dialer.dial({ podName: "p1", podIP: "", port: 3000 }, signal);
  assertEquals(new TextDecoder().decode(await connection.read() ?? undefined), GREETING);
  await call(cluster, `${PODS}/p1`, { method: "DELETE" });
  assertEquals(await connection.read(), null);
});

Deno.test("PortForwardDialer connects through the proxy of the kubeconfig", async () => {
  await using proxy = new RecordingProxy();
  const basicAuth = { username: "alice", password: "s3cret:" };
  await using cluster = await start({ client: { proxy: { url: `http://${proxy.host}`, basicAuth } } });
  const connection = await cluster.dialer.dial({ podName: "p1", podIP: "", port: 3000 }, signal);
  assertEquals(new TextDecoder().decode(await connection.read() ?? undefined), GREETING);
  const { host } = new URL(cluster.url);
  const authorization = `Basic ${btoa("alice:s3cret:")}`;
  assertEquals(proxy.requests, [{ method: "CONNECT", target: host, authorization }]);
  connection.close();
});
