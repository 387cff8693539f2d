// deno-lint-ignore-file no-console -- a command-line program
/**
 * `deno task bench-reactions`: measures how long after changes of many pods the Control Plane receives the sessions' statuses. A watch of the
 * benchmark shows when any client could have known of each change; that time, and the grace period of unready sessions, are subtracted.
 *
 *     deno task bench-reactions --kubeconfig FILE [--sessions 5000] [--api-server-pid PID]
 *
 * With `--api-server-pid`, it runs a copy of that API server, which it also kills and starts again.
 *
 * @module
 */
import type { V1Pod } from "@kubernetes/client-node";
import { delay } from "@std/async";
import { parseArgs } from "@std/cli";
import { DEFAULT_TIMINGS } from "../../lib/model/timings.ts";
import { connectToApiServer } from "../api_server.ts";
import { AGENT_ID, AgentUnderTest } from "./agent_under_test.ts";
import { ApiServerCopy } from "./api_server_copy.ts";
import { createSessions, inParallel, readyPods, request, type Target } from "./existing_sessions.ts";
import type { Received } from "../control_plane/message_log.ts";
import { ReadinessLog } from "./readiness_log.ts";
import { markdownTable, median, quantile } from "./statistics.ts";

const DELETED_PODS = 100;
const PODS_OF_NODE = 200;
const UNREADY_DURING_RESTART = 100;
/** Time after the last expected status in which further ones are counted, in milliseconds. */
const SETTLE_MS = 5000;
const POLL_MS = 100;
/** How much earlier than the benchmark the agent can know of a change, in milliseconds. */
const EARLY_MS = 1000;
const TIMEOUT_MS = 180_000;

/** What the scenarios need. */
interface Run {
  readonly target: Target;
  readonly agent: AgentUnderTest;
  readonly log: ReadinessLog;
}

/** Delays of the statuses of a scenario. */
interface Reactions {
  readonly sessions: number;
  readonly delaysMs: number[];
  /** Required statuses that did not arrive. */
  readonly missing: number;
  /** Statuses that no change of a session requires, also of other sessions. */
  readonly unexpected: number;
  /** Time until the last session was ready again, in milliseconds. */
  readonly clusterMs: number;
}

async function main(): Promise<void> {
  const flags = parseArgs(Deno.args, { string: ["kubeconfig", "sessions", "api-server-pid"] });
  const given = String(flags.kubeconfig ?? Deno.env.get("KUBECONFIG") ?? "");
  const pid = flags["api-server-pid"];
  await using copy = pid === undefined
    ? undefined
    : await ApiServerCopy.start({ pid: Number(pid), kubeconfig: given });
  const kubeconfig = copy?.kubeconfig ?? given;
  const { server, client } = await connectToApiServer(kubeconfig);
  const namespace = `streamspace-reactions-${crypto.randomUUID().slice(0, 6)}`;
  const target = { server, client, namespace, agentId: AGENT_ID };
  const created = await fetch(`${server}/api/v1/namespaces`, {
    method: "POST",
    client,
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ metadata: { name: namespace } }),
  });
  await created.text();
  const count = Number(flags.sessions ?? 5000);
  console.error(`Creating ${count} sessions in ${namespace}`);
  const running = await createSessions(target, count);
  await using log = await ReadinessLog.open(target);
  await using agent = await AgentUnderTest.launch({ kubeconfig, namespace });
  await agent.controlPlane.waitFor(({ type, payload }) =>
    type === "heartbeat" && Number(payload.activeSessions) >= running
  );
  const run = { target, agent, log };
  const header = [
    "event",
    "sessions",
    "cluster",
    "p50",
    "p99",
    "longest",
    "statuses per session",
    "missing",
    "unexpected",
  ];
  const rows: string[][] = [];
  const measure = async (name: string, scenario: (pods: V1Pod[]) => Promise<readonly V1Pod[]>) => {
    console.error(name);
    rows.push(cells(name, await react(run, scenario, await readyPods(target, running))));
    console.log(`\n${markdownTable(header, rows)}`);
  };
  await measure("pods deleted at once", (pods) => deletePods(run, pods.slice(0, DELETED_PODS)));
  await measure("node lost", (pods) => loseNode(run, pods));
  if (copy) await measure("API server restarted", (pods) => restartApiServer(run, pods, copy));
}

function cells(name: string, reactions: Reactions): string[] {
  const { sessions, delaysMs, missing, unexpected, clusterMs } = reactions;
  const ms = (value: number) => `${Math.round(value)} ms`;
  return [
    name,
    String(sessions),
    `${(clusterMs / 1000).toFixed(1)} s`,
    ms(median(delaysMs)),
    ms(quantile(delaysMs, 0.99)),
    ms(Math.max(...delaysMs)),
    ((delaysMs.length + unexpected) / sessions).toFixed(2),
    String(missing),
    String(unexpected),
  ];
}

/** Runs a scenario, which returns the pods whose sessions are concerned, and waits until these are reported as running again. */
async function react(
  { agent, log }: Run,
  scenario: (pods: V1Pod[]) => Promise<readonly V1Pod[]>,
  pods: V1Pod[],
): Promise<Reactions> {
  const { messages } = agent.controlPlane;
  const position = messages.length;
  const startedAt = Date.now();
  const sessionIds = (await scenario(pods)).map((pod) => pod.metadata?.labels?.session ?? "");
  const received = () =>
    Map.groupBy(
      agent.controlPlane.messages.slice(position).filter(({ message }) => message.type === "status"),
      ({ message }) => String(message.payload.sessionId),
    );
  const isDone = () => {
    const statuses = received();
    return sessionIds.every((id) =>
      log.since(id, startedAt).at(-1)?.isReady &&
      statuses.get(id)?.at(-1)?.message.payload.state === "running"
    );
  };
  const deadline = Date.now() + TIMEOUT_MS;
  while (!isDone()) {
    if (Date.now() > deadline) throw new Error("The sessions were not reported as running again");
    await delay(POLL_MS);
  }
  await delay(SETTLE_MS);
  const statuses = received();
  const delaysMs: number[] = [];
  let missing = 0;
  let readyAt = startedAt;
  for (const id of sessionIds) {
    const expected = expectedAt(log, id, startedAt);
    readyAt = Math.max(readyAt, expected.at(-1)?.at ?? 0);
    for (const { state, at } of expected) {
      const arrived = statuses.get(id) ?? [];
      const isCause = (one: Received) => one.message.payload.state === state && one.at > at - EARLY_MS;
      const index = arrived.findIndex(isCause);
      const [status] = index < 0 ? [] : arrived.splice(index, 1);
      // The agent may know of a change before the benchmark does.
      if (status) delaysMs.push(Math.max(0, status.at - at));
      else missing += 1;
    }
  }
  const unexpected = [...statuses.values()].flat().length;
  return { sessions: sessionIds.length, delaysMs, missing, unexpected, clusterMs: readyAt - startedAt };
}

/** The statuses that a session's transitions require: "running" at once, "pending" if it is still unready after the grace period. */
function expectedAt(log: ReadinessLog, sessionId: string, startedAt: number) {
  const transitions = log.since(sessionId, startedAt);
  const grace = DEFAULT_TIMINGS.unreadyGraceMs;
  return transitions.flatMap(({ at, isReady }, index) => {
    if (isReady) return [{ state: "running", at }];
    const next = transitions[index + 1];
    const isReported = !next || next.at - at > grace;
    return isReported ? [{ state: "pending", at: at + grace }] : [];
  });
}

async function deletePods({ target }: Run, pods: readonly V1Pod[]): Promise<readonly V1Pod[]> {
  await inParallel(pods, async ({ metadata }) => {
    await request(target, "DELETE", { path: `/api/v1/pods/${metadata?.name}` });
  });
  return pods;
}

/** Does to the pods of a node what the node lifecycle controller does when the node no longer responds, and what pod garbage collection does. */
async function loseNode(run: Run, pods: readonly V1Pod[]): Promise<readonly V1Pod[]> {
  const byNode = Object.values(Object.groupBy(pods, ({ spec }) => spec?.nodeName ?? ""));
  const [largest = []] = byNode.toSorted((a, b) => (b?.length ?? 0) - (a?.length ?? 0));
  const lost = largest.slice(0, PODS_OF_NODE);
  await setReady(run, lost, false);
  await untilPending(run, lost);
  await inParallel(lost, async ({ metadata }) => {
    const body = { gracePeriodSeconds: 0 };
    await request(run.target, "DELETE", { path: `/api/v1/pods/${metadata?.name}`, body });
  });
  return lost;
}

/** Pods that were unready before become ready as soon as the API server accepts requests again. */
async function restartApiServer(
  run: Run,
  pods: readonly V1Pod[],
  apiServer: ApiServerCopy,
): Promise<readonly V1Pod[]> {
  const changed = pods.slice(0, UNREADY_DURING_RESTART);
  await setReady(run, changed, false);
  await untilPending(run, changed);
  await apiServer.restart();
  await setReady(run, changed, true);
  return changed;
}

async function setReady({ target }: Run, pods: readonly V1Pod[], isReady: boolean): Promise<void> {
  await inParallel(pods, async ({ metadata, status }) => {
    const conditions = status?.conditions?.map((condition) =>
      condition.type === "Ready" ? { ...condition, status: isReady ? "True" : "False" } : condition
    );
    const path = `/api/v1/pods/${metadata?.name}/status`;
    await request(target, "PATCH", { path, body: { status: { conditions } } });
  });
}

async function untilPending({ agent }: Run, pods: readonly V1Pod[]): Promise<void> {
  const ids = new Set(pods.map(({ metadata }) => metadata?.labels?.session ?? ""));
  const isPending = () => {
    const last = new Map(
      agent.controlPlane.messages.filter(({ message }) => message.type === "status")
        .map(({ message: { payload } }) => [String(payload.sessionId), payload.state]),
    );
    return [...ids].every((id) => last.get(id) === "pending");
  };
  while (!isPending()) await delay(POLL_MS);
}

if (import.meta.main) await main();
