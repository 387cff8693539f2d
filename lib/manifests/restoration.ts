/**
 * Derives the Service of a session from its Deployment, so that one that somebody deleted or changed can be restored. The Deployments of the Go
 * agent and of earlier versions are enough for that. Pure.
 * @module
 */
import { isDeepStrictEqual } from "node:util";
import type { V1Container, V1Deployment, V1Service, V1ServicePort } from "@kubernetes/client-node";
import {
  COMMAND_ANNOTATION,
  DISPLAY_PORT_ANNOTATION,
  HOME_ANNOTATION,
  MANAGED_BY,
  MANAGED_BY_LABEL,
  SESSION_ANNOTATION,
  SESSION_CONTAINER,
  TEMPLATE_ANNOTATION,
  USER_ANNOTATION,
} from "../model/names.ts";

type MergePatch = Readonly<Record<string, unknown>>;

const ORIGINALS = [SESSION_ANNOTATION, USER_ANNOTATION, TEMPLATE_ANNOTATION];

/** The port that the Control Plane connects to for all images of a publisher, whatever the template of a session says. */
const ASSUMED_DISPLAY_PORTS: readonly (readonly [publisher: RegExp, port: number])[] = [
  [/(^|\/)linuxserver\//, 3000],
  [/(^|\/)kasmweb\//, 6901],
];
/** Name of the additional Service port. */
const DISPLAY_ALIAS = "display-alias";

/** Annotations of a Deployment with the unmodified names, which all objects of its session have. */
export function originalAnnotations({ metadata }: V1Deployment): Record<string, string> {
  return pick(metadata?.annotations, ORIGINALS);
}

/** Builds the Service of a session. */
export function buildService(deployment: V1Deployment): V1Service {
  const { name, namespace, labels, annotations } = deployment.metadata ?? {};
  const { containers = [], volumes = [] } = deployment.spec?.template.spec ?? {};
  const home = volumes.find((volume) => volume.persistentVolumeClaim)?.persistentVolumeClaim?.claimName;
  const container = containers.find((one) => one.name === SESSION_CONTAINER) ?? containers[0];
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: {
      ...(name ? { name } : {}),
      ...(namespace ? { namespace } : {}),
      ...(labels ? { labels } : {}),
      annotations: {
        ...originalAnnotations(deployment),
        ...pick(annotations, [COMMAND_ANNOTATION]),
        ...(home ? { [HOME_ANNOTATION]: home } : {}),
      },
    },
    spec: {
      selector: { ...deployment.spec?.selector.matchLabels },
      ports: container ? servicePorts(container, displayPort(deployment)) : [],
    },
  };
}

function displayPort({ spec }: V1Deployment): number | undefined {
  const annotation = spec?.template.metadata?.annotations?.[DISPLAY_PORT_ANNOTATION];
  return annotation === undefined ? undefined : Number(annotation);
}

/** The ports of the container, and the one that the Control Plane assumes for its image, which leads to the display. */
function servicePorts({ image = "", ports = [] }: V1Container, display: number | undefined): V1ServicePort[] {
  const own = ports.map(({ name, containerPort, protocol = "TCP" }) => ({
    ...(name ? { name } : {}),
    port: containerPort,
    protocol,
    targetPort: name ?? containerPort,
  }));
  const target = own.find(({ port, protocol }) => port === display && protocol === "TCP");
  const assumed = ASSUMED_DISPLAY_PORTS.find(([publisher]) => publisher.test(image))?.[1];
  const isTaken = own.some(({ name, port }) => port === assumed || name === DISPLAY_ALIAS);
  // With more than one port, each must have a name.
  if (!target?.name || assumed === undefined || isTaken) return own;
  return [...own, {
    name: DISPLAY_ALIAS,
    port: assumed,
    protocol: "TCP",
    targetPort: target.targetPort,
  }];
}

/**
 * The change that makes a Service lead to its session again; `undefined` if it does. Labels, ports and the type that others added stay. Services
 * of the Go agent can differ in their ports.
 */
export function serviceChange(actual: V1Service, deployment: V1Deployment): MergePatch | undefined {
  const desired = buildService(deployment);
  const selector = actual.spec?.selector ?? {};
  const { labels = {} } = deployment.spec?.template.metadata ?? {};
  const isManaged = deployment.metadata?.labels?.[MANAGED_BY_LABEL] === MANAGED_BY;
  const isSelecting = isManaged
    ? isDeepStrictEqual({ ...selector }, desired.spec?.selector)
    : Object.keys(selector).length > 0 &&
      Object.entries(selector).every(([key, value]) => labels[key] === value);
  const ports = actual.spec?.ports ?? [];
  const desiredPorts = desired.spec?.ports ?? [];
  const arePortsOpen = isManaged
    ? desiredPorts.every((port) => ports.some((one) => isSamePort(one, port)))
    : ports.length > 0;
  const isExternal = actual.spec?.type === "ExternalName";
  if (isSelecting && arePortsOpen && !isExternal) return undefined;
  return {
    spec: {
      ...(isExternal ? { type: "ClusterIP", externalName: null } : {}),
      ...(isSelecting ? {} : { selector: replacement(selector, desired.spec?.selector ?? {}) }),
      ...(arePortsOpen ? {} : { ports: mergePorts(ports, desiredPorts) }),
    },
  };
}

/** Missing fields of a port have the defaults of the API server. */
function isSamePort(one: V1ServicePort, other: V1ServicePort): boolean {
  const plain = ({ name = "", port, protocol = "TCP", targetPort = port }: V1ServicePort) =>
    [name, port, protocol, String(targetPort)].join("/");
  return plain(one) === plain(other);
}

/** The desired ports with the node ports of the actual ones, and other ports that do not collide with them. */
function mergePorts(actual: readonly V1ServicePort[], desired: readonly V1ServicePort[]): V1ServicePort[] {
  const kept = desired.map((port) => {
    const nodePort = actual.find(({ name }) => name === port.name)?.nodePort;
    return nodePort === undefined ? port : { ...port, nodePort };
  });
  const others = actual.filter((one) =>
    desired.every(({ name, port }) => one.name !== undefined && one.name !== name && one.port !== port)
  );
  return [...kept, ...others];
}

/** The merge patch that replaces a map. */
function replacement(
  actual: Readonly<Record<string, string>>,
  desired: Readonly<Record<string, string>>,
): Record<string, string | null> {
  return { ...Object.fromEntries(Object.keys(actual).map((key) => [key, null])), ...desired };
}

function pick(
  entries: Readonly<Record<string, string>> | undefined,
  keys: readonly string[],
): Record<string, string> {
  return Object.fromEntries(keys.flatMap((key) => {
    const value = entries?.[key];
    return value === undefined ? [] : [[key, value]];
  }));
}
