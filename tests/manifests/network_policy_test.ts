import { assertEquals } from "@std/assert";
import { buildPolicy } from "../../lib/manifests/network_policy.ts";

const SESSION = {
  metadata: { name: "s1", namespace: "streamspace" },
  selector: { app: "streamspace-session", session: "s1" },
  ports: [{ port: 3000, protocol: "TCP" }],
};

Deno.test("buildPolicy() lets just the chosen namespaces in, and just to the session's ports", () => {
  assertEquals<unknown>(buildPolicy({ ingressNamespaces: ["streamspace", "edge"] }, SESSION), {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: SESSION.metadata,
    spec: {
      podSelector: { matchLabels: SESSION.selector },
      policyTypes: ["Ingress"],
      ingress: [{
        _from: ["streamspace", "edge"].map((name) => ({
          namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": name } },
        })),
        ports: SESSION.ports,
      }],
    },
  });
});

Deno.test("buildPolicy() sets no bounds where the operator chose no namespaces", () => {
  assertEquals(buildPolicy({ ingressNamespaces: [] }, SESSION), undefined);
});
