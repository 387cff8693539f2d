/**
 * Whether what the agent keeps for itself in the cluster is there: its journal, and the Secret for a key that the Control Plane issues.
 * @module
 */
import { ISSUED_KEYS, JOURNAL } from "../kubernetes/stores.ts";
import type { ClusterView } from "./cluster_view.ts";
import { type CheckName, type Finding, Findings } from "./finding.ts";

/** The finding of `journal`. */
export async function checkJournal(view: ClusterView): Promise<Finding[]> {
  return await checkStore(view, {
    check: "journal",
    resource: "configmaps",
    name: JOURNAL,
    words: "ConfigMap",
  });
}

/** The finding of `issued-key`; the Secret is only asked for, nothing of it is shown. */
export async function checkIssuedKey(view: ClusterView): Promise<Finding[]> {
  return await checkStore(view, {
    check: "issued-key",
    resource: "secrets",
    name: ISSUED_KEYS,
    words: "Secret",
  });
}

async function checkStore(
  view: ClusterView,
  store: { check: CheckName; resource: string; name: string; words: string },
): Promise<Finding[]> {
  const { check, resource, name, words } = store;
  const findings = new Findings(check);
  if (!await view.may({ verb: "get", resource, name })) {
    return [findings.skip(`Whether ${words} ${name} is there is not known`, "the agent may not read it")];
  }
  const object = await view.read(`/api/v1/namespaces/${view.namespace}/${resource}/${name}`);
  if (object) return [findings.ok(`${words} ${name} is there`)];
  // In development, with rights of a developer, the agent creates it when it first needs it.
  if (await view.may({ verb: "create", resource })) {
    return [findings.ok(`${words} ${name} is not there yet: the agent may create it`)];
  }
  return [
    findings.fail(`${words} ${name} is not there, and the agent may not create it`, "apply k8s/rbac.yaml"),
  ];
}
