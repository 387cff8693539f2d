import { assertEquals } from "@std/assert";
import { requestWords } from "../../lib/kubernetes/request_words.ts";

const CASES: ReadonlyArray<[method: string, path: string, words: string]> = [
  ["GET", "/api/v1/namespaces/s/pods", "list pods"],
  ["GET", "/api/v1/namespaces/s/pods?watch=true", "watch pods"],
  ["GET", "/api/v1/namespaces/s/secrets/k8s-agent-issued-key", "get secrets"],
  ["POST", "/apis/apps/v1/namespaces/s/deployments", "create deployments"],
  ["PATCH", "/apis/apps/v1/namespaces/s/deployments/s1", "patch deployments"],
  ["PUT", "/apis/coordination.k8s.io/v1/namespaces/s/leases/a", "update leases"],
  ["DELETE", "/api/v1/namespaces/s/services/s1", "delete services"],
  ["PATCH", "/apis/stream.space/v1alpha1/namespaces/s/sessions/s1/status", "patch sessions/status"],
  ["POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "create selfsubjectaccessreviews"],
  ["GET", "/api/v1/namespaces/s", "get namespaces"],
  ["GET", "/apis/stream.space/v1alpha1", "list "],
  ["GET", "/version", "list "],
];

for (const [method, path, words] of CASES) {
  Deno.test(`requestWords() calls ${method} ${path} ${JSON.stringify(words)}`, () => {
    const { verb, resource } = requestWords(method, new URL(path, "https://api.example.com"));
    assertEquals(`${verb} ${resource}`, words);
  });
}
