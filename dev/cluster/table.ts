/**
 * Tables: the response format for clients that only print, such as `kubectl get`, with the columns of the API server per kind.
 * @module
 */
import {
  type ApiObject,
  type Deployment,
  listOf,
  objectOf,
  type PersistentVolumeClaim,
  type Pod,
  type ReplicaSet,
  type Service,
} from "./api_objects.ts";
import { formatSelector } from "./selectors.ts";

/** Value of a cell. */
type Cell = string | number | boolean;

/** One column. */
interface Column {
  readonly name: string;
  /** Whether it is shown only with `-o wide`. @default {false} */
  readonly isWide?: boolean;
  readonly cell: (object: ApiObject) => Cell;
}

function column<T extends ApiObject>(name: string, cell: (object: T) => Cell | undefined): Column {
  return { name, cell: (object) => cell(object as T) ?? NONE };
}

function wide<T extends ApiObject>(name: string, cell: (object: T) => Cell | undefined): Column {
  return { ...column(name, cell), isWide: true };
}

const NONE = "<none>";
const NAME = column("Name", ({ metadata }) => metadata.name);
const AGE = column("Age", ({ metadata }) => since(metadata.creationTimestamp));

const COLUMNS: Readonly<Record<string, readonly Column[]>> = {
  Pod: [
    NAME,
    column<Pod>("Ready", ({ spec, status }) => `${readyContainers(status)}/${spec.containers.length}`),
    column<Pod>("Status", podStatus),
    column<Pod>("Restarts", ({ status }) => String(restarts(status))),
    AGE,
    wide<Pod>("IP", ({ status }) => status.podIP),
    wide<Pod>("Node", ({ spec }) => spec.nodeName),
    wide("Nominated Node", () => NONE),
    wide("Readiness Gates", () => NONE),
  ],
  Deployment: [
    NAME,
    column<Deployment>("Ready", ({ spec, status }) => `${status.readyReplicas ?? 0}/${spec.replicas ?? 0}`),
    column<Deployment>("Up-to-date", ({ status }) => status.updatedReplicas ?? 0),
    column<Deployment>("Available", ({ status }) => status.availableReplicas ?? 0),
    AGE,
    ...workloadColumns(),
  ],
  ReplicaSet: [
    NAME,
    column<ReplicaSet>("Desired", ({ spec }) => spec.replicas ?? 0),
    column<ReplicaSet>("Current", ({ status }) => status.replicas),
    column<ReplicaSet>("Ready", ({ status }) => status.readyReplicas ?? 0),
    AGE,
    ...workloadColumns(),
  ],
  Service: [
    NAME,
    column<Service>("Type", ({ spec }) => spec.type),
    column<Service>("Cluster-IP", ({ spec }) => spec.clusterIP),
    column("External-IP", () => NONE),
    column<Service>(
      "Port(s)",
      ({ spec }) => spec.ports?.map(({ port, protocol }) => `${port}/${protocol}`).join(","),
    ),
    AGE,
    wide<Service>("Selector", ({ spec }) => formatSelector({ matchLabels: spec.selector }) || NONE),
  ],
  PersistentVolumeClaim: [
    NAME,
    column<PersistentVolumeClaim>(
      "Status",
      ({ metadata, status }) => metadata.deletionTimestamp ? "Terminating" : status.phase,
    ),
    column<PersistentVolumeClaim>("Volume", ({ spec }) => spec.volumeName ?? ""),
    column<PersistentVolumeClaim>("Capacity", ({ status }) => status.capacity?.storage ?? ""),
    column<PersistentVolumeClaim>(
      "Access Modes",
      ({ status }) => status.accessModes?.map(shortMode).join(",") ?? "",
    ),
    column<PersistentVolumeClaim>("StorageClass", ({ spec }) => spec.storageClassName ?? ""),
    AGE,
    wide<PersistentVolumeClaim>("VolumeMode", ({ spec }) => spec.volumeMode),
  ],
  Event: [
    column("Last Seen", ({ lastTimestamp, metadata }) => since(lastTimestamp ?? metadata.creationTimestamp)),
    column("Type", ({ type }) => String(type ?? "")),
    column("Reason", ({ reason }) => String(reason ?? "")),
    column("Object", ({ involvedObject }) => {
      const { kind, name } = objectOf(involvedObject);
      return `${String(kind).toLowerCase()}/${name}`;
    }),
    wide("Source", ({ source }) => String(objectOf(source).component ?? "")),
    column("Message", ({ message }) => String(message ?? "").trim()),
    wide("Count", ({ count }) => Number(count ?? 1)),
    wide("Name", ({ metadata }) => metadata.name),
  ],
  ConfigMap: [NAME, column("Data", ({ data }) => Object.keys(objectOf(data)).length), AGE],
  Secret: [
    NAME,
    column("Type", ({ type }) => String(type)),
    column("Data", ({ data }) => Object.keys(objectOf(data)).length),
    AGE,
  ],
  Lease: [NAME, column("Holder", ({ spec }) => String(objectOf(spec).holderIdentity ?? "")), AGE],
  Namespace: [NAME, column("Status", ({ status }) => String(objectOf(status).phase)), AGE],
  StorageClass: [
    NAME,
    column("Provisioner", ({ provisioner }) => String(provisioner)),
    column("ReclaimPolicy", ({ reclaimPolicy }) => String(reclaimPolicy ?? "Delete")),
    column("VolumeBindingMode", ({ volumeBindingMode }) => String(volumeBindingMode ?? "Immediate")),
    column("AllowVolumeExpansion", ({ allowVolumeExpansion }) => allowVolumeExpansion === true),
    AGE,
  ],
  Node: [
    NAME,
    column("Status", ({ status }) => {
      const ready = listOf(objectOf(status).conditions).map(objectOf).find(({ type }) => type === "Ready");
      return ready?.status === "True" ? "Ready" : "NotReady";
    }),
    column("Roles", () => NONE),
    AGE,
    column("Version", ({ status }) => String(objectOf(objectOf(status).nodeInfo).kubeletVersion ?? "")),
  ],
  Role: [NAME, column("Created At", ({ metadata }) => metadata.creationTimestamp)],
  RoleBinding: [
    NAME,
    column("Role", ({ roleRef }) => `${objectOf(roleRef).kind}/${objectOf(roleRef).name}`),
    AGE,
  ],
};

/** Columns of a kind. */
function columnsOf(kind: string): readonly Column[] {
  return COLUMNS[kind] ?? [NAME, AGE];
}

function workloadColumns(): Column[] {
  return [
    wide<Deployment>(
      "Containers",
      ({ spec }) => spec.template.spec?.containers.map(({ name }) => name).join(","),
    ),
    wide<Deployment>(
      "Images",
      ({ spec }) => spec.template.spec?.containers.map(({ image }) => image).join(","),
    ),
    wide<Deployment>("Selector", ({ spec }) => formatSelector(spec.selector)),
  ];
}

function readyContainers(status: Pod["status"]): number {
  return (status.containerStatuses ?? []).filter(({ ready }) => ready).length;
}

function restarts(status: Pod["status"]): number {
  return (status.containerStatuses ?? []).reduce((sum, { restartCount }) => sum + restartCount, 0);
}

function podStatus({ metadata, status }: Pod): string | undefined {
  if (metadata.deletionTimestamp) return "Terminating";
  const reasons = (status.containerStatuses ?? []).map(({ state }) =>
    state?.waiting?.reason ?? state?.terminated?.reason
  );
  return reasons.find((reason) => reason !== undefined) ?? status.phase;
}

function shortMode(mode: string): string {
  return mode.replace(/[a-z]/g, "");
}

/** Age of a timestamp, in at most two units. */
function since(moment: unknown): string {
  const seconds = Math.max(0, Math.floor((Date.now() - Date.parse(String(moment))) / 1000));
  const [minutes, hours, days] = [60, 3600, 86400].map((unit) => Math.floor(seconds / unit)) as [
    number,
    number,
    number,
  ];
  if (seconds < 120) return `${seconds}s`;
  if (minutes < 10) return seconds % 60 === 0 ? `${minutes}m` : `${minutes}m${seconds % 60}s`;
  if (hours < 3) return `${minutes}m`;
  if (hours < 8) return minutes % 60 === 0 ? `${hours}h` : `${hours}h${minutes % 60}m`;
  if (hours < 48) return `${hours}h`;
  return `${days}d`;
}

/** Whether a client prefers a table. */
export function wantsTable(accept: string | null): boolean {
  return accept?.split(",").some((type) => type.includes("as=Table") && type.includes("v=v1;")) ?? false;
}

/** Table of objects of one kind. */
export function toTable(
  kind: string,
  objects: readonly ApiObject[],
  options: { resourceVersion?: string; includeObject?: string | null },
): unknown {
  const columns = columnsOf(kind);
  return {
    kind: "Table",
    apiVersion: "meta.k8s.io/v1",
    metadata: { resourceVersion: options.resourceVersion },
    columnDefinitions: columns.map(({ name, isWide }) => ({
      name,
      type: "string",
      format: name === "Name" ? "name" : "",
      description: "",
      priority: isWide ? 1 : 0,
    })),
    rows: objects.map((object) => ({
      cells: columns.map(({ cell }) => cell(object)),
      object: rowObject(object, options.includeObject),
    })),
  };
}

function rowObject(object: ApiObject, include = "Metadata" as string | null): unknown {
  if (include === "Object") return object;
  if (include === "None") return undefined;
  return { kind: "PartialObjectMetadata", apiVersion: "meta.k8s.io/v1", metadata: object.metadata };
}
