import { assert, assertEquals } from "@std/assert";
import { changes, HEALTH_ARGS, type Scrape, scrape } from "../support/scrape.ts";
import { onEachCluster, Stage } from "../support/stage.ts";

const START = {
  sessionId: "s1",
  user: "alice",
  template: "firefox",
  persistentHome: true,
  cpu: "1000m",
  memory: "2Gi",
};

/** Metrics whose changes a command determines, unlike durations and numbers of watch events. */
const DETERMINED =
  /^k8s_agent_(commands_|command_failures_|command_duration_seconds_count|start_phase_duration_seconds_count|sessions|cpu_|memory_|link_|outbox_messages|api_requests_total\{verb="(?:create|delete))/;

/** Requests for the journal, for permissions at startup and for Session objects: no command determines their number. */
const UNDETERMINED = /resource="(?:configmaps|selfsubjectaccessreviews|sessions)"/;

function determined(before: Scrape, after: Scrape): Record<string, number> {
  const all = Object.entries(changes(before, after));
  return Object.fromEntries(
    all.filter(([name]) => DETERMINED.test(name) && !UNDETERMINED.test(name))
      .map(([name, change]) => [name.replace("k8s_agent_", ""), change] as const),
  );
}

/** The counters of a command that completes. */
function ended(action: string): Record<string, number> {
  return {
    [`commands_received_total{action="${action}"}`]: 1,
    [`commands_total{action="${action}",outcome="complete"}`]: 1,
    [`command_duration_seconds_count{action="${action}",outcome="complete"}`]: 1,
  };
}

function phases(action: string): Record<string, number> {
  const names = ["queue", "objects", "scheduling", "pulling", "ready"];
  return Object.fromEntries(
    names.map((phase) => [`start_phase_duration_seconds_count{action="${action}",phase="${phase}"}`, 1]),
  );
}

function requests(verb: string, resources: readonly string[]): Record<string, number> {
  return Object.fromEntries(
    resources.map((one) => [`api_requests_total{verb="${verb}",resource="${one}",status="2xx"}`, 1]),
  );
}

const RUNNING = { "sessions_active": 1, "cpu_used_cores": 1, "memory_used_bytes": 2 * 2 ** 30 };
const HIBERNATED = { "sessions_active": -1, "cpu_used_cores": -1, "memory_used_bytes": -2 * 2 ** 30 };
const OBJECTS = ["persistentvolumeclaims", "deployments", "services"];

/** A command and the metrics that it changes. */
const STEPS: Array<[action: string, payload: Record<string, unknown>, changes: Record<string, number>]> = [
  ["start_session", START, {
    ...ended("start_session"),
    ...phases("start_session"),
    ...requests("create", OBJECTS),
    ...RUNNING,
    'sessions{state="running"}': 1,
  }],
  ["hibernate_session", { sessionId: "s1" }, {
    ...ended("hibernate_session"),
    ...HIBERNATED,
    'sessions{state="running"}': -1,
    'sessions{state="hibernated"}': 1,
  }],
  ["wake_session", { sessionId: "s1" }, {
    ...ended("wake_session"),
    ...phases("wake_session"),
    ...RUNNING,
    'sessions{state="running"}': 1,
    'sessions{state="hibernated"}': -1,
  }],
  ["stop_session", { sessionId: "s1", deletePVC: true }, {
    ...ended("stop_session"),
    ...requests("delete", OBJECTS),
    ...HIBERNATED,
    'sessions{state="running"}': -1,
  }],
  ["wake_session", { sessionId: "s1" }, {
    'commands_received_total{action="wake_session"}': 1,
    'commands_total{action="wake_session",outcome="failed"}': 1,
    'command_duration_seconds_count{action="wake_session",outcome="failed"}': 1,
    'command_failures_total{action="wake_session",reason="not_found"}': 1,
  }],
  ["explode_session", { sessionId: "s1" }, {
    'commands_received_total{action="unknown"}': 1,
    'commands_total{action="unknown",outcome="failed"}': 1,
    'command_duration_seconds_count{action="unknown",outcome="failed"}': 1,
    'command_failures_total{action="unknown",reason="unknown_action"}': 1,
  }],
];

onEachCluster("each command changes only its own metrics", async (cluster, context) => {
  await using stage = await Stage.start(cluster, { args: HEALTH_ARGS });
  for (const [action, payload, expected] of STEPS) {
    await context.step(action, async () => {
      const before = await scrape(stage.agent);
      await stage.command(action, payload);
      assertEquals(determined(before, await scrape(stage.agent)), expected);
    });
  }
});

onEachCluster("the phases of a start add up to at most its duration", async (cluster) => {
  await using stage = await Stage.start(cluster, { args: HEALTH_ARGS });
  await stage.command("start_session", START);
  const all = await scrape(stage.agent);
  const sums = [...all].filter(([name]) => name.startsWith("k8s_agent_start_phase_duration_seconds_sum"));
  const total = all.get(
    'k8s_agent_command_duration_seconds_sum{action="start_session",outcome="complete"}',
  ) ?? 0;
  const ofPhases = sums.reduce((sum, [, seconds]) => sum + seconds, 0);
  assert(sums.every(([, seconds]) => seconds >= 0) && ofPhases > 0 && ofPhases <= total);
});

onEachCluster(
  "metrics show a disconnected link, the results that wait for it, and the reconnect",
  async (cluster) => {
    await using stage = await Stage.start(cluster, { args: HEALTH_ARGS, throughProxies: true });
    const { api, controlPlaneLink } = stage.proxies;
    const before = await scrape(stage.agent);
    const reached = stage.proxies.hang("create deployments");
    const commandId = stage.send("start_session", START);
    await reached;
    controlPlaneLink.mode = { kind: "refuse" };
    controlPlaneLink.cut();
    await stage.agent.line(/Disconnected from Control Plane/);
    api.clearFaults();
    await stage.agent.line(/Queued the result of command .* until the link is up/);
    const down = await scrape(stage.agent);
    assertEquals(
      [down.get("k8s_agent_link_up"), down.get('k8s_agent_outbox_messages{kind="result"}')],
      [0, 1],
    );
    assert((down.get("k8s_agent_outbox_oldest_age_seconds") ?? 0) > 0);
    controlPlaneLink.mode = { kind: "pass" };
    await stage.controlPlane.result(commandId);
    const after = await scrape(stage.agent);
    const gained = changes(before, after);
    assertEquals([after.get("k8s_agent_link_up"), gained.k8s_agent_link_connects_total], [1, 1]);
    assertEquals(after.get('k8s_agent_outbox_messages{kind="result"}'), 0);
  },
);

onEachCluster("metrics count failed requests, retries and watch restarts", async (cluster) => {
  await using stage = await Stage.start(cluster, { args: HEALTH_ARGS, throughProxies: true });
  const before = await scrape(stage.agent);
  const { api } = stage.proxies;
  api.inject({ kind: "status", code: 503, verb: "create", resource: "deployments" });
  await stage.command("start_session", START);
  api.inject({ kind: "status", code: 410, verb: "watch", resource: "pods" });
  const refused = stage.proxies.next("watch pods");
  api.endWatches();
  await refused;
  await stage.command("hibernate_session", { sessionId: "s1" });
  const gained = changes(before, await scrape(stage.agent));
  const watched = (metric: string) => gained[`k8s_agent_${metric}`];
  assertEquals({
    failed: watched('api_requests_total{verb="create",resource="deployments",status="5xx"}'),
    succeeded: watched('api_requests_total{verb="create",resource="deployments",status="2xx"}'),
    retries: watched('api_request_retries_total{verb="create",resource="deployments"}'),
    restarts: watched('watch_restarts_total{resource="pods",reason="expired"}'),
  }, { failed: 1, succeeded: 1, retries: 1, restarts: 1 });
});
