import { assertEquals } from "@std/assert";
import type { V1Deployment } from "@kubernetes/client-node";
import { buildPolicy } from "../../lib/manifests/network_policy.ts";

const LABELS = { app: "streamspace-session", session: "s1" };
const ORIGINALS = {
  "stream.space/session": "s1",
  "stream.space/user": "alice",
  "stream.space/template": "firefox",
};
const METADATA = { name: "s1", namespace: "streamspace", labels: LABELS, annotations: ORIGINALS };
const DEPLOYMENT: V1Deployment = {
  metadata: { ...METADATA, uid: "u1", annotations: { ...ORIGINALS, "stream.space/command-id": "c1" } },
  spec: {
    selector: { matchLabels: LABELS },
    template: {
      spec: {
        containers: [{
          name: "session",
          ports: [{ name: "vnc", containerPort: 3000, protocol: "TCP" }, { containerPort: 3001 }],
        }],
      },
    },
  },
};

Deno.test("buildPolicy() lets just the chosen namespaces in, and just to the session's ports", () => {
  assertEquals<unknown>(buildPolicy({ ingressNamespaces: ["streamspace", "edge"] }, DEPLOYMENT), {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: METADATA,
    spec: {
      podSelector: { matchLabels: LABELS },
      policyTypes: ["Ingress"],
      ingress: [{
        _from: ["streamspace", "edge"].map((name) => ({
          namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": name } },
        })),
        ports: [{ port: 3000, protocol: "TCP" }, { port: 3001, protocol: "TCP" }],
      }],
    },
  });
});

Deno.test("buildPolicy() sets no bounds where the operator chose no namespaces", () => {
  assertEquals(buildPolicy({ ingressNamespaces: [] }, DEPLOYMENT), undefined);
});
