/**
 * Whether the namespace of the sessions is there and is the right one, and whether its Pod Security level lets them run. The agent's Role does
 * not let it read namespaces: then other objects have to tell.
 * @module
 */
import type { V1Namespace } from "@kubernetes/client-node";
import type { Config } from "../cli/options.ts";
import type { ClusterView } from "./cluster_view.ts";
import { type Finding, Findings } from "./finding.ts";
import { JOURNAL } from "../kubernetes/stores.ts";

/** The one in which Control Planes look for sessions' Services: `http://SESSION.streamspace.svc`. */
const USUAL = "streamspace";
const ENFORCE_LABEL = "pod-security.kubernetes.io/enforce";
const LEVELS: readonly string[] = ["privileged", "baseline", "restricted"];

/** The findings of `namespace` and `pod-security`. */
export async function checkNamespace(view: ClusterView, config: Config): Promise<Finding[]> {
  const { namespace } = view;
  const findings = new Findings("namespace");
  const unusual = namespace === USUAL ? [] : [findings.warn(
    `Sessions are in namespace ${namespace}`,
    `a Control Plane that proxies to sessions looks for them in ${USUAL}, unless it is set up otherwise`,
  )];
  if (!await view.may({ verb: "get", resource: "namespaces", name: namespace })) {
    return [await seenByJournal(view, findings), ...unusual, securityUnknown(namespace)];
  }
  const object = await view.read<V1Namespace>(`/api/v1/namespaces/${namespace}`);
  if (!object) {
    const advice = `kubectl apply -f k8s/namespace.yaml, or set --namespace (NAMESPACE) to one that does`;
    return [findings.fail(`Namespace ${namespace} does not exist`, advice)];
  }
  if (object.status?.phase === "Terminating") {
    const advice = "nothing can be created in it: wait until it is gone, and create it again";
    return [findings.fail(`Namespace ${namespace} is being deleted`, advice)];
  }
  return [findings.ok(`Namespace ${namespace} is there`), ...unusual, judgeSecurity(object, config)];
}

async function seenByJournal(view: ClusterView, findings: Findings): Promise<Finding> {
  const { namespace } = view;
  const path = `/api/v1/namespaces/${namespace}/configmaps/${JOURNAL}`;
  const isSeen = await view.may({ verb: "get", resource: "configmaps", name: JOURNAL }) &&
    await view.read(path) !== undefined;
  return isSeen
    ? findings.ok(`Namespace ${namespace} is there: the agent's journal is in it`)
    : findings.skip(
      `Whether namespace ${namespace} exists is not known`,
      `the agent may not read it: kubectl get namespace ${namespace}`,
    );
}

function securityUnknown(namespace: string): Finding {
  return new Findings("pod-security").skip(
    "The namespace's Pod Security level is not known",
    `the agent may not read it: kubectl get namespace ${namespace} --show-labels`,
  );
}

/** Pods that keep to a stricter level than the namespace asks for are welcome, looser ones are refused. */
function judgeSecurity(namespace: V1Namespace, { sessionSecurity }: Config): Finding {
  const findings = new Findings("pod-security");
  const enforced = namespace.metadata?.labels?.[ENFORCE_LABEL] ?? LEVELS[0] ?? "";
  return LEVELS.indexOf(sessionSecurity) >= LEVELS.indexOf(enforced)
    ? findings.ok(`Sessions keep to Pod Security ${sessionSecurity}, the namespace asks for ${enforced}`)
    : findings.fail(
      `Sessions keep to Pod Security ${sessionSecurity} only, and the namespace asks for ${enforced}`,
      `set --session-security=${enforced} (SESSION_SECURITY), or the namespace's label ${ENFORCE_LABEL} to ${sessionSecurity}`,
    );
}
