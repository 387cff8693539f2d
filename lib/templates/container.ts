/**
 * The container of a template: image, ports, arguments and probes. Pure.
 * @module
 */
import type { V1Probe } from "@kubernetes/client-node";
import * as v from "valibot";
import {
  documented,
  fields,
  forbidden,
  integer,
  list,
  matching,
  nonEmptyList,
  oneOf,
  OPAQUE,
  type Schema,
  shown,
  text,
  unique,
} from "../common/schema.ts";
import type { TemplatePort } from "../model/template.ts";

/** Most ports of a template, the display's included. */
export const MAX_PORTS = 32;
const MAX_PORT = 65_535;
const MAX_PORT_NAME = 15;
const MAX_SECONDS = 86_400;
const MAX_HEADERS = 16;
const MAX_ARGUMENTS = 64;
const MAX_ARGUMENT_LENGTH = 8192;
/** https://github.com/distribution/reference/blob/main/reference.go */
const IMAGE_REFERENCE =
  /^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::\d{1,5})?\/)?[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*)*(?::\w[\w.-]{0,127})?(?:@[a-z0-9]+:[0-9a-f]{32,128})?$/;
/** https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#ports */
const PORT_NAME = /^[a-z0-9]+(-[a-z0-9]+)*$/;
const WRONG_PORT_NAME = shown(
  "must be 1 to 15 lower-case letters, digits and single hyphens, with at least one letter",
);

/** The reference of an image. */
export const IMAGE: Schema<string> = matching(
  IMAGE_REFERENCE,
  'must be an image reference such as "example.com/desktop:1"',
  512,
);

/** The number of a port. */
export const PORT_NUMBER: Schema<number> = integer(1, MAX_PORT);

const PORT = v.pipe(
  fields({
    hostPort: forbidden("must not be set: sessions cannot use ports of their node", (value) => !value),
    containerPort: documented(PORT_NUMBER, "The number of the port."),
    name: v.optional(v.pipe(
      text(),
      v.maxLength(MAX_PORT_NAME, WRONG_PORT_NAME),
      v.regex(PORT_NAME, WRONG_PORT_NAME),
      v.check((name) => /[a-z]/.test(name), WRONG_PORT_NAME),
      v.description("A unique name. Default: `port-NUMBER`, with `-udp` or `-sctp` for these protocols."),
    )),
    protocol: v.optional(documented(oneOf("TCP", "UDP", "SCTP"), "The protocol. Default: `TCP`.")),
  }),
  v.transform(({ name, containerPort, protocol = "TCP" }): TemplatePort => {
    const suffix = protocol === "TCP" ? "" : `-${protocol.toLowerCase()}`;
    return { name: name ?? `port-${containerPort}${suffix}`, containerPort, protocol };
  }),
);

/** The ports of a template. */
export const PORTS: Schema<TemplatePort[]> = v.pipe(
  list(documented(PORT, "A port."), MAX_PORTS),
  unique("name"),
  unique("containerPort", ({ containerPort, protocol }) => `${containerPort}/${protocol}`),
);

/** `vnc`: the port of the display. With `enabled: false` the rest is ignored, and port 0 is how Go writes a port that is not set. */
export const DISPLAY: Schema<{ port?: number | undefined }> = v.pipe(
  fields({ enabled: v.optional(v.unknown()), port: v.optional(v.unknown()) }),
  v.transform(({ enabled, port }): unknown => enabled === false ? {} : { port }),
  fields({
    enabled: v.optional(
      documented(v.unknown(), "`false`: `port` is ignored. Default: `true`.", { type: "boolean" }),
    ),
    port: v.optional(v.pipe(
      integer(0, MAX_PORT),
      v.transform((port) => port || undefined),
      v.description("The port of the display, added to `ports` where it is missing. 0: not set."),
    )),
  }),
);

/** One argument of a program. */
const ARGUMENT: Schema<string> = v.pipe(
  v.string("must be a string"),
  v.check(
    (value) => value.length <= MAX_ARGUMENT_LENGTH && !value.includes("\0"),
    `must have at most ${MAX_ARGUMENT_LENGTH} characters, without NUL`,
  ),
);

/** The arguments of a program. */
export const ARGUMENTS: Schema<string[]> = list(ARGUMENT, MAX_ARGUMENTS);

const WRONG_HEADER = "must be a string of at most 4096 printable ASCII characters";

/** The value of a header may be a credential, so no message shows it. */
const HEADER = fields({
  name: matching(/^[A-Za-z0-9-]+$/, "must be the name of an HTTP header"),
  value: v.pipe(v.string(WRONG_HEADER), v.regex(/^[\x20-\x7e]{0,4096}$/, WRONG_HEADER)),
});

/** A probe of another host would let a template scan the node's network. */
const HOST = forbidden("must not be set: a probe checks the session's own pod", () => false);
/** Whether a template has a port of this name is checked once all ports are known. */
const PROBE_PORT: Schema<number | string> = v.lazy((input): Schema<number | string> =>
  typeof input === "string" ? text() : PORT_NUMBER
);

/** Seconds or a number of attempts; 0 is how Go writes a number that is not set. */
function count(max: number) {
  return v.optional(v.pipe(integer(0, max), v.transform((value) => value || undefined)));
}

/** A probe in place of the agent's own. @param description what it is for */
export function probe(description: string, { maxSuccesses }: { maxSuccesses: number }): Schema<V1Probe> {
  const schema = v.pipe(
    fields({
      exec: v.optional(fields({ command: nonEmptyList(ARGUMENT, MAX_ARGUMENTS) })),
      httpGet: v.optional(fields({
        host: HOST,
        port: PROBE_PORT,
        path: v.optional(text()),
        scheme: v.optional(oneOf("HTTP", "HTTPS")),
        httpHeaders: v.optional(list(HEADER, MAX_HEADERS)),
      })),
      tcpSocket: v.optional(fields({ host: HOST, port: PROBE_PORT })),
      grpc: v.optional(fields({ port: PORT_NUMBER, service: v.optional(text()) })),
      initialDelaySeconds: count(MAX_SECONDS),
      timeoutSeconds: count(MAX_SECONDS),
      periodSeconds: count(MAX_SECONDS),
      failureThreshold: count(MAX_SECONDS),
      successThreshold: count(maxSuccesses),
    }),
    v.check(
      ({ exec, httpGet, tcpSocket, grpc }) =>
        [exec, httpGet, tcpSocket, grpc].filter((one) => one !== undefined).length === 1,
      "must have exactly one of tcpSocket, httpGet, exec, grpc",
    ),
  );
  return documented(schema, description, OPAQUE);
}

/** The probes of a template. */
export const PROBES = {
  readinessProbe: v.optional(probe(
    "When the session is ready, as in a pod. Default: once the display port accepts connections.",
    { maxSuccesses: MAX_SECONDS },
  )),
  livenessProbe: v.optional(
    probe("When the container is restarted, as in a pod. Default: none.", { maxSuccesses: 1 }),
  ),
  startupProbe: v.optional(
    probe("How long the container may take to start, as in a pod. Default: none.", { maxSuccesses: 1 }),
  ),
};
