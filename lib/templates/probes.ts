/**
 * Probes that a template brings in place of the agent's own. Pure.
 * @module
 */
import type { V1Probe } from "@kubernetes/client-node";
import type { TemplatePort } from "../model/template.ts";
import type { Field } from "../common/untrusted.ts";

const LONGEST_SECONDS = 86_400;
const MOST_HEADERS = 16;
const MOST_ARGUMENTS = 64;
const LONGEST_ARGUMENT = 8192;

type Probes = Partial<Record<"readinessProbe" | "livenessProbe" | "startupProbe", V1Probe>>;

/** Reads the probes of a template's spec, which ask the ports that it has. */
export function readProbes(spec: Field, ports: readonly TemplatePort[]): Probes {
  return spec.given<Probes>({
    readinessProbe: (probe) => readProbe(probe, { ports, isReadiness: true }),
    livenessProbe: (probe) => readProbe(probe, { ports, isReadiness: false }),
    startupProbe: (probe) => readProbe(probe, { ports, isReadiness: false }),
  });
}

/** The arguments of a program. */
export function readArguments(list: Field): string[] {
  return list.items(MOST_ARGUMENTS).map((argument) => {
    const { value } = argument;
    if (typeof value !== "string") throw argument.refused("must be text");
    if (value.length > LONGEST_ARGUMENT || value.includes("\0")) {
      throw argument.refused(`must be text of at most ${LONGEST_ARGUMENT} characters without NUL`);
    }
    return value;
  });
}

function readProbe(
  probe: Field,
  { ports, isReadiness }: { ports: readonly TemplatePort[]; isReadiness: boolean },
): V1Probe {
  const handler = probe.given<Pick<V1Probe, "exec" | "httpGet" | "tcpSocket" | "grpc">>({
    exec: (exec) => {
      const command = readArguments(exec.at("command"));
      if (command.length === 0) throw exec.at("command").missing();
      return { command };
    },
    httpGet: (request) => {
      refuseHost(request);
      return {
        port: readPort(request.at("port"), ports),
        ...request.given({
          path: (path) => path.text(),
          scheme: (scheme) => scheme.oneOf("HTTP", "HTTPS"),
          httpHeaders: (list) =>
            list.items(MOST_HEADERS).map((header) => ({
              name: header.at("name").matching(/^[A-Za-z0-9-]+$/, "must be the name of a header"),
              value: readHeader(header.at("value")),
            })),
        }),
      };
    },
    tcpSocket: (socket) => {
      refuseHost(socket);
      return { port: readPort(socket.at("port"), ports) };
    },
    grpc: (call) => ({
      port: call.at("port").whole(1, 65_535),
      ...call.given({ service: (service) => service.text() }),
    }),
  });
  if (Object.keys(handler).length !== 1) {
    throw probe.refused("must have one of tcpSocket, httpGet, exec, grpc");
  }
  return { ...handler, ...readTimes(probe, isReadiness) };
}

/** It may be a credential, which no error may show. */
function readHeader(field: Field): string {
  const { value } = field;
  if (typeof value !== "string" || !/^[\x20-\x7e]{0,4096}$/.test(value)) {
    throw field.refused("must be text of at most 4096 printable characters");
  }
  return value;
}

/** The node would ask any host for whoever wrote the template. */
function refuseHost(handler: Field): void {
  const host = handler.at("host");
  if (host.maybe(() => true)) throw host.refused("must not be set: a probe asks the session's own pod");
}

function readPort(port: Field, ports: readonly TemplatePort[]): number | string {
  if (typeof port.value !== "string") return port.whole(1, 65_535);
  const name = port.text();
  if (!ports.some((one) => one.name === name)) throw port.invalid("must be the name of a port");
  return name;
}

/** Zero is how Go writes a time that was not set. */
function readTimes(probe: Field, isReadiness: boolean): Partial<V1Probe> {
  const seconds = (field: Field) => field.whole(0, LONGEST_SECONDS) || undefined;
  return probe.given<Partial<V1Probe>>({
    initialDelaySeconds: seconds,
    timeoutSeconds: seconds,
    periodSeconds: seconds,
    failureThreshold: seconds,
    successThreshold: (field) => field.whole(0, isReadiness ? LONGEST_SECONDS : 1) || undefined,
  });
}
