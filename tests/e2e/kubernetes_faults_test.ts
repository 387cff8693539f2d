import { assertEquals, assertStringIncludes } from "@std/assert";
import type { ApiFault } from "../../dev/faults/api_proxy.ts";
import { MEMORY } from "../support/clusters.ts";
import { onEachCluster, Stage, START } from "../support/stage.ts";

onEachCluster("a conflict is retried while a session is hibernated or woken", async (cluster) => {
  await using stage = await Stage.start(cluster, { throughProxies: true });
  await stage.command("start_session", { sessionId: "s1", ...START });
  for (const action of ["hibernate_session", "wake_session"]) {
    stage.proxies.api.inject({ kind: "status", code: 409, verb: "patch", resource: "deployments" });
    const { error } = await stage.command(action, { sessionId: "s1" });
    assertEquals(error, undefined);
  }
  assertEquals(stage.requestCount("patch deployments"), 4);
});

onEachCluster("objects that are deleted during a stop count as stopped", async (cluster) => {
  await using stage = await Stage.start(cluster, { throughProxies: true });
  await stage.command("start_session", { sessionId: "s1", ...START });
  const reached = stage.proxies.hang("delete deployments");
  const stopping = stage.send("stop_session", { sessionId: "s1" });
  await reached;
  await cluster.delete("apps/v1", "Deployment", "s1");
  await cluster.untilEmpty();
  stage.proxies.api.clearFaults();
  assertEquals((await stage.controlPlane.result(stopping)).type, "complete");
  await stage.untilState("s1", "terminated");
});

onEachCluster(
  "a session that is deleted during its hibernation is reported as terminated",
  async (cluster) => {
    await using stage = await Stage.start(cluster, { throughProxies: true });
    await stage.command("start_session", { sessionId: "s1", ...START });
    const reached = stage.proxies.hang("patch deployments");
    const commandId = stage.send("hibernate_session", { sessionId: "s1" });
    await reached;
    await cluster.delete("apps/v1", "Deployment", "s1");
    await cluster.delete("v1", "Service", "s1");
    await cluster.untilEmpty();
    stage.proxies.api.clearFaults();
    const { payload } = await stage.controlPlane.result(commandId);
    assertStringIncludes(String(payload.error), 'Cannot hibernate session "s1": ');
    await stage.untilState("s1", "terminated");
  },
);

const PASSING: ReadonlyArray<[name: string, fault: ApiFault, requests: number]> = [
  ["three responses with status 503", { kind: "status", code: 503, times: 3 }, 4],
  ["a lost response", { kind: "lost-answer", isBegun: true }, 2],
];

for (const [name, fault, requests] of PASSING) {
  onEachCluster(`a request is retried after ${name}`, async (cluster) => {
    await using stage = await Stage.start(cluster, { throughProxies: true });
    stage.proxies.api.inject({ ...fault, verb: "create", resource: "deployments" });
    const { error } = await stage.command("start_session", { sessionId: "s1", ...START });
    assertEquals(error, undefined);
    assertEquals([stage.requestCount("create deployments"), stage.requestCount("create services")], [
      requests,
      1,
    ]);
    assertEquals((await cluster.leftovers()).length, 3);
    assertEquals([...stage.controlPlane.problems], []);
  });
}

onEachCluster("a request is retried after a connection reset", async (cluster) => {
  await using stage = await Stage.start(cluster, { throughProxies: true });
  const reached = stage.proxies.hang("create deployments");
  const commandId = stage.send("start_session", { sessionId: "s1", ...START });
  await reached;
  stage.proxies.apiLink.reset();
  assertEquals((await stage.controlPlane.result(commandId)).type, "complete");
  assertEquals((await cluster.leftovers()).length, 3);
});

onEachCluster(
  "a request without a response is retried after a timeout, and delays no other session",
  async (cluster) => {
    await using stage = await Stage.start(cluster, {
      throughProxies: true,
      timings: { requestTimeoutMs: 2000 },
    });
    const reached = stage.proxies.hang("create deployments");
    const slow = stage.send("start_session", { sessionId: "s1", ...START });
    await reached;
    const other = await stage.command("start_session", { sessionId: "s2", ...START });
    assertEquals([other.error, stage.results(slow)], [undefined, []]);
    assertEquals((await stage.controlPlane.result(slow)).type, "complete");
    assertEquals((await cluster.leftovers()).length, 6);
  },
  [MEMORY],
);

for (
  const [name, code, requests] of [
    ["a start that the API server rejects repeatedly fails with the reason and leaves no objects", 503, 5],
    ["a forbidden start is attempted once, fails with the reason and leaves no objects", 403, 1],
  ] as const
) {
  onEachCluster(name, async (cluster) => {
    await using stage = await Stage.start(cluster, { throughProxies: true });
    stage.proxies.api.inject({
      kind: "status",
      code,
      verb: "create",
      resource: "deployments",
      times: Infinity,
    });
    const { error } = await stage.command("start_session", { sessionId: "s1", ...START });
    assertStringIncludes(
      String(error),
      'Cannot start session "s1": Kubernetes refused to create deployments: ',
    );
    assertEquals(stage.requestCount("create deployments"), requests);
    await stage.untilState("s1", "failed");
    await cluster.untilEmpty();
  });
}
