/**
 * Checks what stores data: the storage class of home volumes, and the agent's own ConfigMap and Secret. The agent's Role does not allow reading
 * storage classes; then a bound PersistentVolumeClaim shows that the class works.
 * @module
 */
import type { V1PersistentVolumeClaim, V1StorageClass } from "@kubernetes/client-node";
import type { Config } from "../cli/options.ts";
import { nameOf } from "../kubernetes/objects.ts";
import { ISSUED_KEYS, JOURNAL } from "../kubernetes/stores.ts";
import { APP, APP_LABEL } from "../model/names.ts";
import type { ClusterView } from "./cluster_view.ts";
import { type CheckName, type Finding, Findings } from "./report.ts";

/** Kubernetes accepts either. Source: https://github.com/kubernetes/kubernetes/blob/master/pkg/apis/storage/util/helpers.go */
const DEFAULT_CLASS_ANNOTATIONS = [
  "storageclass.kubernetes.io/is-default-class",
  "storageclass.beta.kubernetes.io/is-default-class",
];
const SETTING = "--storage-class (STORAGE_CLASS)";
const findings = new Findings("storage-class");

/** The findings of `storage-class`. */
export async function checkStorageClass(view: ClusterView, config: Config): Promise<Finding[]> {
  const { storageClass: className } = config;
  if (config.homeStrategy === "none") {
    return [findings.ok("No storage class is needed: --home-strategy is none")];
  }
  const claims = await listClaims(view, className);
  const mayList = await view.may({
    verb: "list",
    group: "storage.k8s.io",
    resource: "storageclasses",
    isClusterWide: true,
  });
  if (!mayList) return [checkByClaims(claims, className), ...pendingClaims(claims, view.namespace)];
  const classes = await view.list<V1StorageClass>("/apis/storage.k8s.io/v1/storageclasses");
  const selected = selectClass(classes, className);
  // With this mode, a claim is pending until the pod of its session is scheduled.
  const isLate = selected?.volumeBindingMode === "WaitForFirstConsumer";
  return [
    checkClass(selected, { classes, className }),
    ...(isLate ? [] : pendingClaims(claims, view.namespace)),
  ];
}

async function listClaims(view: ClusterView, className: string): Promise<readonly V1PersistentVolumeClaim[]> {
  if (!await view.may({ verb: "list", resource: "persistentvolumeclaims" })) return [];
  const path = `/api/v1/namespaces/${view.namespace}/persistentvolumeclaims`;
  const claims = await view.list<V1PersistentVolumeClaim>(path, {
    query: { labelSelector: `${APP_LABEL}=${APP}` },
    // There may be thousands.
    reduce: ({ metadata, spec, status }) => ({
      metadata: { name: nameOf({ metadata }) },
      spec: { storageClassName: spec?.storageClassName },
      status: { phase: status?.phase },
    }),
  });
  return claims.filter(({ spec }) => className === "" || spec?.storageClassName === className);
}

function selectClass(classes: readonly V1StorageClass[], className: string): V1StorageClass | undefined {
  if (className !== "") return classes.find(({ metadata }) => metadata?.name === className);
  return classes.find(({ metadata }) =>
    DEFAULT_CLASS_ANNOTATIONS.some((name) => metadata?.annotations?.[name] === "true")
  );
}

function checkClass(
  selected: V1StorageClass | undefined,
  { classes, className }: { classes: readonly V1StorageClass[]; className: string },
): Finding {
  if (selected) {
    const name = nameOf(selected);
    const which = className === "" ? `the cluster's default storage class, ${name}` : `storage class ${name}`;
    const late = selected.volumeBindingMode === "WaitForFirstConsumer"
      ? ", which binds a volume when the session's pod is scheduled"
      : "";
    return findings.ok(`Home volumes use ${which}${late}`);
  }
  const names = classes.map(nameOf).sort();
  const advice = names.length > 0
    ? `set ${SETTING} to one of ${names.join(", ")}`
    : "the cluster has no storage class: install one";
  return className === ""
    ? findings.fail("The cluster has no default storage class", advice)
    : findings.fail(`Storage class ${JSON.stringify(className)} does not exist`, advice);
}

function checkByClaims(claims: readonly V1PersistentVolumeClaim[], className: string): Finding {
  const bound = claims.find(({ status }) => status?.phase === "Bound");
  const which = className === "" ? "The default storage class" : `Storage class ${JSON.stringify(className)}`;
  return bound
    ? findings.ok(`${which} provisions volumes: PersistentVolumeClaim ${nameOf(bound)} is bound`)
    : findings.skip(`${which} was not checked`, "the agent may not read it: kubectl get storageclass");
}

function pendingClaims(claims: readonly V1PersistentVolumeClaim[], namespace: string): Finding[] {
  const names = claims.filter(({ status }) => status?.phase === "Pending").map(nameOf);
  if (names.length === 0) return [];
  const advice = `see the reason in kubectl -n ${namespace} describe pvc ${names[0]}`;
  const which = names.length === 1
    ? `PersistentVolumeClaim ${names[0]} is`
    : `${names.length} PersistentVolumeClaims are`;
  return [findings.warn(`${which} pending`, advice)];
}

/** The finding of `journal`. */
export async function checkJournal(view: ClusterView): Promise<Finding[]> {
  return await checkStore(view, {
    check: "journal",
    kind: "ConfigMap",
    resource: "configmaps",
    name: JOURNAL,
  });
}

/** The finding of `issued-key`; nothing of the Secret's content is reported. */
export async function checkIssuedKey(view: ClusterView): Promise<Finding[]> {
  return await checkStore(view, {
    check: "issued-key",
    kind: "Secret",
    resource: "secrets",
    name: ISSUED_KEYS,
  });
}

async function checkStore(
  view: ClusterView,
  store: { check: CheckName; kind: string; resource: string; name: string },
): Promise<Finding[]> {
  const { check, kind, resource, name } = store;
  const findings = new Findings(check);
  if (!await view.may({ verb: "get", resource, name })) {
    return [findings.skip(`${kind} ${name} was not checked`, "the agent may not read it")];
  }
  const object = await view.read(`/api/v1/namespaces/${view.namespace}/${resource}/${name}`);
  if (object) return [findings.ok(`${kind} ${name} exists`)];
  // With a developer's permissions, the agent creates it when it first needs it.
  if (await view.may({ verb: "create", resource })) {
    return [findings.ok(`${kind} ${name} does not exist yet, and the agent may create it`)];
  }
  return [
    findings.fail(`${kind} ${name} does not exist, and the agent may not create it`, "apply k8s/rbac.yaml"),
  ];
}
