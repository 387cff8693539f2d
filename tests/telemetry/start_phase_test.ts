import { assertEquals } from "@std/assert";
import type { V1Deployment, V1Pod } from "@kubernetes/client-node";
import type { SessionObjects } from "../../lib/kubernetes/session_cache.ts";
import { phaseOf } from "../../lib/telemetry/start_phase.ts";

const NONE: SessionObjects = {
  deployment: undefined,
  service: undefined,
  claim: undefined,
  policy: undefined,
  pods: [],
  events: [],
};

function deployment(replicas: number, isDeleted = false): V1Deployment {
  const metadata = { name: "s1", ...(isDeleted ? { deletionTimestamp: new Date() } : {}) };
  return { metadata, spec: { replicas } } as V1Deployment;
}

function pod(status: V1Pod["status"], nodeName?: string): V1Pod {
  return { metadata: { name: "p1" }, spec: { containers: [], ...(nodeName ? { nodeName } : {}) }, status };
}

const SCHEDULED = { type: "PodScheduled", status: "True" };
const UNSCHEDULED = { type: "PodScheduled", status: "False" };
const READY = { type: "Ready", status: "True" };

function container(state: "waiting" | "running") {
  const common = { name: "session", image: "x", imageID: "", ready: false, restartCount: 0 };
  return { ...common, state: { [state]: {} } };
}

const CASES: ReadonlyArray<[name: string, phase: string, objects: Partial<SessionObjects>]> = [
  ["has no Deployment", "objects", {}],
  ["sleeps", "objects", { deployment: deployment(0) }],
  ["has the Deployment of an earlier session, on its way out", "objects", {
    deployment: deployment(1, true),
  }],
  ["has no pod yet", "scheduling", { deployment: deployment(1) }],
  ["has a pod without a node", "scheduling", {
    deployment: deployment(1),
    pods: [pod({ conditions: [UNSCHEDULED] })],
  }],
  ["has a pod on a node", "pulling", { deployment: deployment(1), pods: [pod({ conditions: [SCHEDULED] })] }],
  ["has a pod on a node that has not told of it yet", "pulling", {
    deployment: deployment(1),
    pods: [pod({}, "node-1")],
  }],
  ["has a container that waits", "pulling", {
    deployment: deployment(1),
    pods: [pod({ conditions: [SCHEDULED], containerStatuses: [container("waiting")] })],
  }],
  ["has one container of two that runs", "pulling", {
    deployment: deployment(1),
    pods: [
      pod({ conditions: [SCHEDULED], containerStatuses: [container("running"), container("waiting")] }),
    ],
  }],
  ["runs", "ready", {
    deployment: deployment(1),
    pods: [pod({ conditions: [SCHEDULED], containerStatuses: [container("running")] })],
  }],
  ["serves", "served", { deployment: deployment(1), pods: [pod({ conditions: [SCHEDULED, READY] })] }],
];

for (const [name, phase, objects] of CASES) {
  Deno.test(`a start of a session that ${name} is in phase ${phase}`, () => {
    assertEquals(phaseOf({ ...NONE, ...objects }), phase);
  });
}
