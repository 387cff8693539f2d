/**
 * What to say of a check that the cluster did not let be made, and what to do about it. Pure.
 * @module
 */
import { hasStatus, KubernetesError, messageOf } from "../common/errors.ts";
import { plainWords, troubleOf } from "./connection_trouble.ts";
import { type CheckName, type Finding, Findings } from "./finding.ts";

const BIND =
  "apply k8s/rbac.yaml, and bind the account to the ClusterRole system:basic-user, as clusters do by themselves";
const RENEW = "renew the token or certificate of the kubeconfig, or see that the pod's account exists";
const TRUST = "check the kubeconfig's certificate-authority, and the API server's certificate";
const REACH =
  "check the server that the kubeconfig names, and look for a NetworkPolicy or firewall on the way";
const TROUBLE = "look at the API server's health and log, and try again";

/** The finding of `kubernetes-api` at a server that could not be asked for its version. */
export function apiTrouble(server: string, error: unknown): Finding {
  const cause = error instanceof KubernetesError && error.status === 0 ? error.cause ?? error : error;
  const words = `at ${server}: ${plainWords(messageOf(cause))}`;
  const findings = new Findings("kubernetes-api");
  if (hasStatus(error, 401)) {
    return findings.fail(`Kubernetes does not accept the account ${words}`, adviceOn(error));
  }
  return isAnswer(error)
    ? findings.fail(`Kubernetes is in trouble ${words}`, adviceOn(error))
    : findings.fail(`Kubernetes does not answer ${words}`, adviceOn(error));
}

/** The finding of any other check; what the account may not ask is not known, which is no fault of what it is about. */
export function checkTrouble(check: CheckName, { about, error }: { about: string; error: unknown }): Finding {
  const findings = new Findings(check);
  const message = `${about}: ${messageOf(error)}`;
  return hasStatus(error, 403) ? findings.skip(message, BIND) : findings.fail(message, adviceOn(error));
}

function adviceOn(error: unknown): string {
  if (hasStatus(error, 401)) return RENEW;
  if (isAnswer(error)) return TROUBLE;
  return troubleOf(messageOf(error)).check === "control-plane-tls" ? TRUST : REACH;
}

function isAnswer(error: unknown): boolean {
  return error instanceof KubernetesError && error.status > 0;
}
