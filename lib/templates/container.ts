/**
 * The container of a template: image, ports, arguments and probes. Pure.
 * @module
 */
import type { V1Probe } from "@kubernetes/client-node";
import * as v from "valibot";
import * as s from "../common/schema.ts";
import type { TemplatePort } from "../model/template.ts";

/** Most ports of a template, including the display port. */
export const MAX_PORTS = 32;
const MAX_PORT = 65_535;
const MAX_SECONDS = 86_400;
const MAX_HEADERS = 16;
const MAX_ARGUMENTS = 64;
const MAX_ARGUMENT = 8192;
/** https://github.com/distribution/reference/blob/main/reference.go */
const IMAGE_REFERENCE =
  /^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::\d{1,5})?\/)?[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*)*(?::\w[\w.-]{0,127})?(?:@[a-z0-9]+:[0-9a-f]{32,128})?$/;
/** https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#ports */
const PORT_NAME = /^[a-z0-9]+(-[a-z0-9]+)*$/;
const WRONG_PORT_NAME = s.shown(
  "must be 1 to 15 lower-case letters, digits and single hyphens, with at least one letter",
);

/** The reference of an image. */
export const IMAGE: s.Schema<string> = s.matching(
  IMAGE_REFERENCE,
  'must be an image reference such as "example.com/desktop:1"',
  512,
);

/** The number of a port. */
export const PORT_NUMBER: s.Schema<number> = s.integer(1, MAX_PORT);

const PORT = v.pipe(
  s.fields({
    hostPort: s.forbidden("must not be set: sessions cannot use ports of their node", (value) => !value),
    containerPort: s.documented(PORT_NUMBER, "The number of the port."),
    name: s.optional(
      v.pipe(
        s.text(),
        v.maxLength(15, WRONG_PORT_NAME),
        v.regex(PORT_NAME, WRONG_PORT_NAME),
        v.check((name) => /[a-z]/.test(name), WRONG_PORT_NAME),
      ),
      "A unique name. Default: `port-NUMBER`, with `-udp` or `-sctp` for these protocols.",
    ),
    protocol: s.optional(s.oneOf("TCP", "UDP", "SCTP"), "The protocol. Default: `TCP`."),
  }),
  v.transform(({ name, containerPort, protocol = "TCP" }): TemplatePort => {
    const suffix = protocol === "TCP" ? "" : `-${protocol.toLowerCase()}`;
    return { name: name ?? `port-${containerPort}${suffix}`, containerPort, protocol };
  }),
);

/** The ports of a template. */
export const PORTS: s.Schema<TemplatePort[]> = v.pipe(
  s.list(s.documented(PORT, "A port."), MAX_PORTS),
  s.unique("name"),
  s.unique("containerPort", ({ containerPort, protocol }) => `${containerPort}/${protocol}`),
);

/** `vnc`: the display port. With `enabled: false`, it is neither used nor checked. */
export const DISPLAY: s.Schema<{ port?: number | undefined }> = v.pipe(
  s.fields({ enabled: s.optional(v.unknown()), port: s.optional(v.unknown()) }),
  v.transform(({ enabled, port }): unknown => enabled === false ? {} : { port }),
  s.fields({
    enabled: s.optional(v.unknown(), "`false`: `port` is ignored. Default: `true`.", { type: "boolean" }),
    port: s.optional(
      // 0 is how Go marshals a port that is not set.
      v.pipe(s.integer(0, MAX_PORT), v.transform((port) => port || undefined)),
      "The display port, which is added to `ports` if necessary. 0: not set.",
    ),
  }),
);

const ARGUMENT: s.Schema<string> = v.pipe(
  v.string("must be a string"),
  v.check(
    (value) => value.length <= MAX_ARGUMENT && !value.includes("\0"),
    `must have at most ${MAX_ARGUMENT} characters, without NUL`,
  ),
);

/** The arguments of a program. */
export const ARGUMENTS: s.Schema<string[]> = s.list(ARGUMENT, MAX_ARGUMENTS);

/** Its value may be a credential, so no message shows it. */
const HEADER = s.fields({
  name: s.matching(/^[A-Za-z0-9-]+$/, "must be the name of an HTTP header"),
  value: s.pattern(/^[\x20-\x7e]{0,4096}$/, "must be a string of at most 4096 printable ASCII characters"),
});

/** Probing other hosts would let a template scan the network of the node. */
const HOST = s.forbidden("must not be set: a probe checks the session's own pod", () => false);

/** The names of ports are checked when all ports are known. */
const PROBE_PORT: s.Schema<number | string> = v.lazy((input): s.Schema<number | string> =>
  typeof input === "string" ? s.text() : PORT_NUMBER
);

/** Seconds or attempts; 0 is how Go marshals a number that is not set. */
function count(max: number) {
  return s.optional(v.pipe(s.integer(0, max), v.transform((value) => value || undefined)));
}

function probe(description: string, maxSuccesses: number): v.OptionalSchema<s.Schema<V1Probe>, undefined> {
  const schema = v.pipe(
    s.fields({
      exec: s.optional(s.fields({ command: s.nonEmptyList(ARGUMENT, MAX_ARGUMENTS) })),
      httpGet: s.optional(s.fields({
        host: HOST,
        port: PROBE_PORT,
        path: s.optional(s.text()),
        scheme: s.optional(s.oneOf("HTTP", "HTTPS")),
        httpHeaders: s.optional(s.list(HEADER, MAX_HEADERS)),
      })),
      tcpSocket: s.optional(s.fields({ host: HOST, port: PROBE_PORT })),
      grpc: s.optional(s.fields({ port: PORT_NUMBER, service: s.optional(s.text()) })),
      initialDelaySeconds: count(MAX_SECONDS),
      timeoutSeconds: count(MAX_SECONDS),
      periodSeconds: count(MAX_SECONDS),
      failureThreshold: count(MAX_SECONDS),
      successThreshold: count(maxSuccesses),
    }),
    v.check(
      ({ exec, httpGet, tcpSocket, grpc }) =>
        [exec, httpGet, tcpSocket, grpc].filter((handler) => handler !== undefined).length === 1,
      "must have exactly one of tcpSocket, httpGet, exec, grpc",
    ),
  );
  return s.optional(schema, description, s.OPAQUE);
}

/** The probes of a template. Kubernetes allows more than 1 success for readiness probes only. */
export const PROBES = {
  readinessProbe: probe(
    "Readiness probe, as in a pod. Default: a TCP connection to the display port.",
    MAX_SECONDS,
  ),
  livenessProbe: probe("Liveness probe, as in a pod.", 1),
  startupProbe: probe("Startup probe, as in a pod.", 1),
};
