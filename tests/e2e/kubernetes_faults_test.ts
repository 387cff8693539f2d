import { assertEquals, assertStringIncludes } from "@std/assert";
import type { ApiFault } from "../../dev/faults/api_proxy.ts";
import { MEMORY } from "../support/clusters.ts";
import { onEachCluster, Stage, START } from "../support/stage.ts";

onEachCluster("K13 a conflict while a session is put to sleep or woken is tried again", async (cluster) => {
  await using stage = await Stage.start(cluster, { throughProxies: true });
  await stage.command("start_session", { sessionId: "s1", ...START });
  for (const action of ["hibernate_session", "wake_session"]) {
    stage.proxies.api.inject({ kind: "status", code: 409, verb: "patch", resource: "deployments" });
    const { error } = await stage.command(action, { sessionId: "s1" });
    assertEquals(error, undefined);
  }
  assertEquals(stage.requestCount("patch deployments"), 4);
});

onEachCluster("K14 what others delete while a session is stopped counts as stopped", async (cluster) => {
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
  "K14 a session that others delete while it is put to sleep is told as gone",
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
  ["503, three times,", { kind: "status", code: 503, times: 3 }, 4],
  ["a lost answer", { kind: "lost-answer", isBegun: true }, 2],
];

for (const [name, fault, requests] of PASSING) {
  onEachCluster(`K15 a request that meets ${name} is sent again`, async (cluster) => {
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

onEachCluster("K15 a request whose connection is reset is sent again", async (cluster) => {
  await using stage = await Stage.start(cluster, { throughProxies: true });
  const reached = stage.proxies.hang("create deployments");
  const commandId = stage.send("start_session", { sessionId: "s1", ...START });
  await reached;
  stage.proxies.apiLink.reset();
  assertEquals((await stage.controlPlane.result(commandId)).type, "complete");
  assertEquals((await cluster.leftovers()).length, 3);
});

onEachCluster(
  "K15 a request that nobody answers is given up, sent again, and delays no other session",
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
    ["K15 a start that the API server refuses for too long fails with its reason and leaves nothing", 503, 5],
    ["K17 a start that is forbidden is asked for once, fails with its reason and leaves nothing", 403, 1],
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
