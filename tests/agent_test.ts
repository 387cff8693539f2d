import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import type { KubernetesObject, V1Pod } from "@kubernetes/client-node";
import { ControlPlane } from "../dev/control_plane/control_plane.ts";
import { loadConfig } from "../lib/cli/config.ts";
import { listSessions } from "../lib/cli/sessions_table.ts";
import { KubeconfigError } from "../lib/common/errors.ts";
import { RUNNING_SINCE_ANNOTATION } from "../lib/model/names.ts";
import { MEMORY, type TestCluster } from "./support/clusters.ts";
import { kubeconfigFor } from "./support/diagnosis.ts";
import { LocalAgent } from "./support/local_agent.ts";

/**
 * What an agent of commit dbde44a left when it was killed: three sessions of which one is hibernated, a failed start, and one session whose
 * start was running while its hibernation was queued. It had `--ingress-namespaces=streamspace --storage-size=1Gi`.
 */
const OBJECTS: readonly KubernetesObject[] = JSON.parse(
  await Deno.readTextFile(new URL("fixtures/previous_version.json", import.meta.url)),
);
const AGENT_ID = "k8s-e2e";

/** Creates the objects of the previous version, with runs that began just now, and waits for the pods. */
async function restore(cluster: TestCluster): Promise<void> {
  for (const { metadata, ...object } of OBJECTS) {
    const annotations = { ...metadata?.annotations };
    if (annotations[RUNNING_SINCE_ANNOTATION]) {
      annotations[RUNNING_SINCE_ANNOTATION] = new Date().toISOString();
    }
    await cluster.create({ ...object, metadata: { ...metadata, annotations } });
  }
  await cluster.until(async () => {
    const pods = await cluster.list("v1", "Pod") as V1Pod[];
    const ready = pods.filter(({ status }) =>
      status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True")
    );
    return ready.length === 3;
  });
}

function flagsOf(cluster: TestCluster, controlPlane: ControlPlane): string[] {
  return [
    `--agent-id=${AGENT_ID}`,
    `--control-plane-url=${controlPlane.url}`,
    `--kubeconfig=${cluster.kubeconfig}`,
    `--namespace=${cluster.namespace}`,
    "--ingress-namespaces=streamspace",
    "--storage-size=1Gi",
  ];
}

/** The sessions as `k8s-agent sessions` shows them. */
async function sessions(flags: readonly string[]): Promise<string[]> {
  const args = ["sessions", ...flags];
  const invocation = loadConfig({ args, env: () => undefined, readFile: () => "" });
  assert(invocation.kind === "sessions");
  const { sessions } = JSON.parse(await listSessions(invocation.config, "json"));
  return sessions.map((row: Record<string, string>) =>
    [row.session, row.user, row.template, row.state, row.home].filter(Boolean).join(" ")
  );
}

Deno.test("run() takes over the sessions and commands of the previous version", async () => {
  await using cluster = await MEMORY.open();
  await using controlPlane = ControlPlane.start();
  await restore(cluster);
  const flags = flagsOf(cluster, controlPlane);
  assertEquals(await sessions(flags), [
    "alice-running alice firefox running",
    "bob-home bob firefox running bob-home-home",
    "carol-hibernated carol firefox hibernated carol-hibernated-home",
    "dave-starting dave notebook running dave-starting-home",
  ]);
  await using _agent = LocalAgent.start({ args: flags, timings: { lateCommandsMs: 0 } });

  // Unfinished commands are resumed, and results that may not have arrived are sent again.
  const result = async (commandId: string) => {
    const { type, payload } = await controlPlane.waitFor(({ type, payload }) =>
      (type === "complete" || type === "failed") && payload.commandId === commandId
    );
    const { state } = payload.result as { state?: string } ?? {};
    return `${type} ${state ?? payload.error}`;
  };
  const commandIds = [
    "start-alice",
    "start-bob",
    "start-carol",
    "hibernate-carol",
    "start-dave",
    "hibernate-dave",
  ];
  assertEquals(await Promise.all(commandIds.map(result)), [
    "complete running",
    "complete running",
    "complete running",
    "complete hibernated",
    "complete running",
    "complete hibernated",
  ]);
  assertEquals((await result("start-erin")).slice(0, 38), 'failed Cannot start session "erin-unkn');

  // The sessions obey new commands.
  const command = async (action: string, payload: Record<string, unknown>) => {
    const id = controlPlane.command(AGENT_ID, {
      action,
      sessionId: String(payload.sessionId),
      payload,
    });
    return await result(id);
  };
  assertEquals(await command("hibernate_session", { sessionId: "alice-running" }), "complete hibernated");
  assertEquals(await command("wake_session", { sessionId: "carol-hibernated" }), "complete running");
  assertEquals(await command("wake_session", { sessionId: "dave-starting" }), "complete running");
  assertEquals(await sessions(flags), [
    "alice-running alice firefox hibernated",
    "bob-home bob firefox running bob-home-home",
    "carol-hibernated carol firefox running carol-hibernated-home",
    "dave-starting dave notebook running dave-starting-home",
  ]);
  const sessionIds = ["alice-running", "bob-home", "carol-hibernated", "dave-starting"];
  const stops = sessionIds.map((sessionId) => command("stop_session", { sessionId, deletePVC: true }));
  assertEquals(new Set(await Promise.all(stops)), new Set(["complete terminated"]));
  await cluster.untilEmpty();
});

for (const args of [[], ["--leader-election"]]) {
  Deno.test(`run() ends when Kubernetes ignores the credentials at the start (${args.join() || "no election"})`, async () => {
    const message = 'configmaps is forbidden: User "system:anonymous" cannot get resource "configmaps"';
    const body = { kind: "Status", code: 403, reason: "Forbidden", message };
    await using server = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen: () => {} },
      () => Response.json(body, { status: 403 }),
    );
    await using kubeconfig = await kubeconfigFor({
      server: `http://127.0.0.1:${server.addr.port}`,
      token: "t",
    });
    await using controlPlane = ControlPlane.start();
    await using agent = LocalAgent.start({
      args: [
        `--agent-id=${AGENT_ID}`,
        `--control-plane-url=${controlPlane.url}`,
        `--kubeconfig=${kubeconfig.path}`,
        ...args,
      ],
    });
    const error = await assertRejects(() => agent.ended(), KubeconfigError);
    assertStringIncludes(
      error.message,
      "accepts no credentials of the agent and treats it as system:anonymous",
    );
  });
}
