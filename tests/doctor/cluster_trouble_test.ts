import { assertEquals } from "@std/assert";
import { apiTrouble, checkTrouble } from "../../lib/doctor/cluster_trouble.ts";
import { KubernetesError } from "../../lib/common/errors.ts";

const SERVER = "https://10.96.0.1:443";
const BIND =
  "apply k8s/rbac.yaml, and bind the account to the ClusterRole system:basic-user, as clusters do by themselves";
const RENEW = "renew the token or certificate of the kubeconfig, or see that the pod's account exists";
const TRUST = "check the kubeconfig's certificate-authority, and the API server's certificate";
const REACH =
  "check the server that the kubeconfig names, and look for a NetworkPolicy or firewall on the way";
const TROUBLE = "look at the API server's health and log, and try again";

function answer(status: number, words: string): KubernetesError {
  return new KubernetesError(`Kubernetes refused to read version: ${words}`, { status, reason: "" });
}

function silence(words: string): KubernetesError {
  const cause = new Error(`error sending request for url (x): client error (Connect): ${words}`);
  const message = `Kubernetes did not answer a request to read version: ${cause.message}`;
  return new KubernetesError(message, { status: 0, reason: "", cause });
}

const API: ReadonlyArray<[error: unknown, message: string, advice: string]> = [
  [
    answer(401, "Unauthorized"),
    `Kubernetes does not accept the account at ${SERVER}: Kubernetes refused to read version: Unauthorized`,
    RENEW,
  ],
  [
    answer(503, "HTTP status 503"),
    `Kubernetes is in trouble at ${SERVER}: Kubernetes refused to read version: HTTP status 503`,
    TROUBLE,
  ],
  [
    silence("invalid peer certificate: UnknownIssuer"),
    `Kubernetes does not answer at ${SERVER}: invalid peer certificate: UnknownIssuer`,
    TRUST,
  ],
  [
    silence("tcp connect error: Connection refused (os error 111)"),
    `Kubernetes does not answer at ${SERVER}: tcp connect error: Connection refused (os error 111)`,
    REACH,
  ],
  [
    new Error("no answer within 4 seconds"),
    `Kubernetes does not answer at ${SERVER}: no answer within 4 seconds`,
    REACH,
  ],
];

for (const [error, message, advice] of API) {
  Deno.test(`apiTrouble() says ${message}`, () => {
    assertEquals(apiTrouble(SERVER, error), { check: "kubernetes-api", status: "fail", message, advice });
  });
}

const CHECKS = [
  [answer(403, "forbidden"), "skip", "Kubernetes refused to read version: forbidden", BIND],
  [answer(500, "no"), "fail", "Kubernetes refused to read version: no", TROUBLE],
  [new Error("no answer within 4 seconds"), "fail", "no answer within 4 seconds", REACH],
] as const;

for (const [error, status, words, advice] of CHECKS) {
  Deno.test(`checkTrouble() of a check says ${status} where ${words}`, () => {
    assertEquals(checkTrouble("quota", { about: "Cannot look at the quotas", error }), {
      check: "quota",
      status,
      message: `Cannot look at the quotas: ${words}`,
      advice,
    });
  });
}
