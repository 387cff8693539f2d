/**
 * Alerts, dashboard and PodMonitor compared with the agent's metrics, and checked by promtool if `PROMTOOL` names it.
 * @module
 */
import type { V1Deployment } from "@kubernetes/client-node";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { load, loadAll } from "js-yaml";
import { WATCHED_RESOURCES } from "../../lib/kubernetes/session_watch.ts";
import { type Metric, METRICS } from "../../lib/telemetry/metrics.ts";
import { Telemetry } from "../../lib/telemetry/telemetry.ts";
import { type AlertCase, type AlertRule, PROMTOOL, promtool, unitTests } from "../support/promtool.ts";

const FOLDER = new URL("../../k8s/monitoring/", import.meta.url);
const RULES_PATH = new URL("rules.yaml", FOLDER).pathname;

interface RuleFile {
  readonly groups: ReadonlyArray<{ readonly name: string; readonly rules: readonly AlertRule[] }>;
}

interface Panel {
  readonly id: number;
  readonly title: string;
  readonly type: string;
  readonly targets?: ReadonlyArray<{ readonly expr: string }>;
}

const ruleFile = read("rules.yaml") as RuleFile;
const rules = ruleFile.groups.flatMap((group) => group.rules);
const dashboard = JSON.parse(Deno.readTextFileSync(new URL("dashboard.json", FOLDER)));
const panels: readonly Panel[] = dashboard.panels;
const EXPRESSIONS = [
  ...rules.map(({ alert, expr }) => [`alert ${alert}`, expr] as const),
  ...panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr }) => [`panel ${title}`, expr] as const)
  ),
];

/** Labels that Prometheus adds to each series. */
const TARGET_LABELS = ["namespace", "job", "instance"];

for (const [name, expr] of EXPRESSIONS) {
  Deno.test(`${name} uses metrics and labels that exist`, () => {
    const selectors = [...expr.matchAll(/\b((?:k8s_agent|process)_\w+)(?:\{([^}]*)\})?/g)];
    assert(selectors.length > 0);
    for (const [, metric = "", matchers = ""] of selectors) {
      const labels = labelsOf(metric);
      assert(labels, `There is no metric ${metric}`);
      const used = [...matchers.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)].map(([, label = ""]) => label);
      assertEquals(used.filter((label) => ![...labels, ...TARGET_LABELS].includes(label)), [], metric);
    }
    const known = Object.values(METRICS).flatMap(({ labels }) => [...labels]);
    const grouped = [...expr.matchAll(/\b(?:by|ignoring|on) \(([^)]*)\)/g)].flatMap(([, list = ""]) =>
      list.split(/,\s*/)
    );
    const all: readonly string[] = [...known, ...TARGET_LABELS, "le"];
    assertEquals(grouped.filter((label) => !all.includes(label)), []);
  });
}

Deno.test("dashboard and alerts use every metric", () => {
  const text = EXPRESSIONS.map(([, expr]) => expr).join("\n") + JSON.stringify(dashboard.templating);
  const unseen = Object.values(METRICS).map(({ name }) => name).filter((name) => !text.includes(name));
  assertEquals(unseen, ["k8s_agent_commands_received_total", "process_start_time_seconds"]);
});

Deno.test("dashboard panels have unique ids and descriptions", () => {
  assertEquals(new Set(panels.map(({ id }) => id)).size, panels.length);
  for (const panel of panels) {
    if (panel.type !== "row") {
      assertMatch((panel as Panel & { description: string }).description, /^[^.]+.*\.$/);
    }
  }
});

Deno.test("alerts have a severity, a summary, a description and a runbook", () => {
  for (const { alert, labels, annotations } of rules) {
    assertMatch(labels.severity ?? "", /^(critical|warning)$/, alert);
    assertEquals(Object.keys(annotations), ["summary", "description", "runbook"], alert);
  }
});

Deno.test("PrometheusRule has the rules of rules.yaml", () => {
  assertEquals((read("prometheusrule.yaml") as { spec: RuleFile }).spec, ruleFile);
});

Deno.test("PodMonitor selects the Deployment's pods and their port", () => {
  const text = Deno.readTextFileSync(new URL("../deployment.yaml", FOLDER));
  const [deployment] = loadAll(text) as [V1Deployment];
  const { spec } = read("podmonitor.yaml") as {
    spec: { selector: unknown; podMetricsEndpoints: Array<{ port: string; path: string }> };
  };
  assertEquals(spec.selector, deployment.spec?.selector);
  const [container] = deployment.spec?.template.spec?.containers ?? [];
  assertEquals(container?.ports, [{ name: "health", containerPort: 8080 }]);
  assertEquals(spec.podMetricsEndpoints.map(({ port, path }) => [port, path]), [["health", "/metrics"]]);
});

Deno.test("scrape() returns exactly the metrics of the table with their kind and help", async () => {
  const text = await telemetry().scrape();
  const scraped = [...text.matchAll(/^# HELP (\S+) (.*)\n# TYPE \S+ (\S+)$/gm)].map((match) =>
    match.slice(1)
  );
  assertEquals(scraped, Object.values(METRICS).map(({ name, help, kind }) => [name, help, kind]));
});

promtoolTest("promtool accepts the rules", async () => {
  const { code, output } = await promtool(["check", "rules", RULES_PATH]);
  assertEquals([code, output.includes(`SUCCESS: ${rules.length} rules found`)], [0, true], output);
});

promtoolTest("promtool accepts a scrape", async () => {
  assertEquals(await promtool(["check", "metrics"], await telemetry().scrape()), { code: 0, output: "" });
});

const LEADER = 'namespace="s",job="j",instance="a"';
const STANDBY = 'namespace="s",job="j",instance="b"';
const WHO = { namespace: "s", job: "j" };
const WHERE = { ...WHO, instance: "a" };

const CASES: readonly AlertCase[] = [
  { alert: "K8sAgentAbsent", name: "nothing is scraped", series: {}, at: "6m", fires: {} },
  {
    alert: "K8sAgentAbsent",
    name: "an agent is scraped",
    series: { [`k8s_agent_build_info{${LEADER}}`]: "1x20" },
    at: "10m",
  },
  {
    alert: "K8sAgentAbsent",
    name: "one of two agents is no longer scraped",
    series: {
      [`k8s_agent_build_info{${LEADER},agent_id="one"}`]: "1x90",
      [`k8s_agent_build_info{namespace="s",job="j",instance="c",agent_id="two"}`]: "1x9 stale",
    },
    at: "90m",
    fires: { agent_id: "two" },
  },
  {
    alert: "K8sAgentAbsent",
    name: "one of two replicas is no longer scraped",
    series: {
      [`k8s_agent_build_info{${LEADER},agent_id="one"}`]: "1x20",
      [`k8s_agent_build_info{${STANDBY},agent_id="one"}`]: "1x5 stale",
    },
    at: "20m",
  },
  {
    alert: "K8sAgentNoLeader",
    name: "both replicas are on standby",
    series: { [`k8s_agent_leader{${LEADER}}`]: "1 0x9", [`k8s_agent_leader{${STANDBY}}`]: "0x9" },
    at: "3m",
    fires: WHO,
  },
  {
    alert: "K8sAgentNoLeader",
    name: "leadership moves to the other replica",
    series: { [`k8s_agent_leader{${LEADER}}`]: "1 1 0x9", [`k8s_agent_leader{${STANDBY}}`]: "0 0 1x9" },
    at: "5m",
  },
  {
    alert: "K8sAgentDisconnected",
    name: "the leader is not connected",
    series: { [`k8s_agent_leader{${LEADER}}`]: "1x9", [`k8s_agent_link_up{${LEADER}}`]: "1 0x9" },
    at: "6m",
    fires: WHO,
  },
  {
    alert: "K8sAgentDisconnected",
    name: "replicas alternate as leader because each exits after its last attempt",
    series: {
      [`k8s_agent_leader{${LEADER}}`]: "1 1 0 1 0 1 0 1",
      [`k8s_agent_link_up{${LEADER}}`]: "1 0x6",
      [`k8s_agent_leader{${STANDBY}}`]: "0 0 1 0 1 0 1 0",
      [`k8s_agent_link_up{${STANDBY}}`]: "0x7",
    },
    at: "6m",
    fires: WHO,
  },
  {
    alert: "K8sAgentDisconnected",
    name: "Kubernetes delays the restart of both replicas by five minutes",
    series: {
      [`k8s_agent_leader{${LEADER}}`]: "1 stale _x4 1 stale _x4 1 stale _x4",
      [`k8s_agent_link_up{${LEADER}}`]: "0 stale _x4 0 stale _x4 0 stale _x4",
      [`k8s_agent_leader{${STANDBY}}`]: "0 1 stale _x3 0 1 stale _x3 0 1 stale _x3",
      [`k8s_agent_link_up{${STANDBY}}`]: "0 0 stale _x3 0 0 stale _x3 0 0 stale _x3",
    },
    at: "17m",
    fires: WHO,
  },
  {
    alert: "K8sAgentDisconnected",
    name: "a new version takes over",
    series: {
      [`k8s_agent_leader{${LEADER}}`]: "1x4 stale",
      [`k8s_agent_link_up{${LEADER}}`]: "1x4 stale",
      [`k8s_agent_leader{${STANDBY}}`]: "_ _ _ 0 0 1x9",
      [`k8s_agent_link_up{${STANDBY}}`]: "_ _ _ 0 0 0 1x8",
    },
    at: "8m",
  },
  {
    alert: "K8sAgentDisconnected",
    name: "a standby replica needs no connection",
    series: { [`k8s_agent_leader{${STANDBY}}`]: "0x9", [`k8s_agent_link_up{${STANDBY}}`]: "0x9" },
    at: "9m",
  },
  {
    alert: "K8sAgentCommandsFailing",
    name: "half of the starts fail because of their images",
    series: {
      [`k8s_agent_command_failures_total{${LEADER},action="start_session",reason="ImagePull"}`]: "0+2x20",
      [`k8s_agent_commands_total{${LEADER},action="start_session",outcome="failed"}`]: "0+2x20",
      [`k8s_agent_commands_total{${LEADER},action="start_session",outcome="complete"}`]: "0+2x20",
    },
    at: "20m",
    fires: WHO,
    shown: "50%",
  },
  {
    alert: "K8sAgentCommandsFailing",
    name: "twenty starts fail at once, none before",
    series: {
      [`k8s_agent_command_failures_total{${LEADER},action="start_session",reason="ImagePull"}`]: "0x8 20x20",
      [`k8s_agent_commands_total{${LEADER},action="start_session",outcome="failed"}`]: "0x8 20x20",
    },
    at: "15m",
    fires: WHO,
    shown: "100%",
  },
  {
    alert: "K8sAgentCommandsFailing",
    name: "requests of users are rejected",
    series: {
      [`k8s_agent_command_failures_total{${LEADER},action="start_session",reason="at_capacity"}`]: "0+2x20",
      [`k8s_agent_commands_total{${LEADER},action="start_session",outcome="failed"}`]: "0+2x20",
    },
    at: "20m",
  },
  {
    alert: "K8sAgentAtCapacity",
    name: "95 of 100 sessions",
    series: {
      [`k8s_agent_sessions_active{${LEADER}}`]: "95x20",
      [`k8s_agent_sessions_limit{${LEADER}}`]: "100x20",
    },
    at: "15m",
    fires: WHERE,
    shown: "95%",
  },
  {
    alert: "K8sAgentAtCapacity",
    name: "all memory for a short time",
    series: {
      [`k8s_agent_memory_used_bytes{${LEADER}}`]: "50 100x5 50x20",
      [`k8s_agent_memory_limit_bytes{${LEADER}}`]: "100x20",
    },
    at: "11m",
  },
  {
    alert: "K8sAgentOutboxGrowing",
    name: "a result is queued for ten minutes",
    series: { [`k8s_agent_outbox_oldest_age_seconds{${LEADER}}`]: "0+60x20" },
    at: "10m",
    fires: WHO,
    shown: "10m 0s",
  },
  {
    alert: "K8sAgentOutboxGrowing",
    name: "a result is queued while replicas alternate as leader",
    series: {
      [`k8s_agent_outbox_oldest_age_seconds{${LEADER}}`]: "0 60 0 180 0 300 0 420 0",
      [`k8s_agent_outbox_oldest_age_seconds{${STANDBY}}`]: "0 0 120 0 240 0 360 0 480",
    },
    at: "8m",
    fires: WHO,
    shown: "8m 0s",
  },
  {
    alert: "K8sAgentWatchStale",
    name: "the leader cannot watch pods",
    series: {
      [`k8s_agent_watch_synced{${LEADER},resource="pods"}`]: "0x9",
      [`k8s_agent_watch_synced{${LEADER},resource="services"}`]: "1x9",
      [`k8s_agent_leader{${LEADER}}`]: "1x9",
    },
    at: "5m",
    fires: { ...WHERE, resource: "pods" },
  },
  {
    alert: "K8sAgentWatchStale",
    name: "an open watch has received nothing",
    series: {
      [`k8s_agent_watch_last_contact_timestamp_seconds{${LEADER},resource="pods"}`]: "0x9",
      [`k8s_agent_leader{${LEADER}}`]: "1x9",
    },
    at: "6m",
    fires: { ...WHERE, resource: "pods" },
  },
  {
    alert: "K8sAgentWatchStale",
    name: "a standby replica watches nothing",
    series: {
      [`k8s_agent_watch_synced{${STANDBY},resource="pods"}`]: "0x9",
      [`k8s_agent_leader{${STANDBY}}`]: "0x9",
    },
    at: "9m",
  },
  {
    alert: "K8sAgentJournalFailing",
    name: "the journal cannot be written",
    series: { [`k8s_agent_journal_failing{${LEADER}}`]: "1x9" },
    at: "3m",
    fires: WHERE,
  },
  {
    alert: "K8sAgentHeartbeatLate",
    name: "heartbeats are seven seconds late",
    series: { [`k8s_agent_heartbeat_lag_seconds{${LEADER}}`]: "7x9" },
    at: "3m",
    fires: WHERE,
    shown: "7s",
  },
  {
    alert: "K8sAgentStreamsFailing",
    name: "network policies do not admit the agent",
    series: { [`k8s_agent_streams_ended_total{${LEADER},code="timeout"}`]: "0+2x20" },
    at: "15m",
    fires: { ...WHO, code: "timeout" },
  },
  {
    alert: "K8sAgentStreamsFailing",
    name: "sessions end",
    series: { [`k8s_agent_streams_ended_total{${LEADER},code="pod-gone"}`]: "0+2x20" },
    at: "15m",
  },
];

Deno.test("every alert has a case in which it fires", () => {
  const firing = new Set(CASES.filter(({ fires }) => fires).map(({ alert }) => alert));
  assertEquals([...firing], rules.map(({ alert }) => alert));
});

promtoolTest("alerts fire in the right cases with the right text", async () => {
  const path = await Deno.makeTempFile({ suffix: ".json" });
  await Deno.writeTextFile(path, JSON.stringify(unitTests(RULES_PATH, rules, CASES)));
  const { code, output } = await promtool(["test", "rules", path]);
  await Deno.remove(path);
  assertEquals(code, 0, output);
});

function promtoolTest(name: string, fn: () => Promise<void>): void {
  const isMissing = PROMTOOL === "";
  Deno.test({ name: isMissing ? `${name} (set PROMTOOL to run this)` : name, ignore: isMissing, fn });
}

function read(file: string): unknown {
  return load(Deno.readTextFileSync(new URL(file, FOLDER)));
}

/** Labels of a metric or of one of a histogram's series. */
function labelsOf(name: string): readonly string[] | undefined {
  const table: readonly Metric[] = Object.values(METRICS);
  const metric = table.find((one) =>
    one.name === name || (one.kind === "histogram" && one.name === name.replace(/_(bucket|sum|count)$/, ""))
  );
  return metric?.labels;
}

/** Telemetry with at least one value for every metric. */
function telemetry(): Telemetry {
  const built = new Telemetry({
    agentId: "a1",
    leaderElection: true,
    maxSessions: 10,
    maxCpu: 10,
    maxMemory: 10,
  });
  built.attachSources({
    dispatcher: { isDraining: false },
    outbox: { backlog: { results: 1, statuses: 2, oldestMs: 3 } },
    journal: { usage: { entries: 1, bytes: 2, isFailing: false } },
    reported: { sessionIds: () => [], get: () => undefined },
    capacity: { usage: () => ({ usedSessions: 1, usedCpu: 1, usedMemory: 1 }) },
  });
  built.request({ verb: "create", resource: "pods", status: 0, durationMs: 12, isRetry: true });
  for (const resource of WATCHED_RESOURCES) built.watches.onWatchError(resource, "expired");
  built.commands.received("c1", { action: "start_session", receivedAt: Date.now() });
  built.commands.ended("c1", "failed", new Error("x"));
  return built;
}
