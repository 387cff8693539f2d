/**
 * A Template object of StreamSpace (`stream.space/v1alpha1`) as somebody wrote it goes in, a {@linkcode Template} of nothing but checked
 * fields or an error that names the path comes out. Pure; what it does not know it ignores.
 * @module
 */
import { parseQuantity } from "../common/quantities.ts";
import { cpuBounds, memoryBounds } from "./amounts.ts";
import {
  DEFAULT_PORT,
  DISPLAY_PORT,
  type Template,
  type TemplatePort,
  type TemplateStorage,
} from "../model/template.ts";
import { readEnvironment } from "./env.ts";
import { readArguments, readProbes } from "./probes.ts";
import { readMounts, readSecurity, readVolumes, refuseDangers } from "./safety.ts";
import { readScheduling } from "./scheduling.ts";
import { domainOf, Field } from "../common/untrusted.ts";

const MOST_PORTS = 32;
const MOST_SECRETS = 16;
const MOST_RESOURCES = 16;
const HIGHEST_PORT = 65_535;
/** Resources that every node has, besides those of a domain such as nvidia.com/gpu. */
const RESOURCES: readonly string[] = ["cpu", "memory", "ephemeral-storage"];
/** https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#ports */
const PORT_NAME = /^(?=.{1,15}$)(?=.*[a-z])[a-z0-9]+(?:-[a-z0-9]+)*$/;
/** https://github.com/distribution/reference/blob/main/reference.go */
const IMAGE =
  /^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::\d{1,5})?\/)?[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*)*(?::\w[\w.-]{0,127})?(?:@[a-z0-9]+:[0-9a-f]{32,128})?$/;
const ACCESS_MODES = ["ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"] as const;

/**
 * The manifest of a payload, as an object or as JSON, or `undefined` where there is none: nothing, `null`, empty text and `{}`.
 *
 * @throws {CommandError} where there is something else
 */
export function parseManifest(manifest: Field): Template | undefined {
  const { value } = manifest;
  manifest.checkLength(typeof value === "string" ? value : JSON.stringify(value ?? null));
  const object = typeof value === "string" ? new Field(parseJson(manifest, value), manifest.path) : manifest;
  if (object.isAbsent || object.names().length === 0) return undefined;
  const template = readTemplate(object);
  // What was left out is filled in, and must not be too much to be read again.
  manifest.checkLength(JSON.stringify({ spec: template }));
  return template;
}

/**
 * Reads a Template object.
 *
 * @throws {CommandError} naming the path and what is wrong there
 */
export function readTemplate(object: Field): Template {
  object.at("kind").maybe((kind) => kind.oneOf("Template"));
  const spec = object.at("spec");
  if (spec.isAbsent) throw spec.missing();
  return readSpec(spec);
}

/**
 * Reads the spec of a Template object.
 *
 * @throws {CommandError} naming the path and what is wrong there
 */
export function readSpec(spec: Field): Template {
  refuseDangers(spec);
  const baseImage = readImage(spec.at("baseImage"));
  const { ports, displayPort } = readPorts(spec);
  const volumes = spec.at("volumes").maybe(readVolumes);
  return {
    baseImage,
    ports,
    vnc: { port: displayPort },
    ...(volumes ? { volumes } : {}),
    ...spec.given<Partial<Template>>({
      env: readEnvironment,
      defaultResources: readResources,
      command: readArguments,
      args: readArguments,
      volumeMounts: (mounts) => readMounts(mounts, volumes ?? []),
      securityContext: readSecurity,
      storage: readStorage,
      imagePullSecrets: (list) =>
        list.items(MOST_SECRETS).map((one) => ({ name: one.at("name").objectName() })),
      runtimeClassName: (name) => name.objectName(),
      priorityClassName: readPriorityClass,
    }),
    ...readProbes(spec, ports),
    ...readScheduling(spec),
  };
}

/** Reads the reference of an image. */
export function readImage(image: Field): string {
  const text = image.text(512);
  if (!IMAGE.test(text)) throw image.invalid('must be an image such as "example.com/desktop:1"');
  return text;
}

function readPorts(spec: Field): { ports: TemplatePort[]; displayPort: number } {
  const list = spec.at("ports");
  const ports: TemplatePort[] = [];
  for (const entry of list.items(MOST_PORTS)) {
    const port = readPort(entry);
    const { name, containerPort, protocol } = port;
    if (ports.some((one) => one.name === name)) throw entry.at("name").invalid("must not be there twice");
    if (ports.some((one) => one.containerPort === containerPort && one.protocol === protocol)) {
      throw entry.at("containerPort").invalid("must not be there twice");
    }
    ports.push(port);
  }
  const displayPort = readDisplayPort(spec.at("vnc")) ?? choosePort(list, ports);
  if (!ports.some((port) => port.containerPort === displayPort && port.protocol === "TCP")) {
    const names = [DISPLAY_PORT, `display-${displayPort}`];
    const name = names.find((one) => ports.every((port) => port.name !== one));
    if (name === undefined || ports.length >= MOST_PORTS) {
      throw spec.at("vnc").at("port").invalid("must be one of the ports");
    }
    ports.push({ name, containerPort: displayPort, protocol: "TCP" });
  }
  return { ports, displayPort };
}

function readPort(entry: Field): TemplatePort {
  const hostPort = entry.at("hostPort");
  if (hostPort.value) throw hostPort.refused("must not be set: sessions have no ports on their nodes");
  const containerPort = entry.at("containerPort").whole(1, HIGHEST_PORT);
  const name = entry.at("name").maybe((field) =>
    field.matching(PORT_NAME, "must be 1 to 15 lower-case letters, digits and single hyphens, with a letter")
  );
  const protocol = entry.at("protocol").maybe((field) => field.oneOf("TCP", "UDP", "SCTP")) ?? "TCP";
  const ending = protocol === "TCP" ? "" : `-${protocol.toLowerCase()}`;
  return { name: name ?? `port-${containerPort}${ending}`, containerPort, protocol };
}

function readDisplayPort(vnc: Field): number | undefined {
  if (vnc.at("enabled").value === false) return undefined;
  // Zero is how Go writes a port that was not set.
  return vnc.at("port").maybe((port) => port.whole(0, HIGHEST_PORT) || undefined);
}

/** The display's port where `vnc.port` does not say: the one that is called `vnc`, or the first. */
function choosePort(list: Field, ports: readonly TemplatePort[]): number {
  const candidates = ports.filter(({ protocol }) => protocol === "TCP");
  const port = candidates.find(({ name }) => name === DISPLAY_PORT) ?? candidates[0];
  if (!port && ports.length > 0) throw list.refused("must have a port of TCP for the display");
  return port?.containerPort ?? DEFAULT_PORT;
}

/** Limits or requests: a session gets what it may use at most, as it requests all that it is limited to. */
function readResources(resources: Field): Record<string, string> {
  const requests = readAmounts(resources.at("requests"));
  const limits = readAmounts(resources.at("limits"));
  for (const [name, limit] of Object.entries(limits)) {
    const request = Object.hasOwn(requests, name) ? requests[name] : undefined;
    if (request !== undefined && (parseQuantity(request) ?? 0) > (parseQuantity(limit) ?? 0)) {
      throw resources.at("requests").at(name).refused(
        `must not be more than its limit of ${limit}, and is ${request}`,
      );
    }
  }
  return { ...readAmounts(resources, ["requests", "limits"]), ...requests, ...limits };
}

/** @param others fields that are no amounts */
function readAmounts(amounts: Field, others: readonly string[] = []): Record<string, string> {
  const known = [...RESOURCES, ...others];
  const extended = amounts.entries(MOST_RESOURCES)
    .filter(([name, amount]) => amount.isSet && !known.includes(name.toLowerCase()));
  return {
    ...amounts.given({
      cpu: (cpu) => cpu.written.quantity(cpuBounds(Infinity)),
      memory: (memory) => memory.written.quantity(memoryBounds(Infinity)),
      "ephemeral-storage": readSize,
    }),
    ...Object.fromEntries(extended.map(([name, amount]) => {
      if (!domainOf(name) || name.startsWith("requests.")) {
        throw amount.refused(`must be ${RESOURCES.join(", ")} or a resource such as nvidia.com/gpu`);
      }
      return [name, amount.written.matching(/^[1-9]\d{0,5}$/, "must be a whole number from 1 to 999999")];
    })),
  };
}

function readSize(size: Field): string {
  return size.written.quantity({ least: 2 ** 20, most: 2 ** 50, mostText: "1Pi", example: "10Gi" });
}

function readStorage(storage: Field): TemplateStorage {
  return storage.given<TemplateStorage>({
    size: readSize,
    storageClass: (name) => name.objectName(),
    accessMode: (mode) => mode.oneOf(...ACCESS_MODES),
  });
}

/** The classes of the cluster's own parts would let a session push those out of their nodes. */
function readPriorityClass(name: Field): string {
  const text = name.objectName();
  if (text.startsWith("system-")) throw name.invalid("must not be a class of the cluster itself");
  return text;
}

function parseJson(manifest: Field, text: string): unknown {
  if (text.trim() === "") return undefined;
  try {
    return JSON.parse(text);
  } catch {
    throw manifest.refused("must be an object, or JSON of one");
  }
}
