import type { V1Deployment, V1Pod } from "@kubernetes/client-node";
import { assertEquals } from "@std/assert";
import { reduce } from "../../lib/kubernetes/kinds.ts";

const METADATA = { name: "s1", uid: "u1", resourceVersion: "7", labels: { app: "a" } };
const UNREAD_METADATA = {
  managedFields: [{ manager: "kubectl", fieldsV1: { "f:spec": {} } }],
  annotations: { kept: "1", "kubectl.kubernetes.io/last-applied-configuration": "{}" },
};

Deno.test("reduce() keeps what is read of a Deployment", () => {
  const selector = { matchLabels: { session: "s1" } };
  const container = { name: "session", image: "x", ports: [{ containerPort: 3000 }], resources: {} };
  const deployment: V1Deployment = {
    apiVersion: "apps/v1",
    metadata: { ...METADATA, ...UNREAD_METADATA },
    spec: {
      replicas: 0,
      selector,
      revisionHistoryLimit: 10,
      template: {
        metadata: { labels: { app: "a" } },
        spec: {
          containers: [{ ...container, env: [{ name: "A", value: "1" }], tty: true }],
          volumes: [{ name: "tmp", emptyDir: {} }, { name: "h", persistentVolumeClaim: { claimName: "c" } }],
          dnsPolicy: "ClusterFirst",
        },
      },
    },
    status: { observedGeneration: 1, replicas: 0, collisionCount: 1 },
  };
  assertEquals(reduce("deployment", deployment), {
    apiVersion: "apps/v1",
    metadata: { ...METADATA, annotations: { kept: "1" } },
    spec: {
      replicas: 0,
      selector,
      template: {
        metadata: { labels: { app: "a" } },
        spec: {
          containers: [container],
          volumes: [{ name: "h", persistentVolumeClaim: { claimName: "c" } }],
        },
      },
    },
    status: { observedGeneration: 1, replicas: 0 },
  });
});

Deno.test("reduce() keeps what is read of a pod", () => {
  const status = { name: "session", ready: true, restartCount: 0, image: "x", imageID: "sha256:1" };
  const pod: V1Pod = {
    metadata: METADATA,
    spec: { containers: [{ name: "session", tty: true }], nodeName: "n1", priority: 0 },
    status: { phase: "Running", podIP: "10.0.0.1", hostIP: "10.0.0.2", containerStatuses: [status] },
  };
  const { imageID: _, ...kept } = status;
  assertEquals(reduce("pod", pod), {
    metadata: METADATA,
    spec: { containers: [{ name: "session" }], nodeName: "n1" },
    status: { phase: "Running", podIP: "10.0.0.1", containerStatuses: [kept as typeof status] },
  });
});
