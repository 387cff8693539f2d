import { assertEquals } from "@std/assert";
import type {
  V1CustomResourceDefinition,
  V1Deployment,
  V1JSONSchemaProps,
  V1Pod,
} from "@kubernetes/client-node";
import { load } from "js-yaml";
import type { SessionState, SessionStatus } from "../../lib/control_plane/protocol.ts";
import { sessionResource, sessionResourceStatus } from "../../lib/status/session_resource.ts";

const NOW = new Date("2026-01-02T03:04:05.678Z");
const EARLIER = "2026-01-01T00:00:00Z";

interface Parts {
  readonly replicas?: number;
  readonly annotations?: Record<string, string>;
  readonly labels?: Record<string, string>;
  readonly hasHome?: boolean;
}

function deployment(parts: Parts = {}): V1Deployment {
  const { replicas = 1, annotations = {}, labels = {}, hasHome = false } = parts;
  const amounts = { cpu: "500m", memory: "1Gi", "nvidia.com/gpu": "1" };
  const ports = [{ name: "vnc", containerPort: 6080 }];
  const volumes = hasHome ? [{ name: "home", persistentVolumeClaim: { claimName: "s1-home" } }] : [];
  return {
    metadata: { name: "s1", uid: "u1", labels, annotations },
    spec: {
      replicas,
      selector: {},
      template: {
        spec: { containers: [{ name: "session", ports, resources: { requests: amounts } }], volumes },
      },
    },
  };
}

function pod(name: string, parts: { isLeaving?: boolean; phase?: string; created?: number } = {}): V1Pod {
  const { isLeaving = false, phase = "Running", created = 0 } = parts;
  return {
    metadata: {
      name,
      creationTimestamp: new Date(created),
      ...(isLeaving ? { deletionTimestamp: NOW } : {}),
    },
    spec: { containers: [], nodeName: `node of ${name}` },
    status: { podIP: `address of ${name}`, phase },
  };
}

function reported(state: SessionState, platformMetadata: Record<string, string> = {}): SessionStatus {
  return { sessionId: "s1", state, vncReady: state === "running", vncPort: 3000, platformMetadata };
}

Deno.test("sessionResource() takes the spec from the Deployment, which owns the object", () => {
  const labels = {
    app: "streamspace-session",
    session: "s1",
    user: "alice",
    template: "firefox",
    "stream.space/agent": "a1",
    "app.kubernetes.io/managed-by": "streamspace-k8s-agent",
  };
  const annotations = {
    "stream.space/user": "alice@example.com",
    "stream.space/template": "Fire Fox",
    "stream.space/idle-timeout": "1800s",
    "stream.space/max-session-duration": "28800s",
    "stream.space/spec-hash": "12345678",
  };
  const all = deployment({ labels: { ...labels, other: "label" }, annotations, hasHome: true });
  assertEquals(sessionResource("s1", all), {
    apiVersion: "stream.space/v1alpha1",
    kind: "Session",
    metadata: {
      name: "s1",
      labels,
      annotations: { "stream.space/session": "s1", "stream.space/desired-state": "running" },
      ownerReferences: [{ apiVersion: "apps/v1", kind: "Deployment", name: "s1", uid: "u1" }],
    },
    spec: {
      sessionId: "s1",
      user: "alice@example.com",
      template: "Fire Fox",
      persistentHome: true,
      resources: { cpu: "500m", memory: "1Gi" },
      state: "running",
      idleTimeout: "1800s",
      maxSessionDuration: "28800s",
    },
  });
});

Deno.test("sessionResource() takes user and template of a session of the Go agent from its labels", () => {
  const labels = { app: "streamspace-session", session: "s1", user: "alice", template: "firefox" };
  const { spec } = sessionResource("s1", deployment({ labels, replicas: 0 }));
  assertEquals(spec, {
    sessionId: "s1",
    user: "alice",
    template: "firefox",
    persistentHome: false,
    resources: { cpu: "500m", memory: "1Gi" },
    state: "hibernated",
  });
});

Deno.test("the Session kind defines exactly the fields that the agent writes", async () => {
  // The API server would drop any other field, and the agent would write it again and again.
  const text = await Deno.readTextFile(new URL("../../k8s/crds/sessions.yaml", import.meta.url));
  const { spec: kind } = load(text) as V1CustomResourceDefinition;
  const { properties = {} } = kind.versions[0]?.schema?.openAPIV3Schema ?? {};
  const defined = (schema: V1JSONSchemaProps | undefined) => Object.keys(schema?.properties ?? {}).toSorted();
  const written = (value: object | undefined) => Object.keys(value ?? {}).toSorted();
  const annotations = {
    "stream.space/idle-timeout": "1800s",
    "stream.space/max-session-duration": "28800s",
  };
  const { spec } = sessionResource("s1", deployment({ annotations }));
  const status = sessionResourceStatus(
    { deployment: deployment(), pods: [] },
    {
      lastReported: { ...reported("running"), viewers: 1, lastActivity: NOW.toISOString() },
      generation: 1,
      conditions: [],
      now: NOW,
    },
  );
  assertEquals(written(spec), defined(properties.spec));
  assertEquals(written(status), defined(properties.status));
  const condition: V1JSONSchemaProps | undefined = properties.status?.properties?.conditions?.items;
  assertEquals(written(status.conditions[0]), defined(condition));
});

const STATES: Array<{
  name: string;
  lastReported: SessionStatus;
  replicas?: number;
  conditions: string[];
}> = [
  {
    name: "starting",
    lastReported: reported("pending"),
    conditions: ["Ready=False Starting", "Hibernated=False Awake"],
  },
  {
    name: "starting, with a reason",
    lastReported: reported("pending", { reason: "Pulling", message: 'pulling image "x/y:1"' }),
    conditions: ['Ready=False Pulling: pulling image "x/y:1"', "Hibernated=False Awake"],
  },
  {
    name: "starting, with a reason that Kubernetes does not accept",
    lastReported: reported("pending", { reason: "is being pulled", message: 'pulling image "x/y:1"' }),
    conditions: ['Ready=False Starting: pulling image "x/y:1"', "Hibernated=False Awake"],
  },
  {
    name: "running",
    lastReported: reported("running"),
    conditions: ["Ready=True PodReady", "Hibernated=False Awake"],
  },
  {
    name: "being scaled to zero",
    lastReported: reported("running"),
    replicas: 0,
    conditions: ["Ready=False Hibernating", "Hibernated=False Hibernating"],
  },
  {
    name: "hibernated",
    lastReported: reported("hibernated"),
    replicas: 0,
    conditions: ["Ready=False Hibernated", "Hibernated=True Hibernated"],
  },
  {
    name: "hibernated, with a reason",
    lastReported: reported("hibernated", { reason: "MaxDuration", message: "it ran for 8h" }),
    replicas: 0,
    conditions: ["Ready=False MaxDuration: it ran for 8h", "Hibernated=True MaxDuration: it ran for 8h"],
  },
  {
    name: "failed",
    lastReported: reported("failed", { reason: "OOMKilled", message: "out of memory" }),
    conditions: ["Ready=False OOMKilled: out of memory", "Hibernated=False Awake"],
  },
];

for (const { name, lastReported, replicas = 1, conditions } of STATES) {
  Deno.test(`sessionResourceStatus() sets the conditions of a session that is ${name}`, () => {
    const context = { lastReported, generation: 7, conditions: undefined, now: NOW };
    const status = sessionResourceStatus({ deployment: deployment({ replicas }), pods: [] }, context);
    assertEquals([status.state, status.message], [
      lastReported.state,
      lastReported.platformMetadata.message ?? "",
    ]);
    assertEquals(
      status.conditions.map(({ type, status, reason, message }) =>
        `${type}=${status} ${reason}${message && `: ${message}`}`
      ),
      conditions,
    );
    const times = status.conditions.map((one) => [one.observedGeneration, one.lastTransitionTime]);
    assertEquals(times, [[7, "2026-01-02T03:04:05Z"], [7, "2026-01-02T03:04:05Z"]]);
  });
}

Deno.test("sessionResourceStatus() keeps the transition time of a condition until its status changes", () => {
  const conditions = [
    { type: "Ready", status: "False", lastTransitionTime: EARLIER, reason: "Starting" },
    { type: "Hibernated", status: "False", lastTransitionTime: EARLIER, reason: "Awake" },
    { type: "Other", status: "True" },
  ];
  const context = { lastReported: reported("running"), generation: 1, conditions, now: NOW };
  const status = sessionResourceStatus({ deployment: deployment(), pods: [] }, context);
  assertEquals(status.conditions.map(({ type, lastTransitionTime }) => [type, lastTransitionTime]), [
    ["Ready", "2026-01-02T03:04:05Z"],
    ["Hibernated", EARLIER],
  ]);
});

for (const conditions of [undefined, null, "none", {}, [null, 1, "x", {}], [{ type: "Ready" }]]) {
  Deno.test(`sessionResourceStatus() ignores invalid conditions: ${JSON.stringify(conditions)}`, () => {
    const context = { lastReported: reported("running"), generation: 1, conditions, now: NOW };
    const status = sessionResourceStatus({ deployment: deployment(), pods: [] }, context);
    assertEquals(
      status.conditions.map(({ lastTransitionTime }) => lastTransitionTime),
      ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"],
    );
  });
}

const PODS: Array<{ name: string; lastReported: SessionStatus; pods: V1Pod[]; podName: string }> = [
  { name: "none before one exists", lastReported: reported("pending"), pods: [], podName: "" },
  {
    name: "the current one if none was reported",
    lastReported: reported("pending", { podName: "" }),
    pods: [pod("p1")],
    podName: "p1",
  },
  {
    name: "the reported one",
    lastReported: reported("running", { podName: "p1" }),
    pods: [pod("p1", { isLeaving: true }), pod("p2", { created: 1 })],
    podName: "p1",
  },
  {
    name: "the current one if the reported one has ended",
    lastReported: reported("running", { podName: "p1" }),
    pods: [pod("p1", { phase: "Failed" }), pod("p2", { created: 1 })],
    podName: "p2",
  },
  {
    name: "none for a hibernated session",
    lastReported: reported("hibernated"),
    pods: [pod("p1")],
    podName: "",
  },
];

for (const { name, lastReported, pods, podName } of PODS) {
  Deno.test(`sessionResourceStatus() has a pod: ${name}`, () => {
    const context = { lastReported, generation: 1, conditions: undefined, now: NOW };
    const status = sessionResourceStatus({ deployment: deployment(), pods }, context);
    const { podName: name, podIP, nodeName, vncPort } = status;
    const of = (what: string) => podName === "" ? "" : `${what} of ${podName}`;
    assertEquals([name, podIP, nodeName, vncPort], [podName, of("address"), of("node"), 6080]);
  });
}

Deno.test("sessionResourceStatus() truncates the message", () => {
  const context = {
    lastReported: reported("failed", { message: "x".repeat(5000) }),
    generation: 1,
    conditions: undefined,
    now: NOW,
  };
  const { message, conditions } = sessionResourceStatus({ deployment: deployment(), pods: [] }, context);
  assertEquals([message.length, conditions[0]?.message.length], [1024, 1024]);
});
