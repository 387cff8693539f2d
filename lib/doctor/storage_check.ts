/**
 * Whether homes get a volume: the storage class is there, and what waits for it is bound. The agent's Role does not let it read storage
 * classes: then the homes that there are have to tell.
 * @module
 */
import type { V1PersistentVolumeClaim, V1StorageClass } from "@kubernetes/client-node";
import type { Config } from "../cli/options.ts";
import { APP, APP_LABEL } from "../model/names.ts";
import { nameOf } from "../kubernetes/objects.ts";
import type { ClusterView } from "./cluster_view.ts";
import { type Finding, Findings } from "./finding.ts";

/** Kubernetes goes by either. Source: https://github.com/kubernetes/kubernetes/blob/master/pkg/apis/storage/util/helpers.go */
const DEFAULT_ANNOTATIONS = [
  "storageclass.kubernetes.io/is-default-class",
  "storageclass.beta.kubernetes.io/is-default-class",
];
const SETTING = "--storage-class (STORAGE_CLASS)";
const findings = new Findings("storage-class");

/** The findings of `storage-class`. */
export async function checkStorage(view: ClusterView, config: Config): Promise<Finding[]> {
  if (config.homeStrategy === "none") {
    return [findings.ok("No storage class is needed: --home-strategy is none")];
  }
  const homes = await homesOf(view, config.storageClass);
  if (
    !await view.may({
      verb: "list",
      group: "storage.k8s.io",
      resource: "storageclasses",
      isClusterWide: true,
    })
  ) {
    return judgeByHomes(homes, { namespace: view.namespace, wanted: config.storageClass });
  }
  const classes = await view.list<V1StorageClass>("/apis/storage.k8s.io/v1/storageclasses");
  const judged = judgeClasses(classes, config.storageClass);
  const found = chosen(classes, config.storageClass);
  // Until its session's pod has a node, a home of such a class is not to be bound.
  const isLate = found?.volumeBindingMode === "WaitForFirstConsumer";
  return [judged, ...(isLate ? [] : waiting(homes, view.namespace))];
}

async function homesOf(view: ClusterView, wanted: string): Promise<readonly V1PersistentVolumeClaim[]> {
  if (!await view.may({ verb: "list", resource: "persistentvolumeclaims" })) return [];
  const query = new URLSearchParams({ labelSelector: `${APP_LABEL}=${APP}` });
  const path = `/api/v1/namespaces/${view.namespace}/persistentvolumeclaims?${query}`;
  const homes = await view.list<V1PersistentVolumeClaim>(path);
  return homes.filter(({ spec }) => wanted === "" || spec?.storageClassName === wanted);
}

function chosen(classes: readonly V1StorageClass[], wanted: string): V1StorageClass | undefined {
  if (wanted !== "") return classes.find(({ metadata }) => metadata?.name === wanted);
  return classes.find(({ metadata }) =>
    DEFAULT_ANNOTATIONS.some((name) => metadata?.annotations?.[name] === "true")
  );
}

function judgeClasses(classes: readonly V1StorageClass[], wanted: string): Finding {
  const found = chosen(classes, wanted);
  if (found) {
    const { name } = found.metadata ?? {};
    const which = wanted === "" ? `the cluster's default storage class, ${name}` : `storage class ${name}`;
    const late = found.volumeBindingMode === "WaitForFirstConsumer"
      ? ", which binds a home once its session has a node"
      : "";
    return findings.ok(`Homes are of ${which}${late}`);
  }
  const names = classes.map(nameOf).sort();
  const advice = names.length > 0
    ? `set ${SETTING} to one of ${names.join(", ")}`
    : "the cluster has none: install one";
  return wanted === ""
    ? findings.fail("The cluster has no default storage class", advice)
    : findings.fail(`Storage class ${JSON.stringify(wanted)} does not exist`, advice);
}

function judgeByHomes(
  homes: readonly V1PersistentVolumeClaim[],
  { namespace, wanted }: { namespace: string; wanted: string },
): Finding[] {
  const bound = homes.find(({ status }) => status?.phase === "Bound");
  const which = wanted === "" ? "The default storage class" : `Storage class ${JSON.stringify(wanted)}`;
  const name = bound?.metadata?.name;
  const judged = bound
    ? findings.ok(`${which} gives volumes: home ${name} is bound`)
    : findings.skip(`${which} is not known to exist`, "the agent may not read it: kubectl get storageclass");
  return [judged, ...waiting(homes, namespace)];
}

function waiting(homes: readonly V1PersistentVolumeClaim[], namespace: string): Finding[] {
  const names = homes.filter(({ status }) => status?.phase === "Pending").map(nameOf);
  if (names.length === 0) return [];
  const advice = `the cluster says why: kubectl -n ${namespace} describe pvc ${names[0]}`;
  const which = names.length === 1 ? `Home ${names[0]} waits` : `${names.length} homes wait`;
  return [findings.warn(`${which} for a volume`, advice)];
}
