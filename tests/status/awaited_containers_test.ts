import { assertEquals } from "@std/assert";
import type { V1ContainerStatus } from "@kubernetes/client-node";
import { checkReadiness } from "../../lib/status/readiness.ts";
import {
  conditions,
  container,
  events,
  NO_NODE,
  objects,
  pod,
  RUNNING,
  unschedulable,
} from "./session_fixtures.ts";

const SESSION_STARTING = container({ state: RUNNING });
const SESSION_READY = container({ state: RUNNING, ready: true });
const SESSION_CREATING = container({ state: { waiting: { reason: "PodInitializing" } } });

function proxy(parts: Partial<V1ContainerStatus> = {}): V1ContainerStatus {
  return container({ name: "istio-proxy", state: RUNNING, ...parts });
}

/** A pod on a node, with the statuses of its init containers and its containers. */
const CASES: ReadonlyArray<
  [name: string, initContainers: V1ContainerStatus[], containers: V1ContainerStatus[], progress: string]
> = [
  [
    "an injected container that is not ready",
    [],
    [SESSION_READY, proxy()],
    'waiting for its container "istio-proxy" to be ready',
  ],
  [
    "an injected container that is listed first",
    [],
    [proxy(), SESSION_READY],
    'waiting for its container "istio-proxy" to be ready',
  ],
  [
    "an injected container that is being created",
    [],
    [SESSION_READY, container({ name: "logs", state: { waiting: { reason: "ContainerCreating" } } })],
    'creating its container "logs"',
  ],
  [
    "the session and an injected container that are not ready",
    [],
    [proxy(), SESSION_STARTING],
    'waiting for its display port to answer and waiting for its container "istio-proxy" to be ready',
  ],
  [
    "a sidecar container that has not started",
    [proxy({ started: false })],
    [SESSION_CREATING],
    'waiting for its sidecar container "istio-proxy" to start',
  ],
  [
    "a sidecar container that started, but is not ready",
    [proxy({ started: true })],
    [SESSION_READY],
    'waiting for its sidecar container "istio-proxy" to be ready',
  ],
  [
    "a sidecar container that is ready",
    [proxy({ started: true, ready: true })],
    [SESSION_STARTING],
    "waiting for its display port to answer",
  ],
  [
    "a running init container after a sidecar container",
    [proxy({ started: true, ready: true }), container({ name: "vault-init", state: RUNNING })],
    [SESSION_CREATING],
    'waiting for its init container "vault-init" to complete',
  ],
  [
    "an init container that is being created",
    [container({ name: "vault-init", state: { waiting: { reason: "PodInitializing" } } })],
    [SESSION_CREATING],
    'creating its init container "vault-init"',
  ],
];

for (const [name, initContainers, containers, progress] of CASES) {
  Deno.test(`checkReadiness() reports "${progress}": ${name}`, () => {
    const waiting = pod({ nodeName: "n1", sidecars: ["istio-proxy"], initContainers, containers });
    assertEquals(checkReadiness(objects([waiting])), { state: "starting", progress });
  });
}

Deno.test("checkReadiness() does not blame the display port for the failing probe of another container", () => {
  const waiting = pod({ nodeName: "n1", containers: [SESSION_STARTING, proxy({ ready: true })] });
  const session = objects([waiting], {
    events: events(["Unhealthy", "Readiness probe failed: statuscode: 503", "uid-p1", "istio-proxy"]),
  });
  const progress = "waiting for its display port to answer";
  assertEquals(checkReadiness(session), { state: "starting", progress });
});

Deno.test("checkReadiness() does not report the image of a running init container as being pulled", () => {
  const waiting = pod({
    nodeName: "n1",
    initContainers: [container({ name: "init", state: RUNNING })],
    containers: [SESSION_CREATING],
  });
  waiting.spec!.initContainers = [{ name: "init", image: "example.com/init:1" }];
  const session = objects([waiting], { events: events(["Pulling", 'Pulling image "example.com/init:1"']) });
  const progress = 'waiting for its init container "init" to complete';
  assertEquals(checkReadiness(session), { state: "starting", progress });
});

Deno.test("checkReadiness() extends a start for a scale-up beyond the progress deadline of the Deployment", () => {
  const session = objects([pod(unschedulable(NO_NODE))], {
    deployment: conditions("Progressing", "False", "ProgressDeadlineExceeded"),
    events: events(["TriggeredScaleUp", "pod triggered scale-up"]),
  });
  const progress = "waiting for a node: the cluster is scaling up";
  assertEquals(checkReadiness(session), { state: "starting", progress, extensionMs: 300_000 });
});
