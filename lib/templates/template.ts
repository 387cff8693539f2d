/**
 * The schema of Template objects (`stream.space/v1alpha1`) and of their `spec`. It is the source of the parser, of the OpenAPI schema in
 * `k8s/crds/templates.yaml` and of the field table in `docs/templates.md` (`deno task generate`). Unknown fields are ignored. Pure.
 * @module
 */
import * as v from "valibot";
import * as s from "../common/schema.ts";
import { asRecord } from "../common/json.ts";
import {
  DEFAULT_PORT,
  DISPLAY_PORT,
  HOME_PATH,
  HOME_VOLUME,
  imageTemplate,
  SHM_PATH,
  SHM_VOLUME,
  type Template,
  type TemplatePort,
} from "../model/template.ts";
import { ARGUMENTS, DISPLAY, IMAGE, MAX_PORTS, PORT_NUMBER, PORTS, PROBES } from "./container.ts";
import { ENVIRONMENT } from "./env.ts";
import { MOUNTS, SECURITY, SHM_SIZE, STORAGE, VOLUMES } from "./pod.ts";
import { RESOURCES } from "./resources.ts";
import { AFFINITY, NODE_SELECTOR, TOLERATIONS } from "./scheduling.ts";

const PROBE_NAMES = ["readinessProbe", "livenessProbe", "startupProbe"] as const;
const MAX_SECRETS = 16;
const MAX_BYTES = 64 * 1024;
const SECRET = s.documented(
  s.fields({ name: s.documented(s.objectName(), "The name of the Secret.") }),
  "A Secret.",
);
/** The classes of the system would let a session preempt the pods of the cluster itself. */
const PRIORITY_CLASS: s.Schema<string> = v.pipe(
  s.objectName(),
  v.check((name) => !name.startsWith("system-"), s.shown('must not begin with "system-"')),
);

/** The fields in the order in which they are checked and in which a template has them, on which the hash of a start depends. */
const SPEC_FIELDS = s.fields({
  hostNetwork: s.falseOnly(),
  hostPID: s.falseOnly(),
  hostIPC: s.falseOnly(),
  automountServiceAccountToken: s.falseOnly(),
  privileged: s.falseOnly(),
  serviceAccountName: s.forbidden("must not be set: sessions have no service account"),
  serviceAccount: s.forbidden("must not be set: sessions have no service account"),
  sysctls: s.forbidden("must not be set: sysctls affect more than the session"),
  envFrom: s.forbidden('must not be set: list each variable in "env"'),
  baseImage: s.documented(IMAGE, "The container image."),
  ports: s.nullish(PORTS, "Ports of the container, which are also the ports of the session's Service."),
  vnc: s.nullish(
    DISPLAY,
    "The display. Default of `port`: the port named `vnc`, or the first TCP port, or 3000 without ports.",
  ),
  volumes: s.optional(VOLUMES, "Directories that last as long as the pod."),
  env: v.optional(v.pipe(
    s.documented(ENVIRONMENT, "Environment variables."),
    v.metadata({ extras: { "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"] } }),
  )),
  defaultResources: s.optional(
    RESOURCES,
    "Resources of a session if its start does not set them, including extended resources such as `nvidia.com/gpu`.",
  ),
  command: s.optional(ARGUMENTS, "The program. Default: the entry point of the image."),
  args: s.optional(ARGUMENTS, "The arguments of the program."),
  volumeMounts: s.optional(
    MOUNTS,
    "Mounts of the home volume and of `volumes`. Default: the home volume at `/config`.",
  ),
  securityContext: s.optional(
    SECURITY,
    "The security context. It can restrict a session, not extend its rights.",
    s.OPAQUE,
  ),
  storage: s.optional(STORAGE, "A new home volume, where it differs from the agent's settings."),
  imagePullSecrets: s.optional(
    s.list(SECRET, MAX_SECRETS),
    "Secrets in the agent's namespace for pulling the image.",
  ),
  runtimeClassName: s.optional(s.objectName(), "The RuntimeClass of the pod."),
  priorityClassName: s.optional(
    PRIORITY_CLASS,
    "The PriorityClass of the pod; not one that begins with `system-`.",
  ),
  ...PROBES,
  nodeSelector: s.optional(NODE_SELECTOR, "Labels of the nodes on which sessions run."),
  tolerations: s.optional(TOLERATIONS, "Tolerations, as in a pod."),
  affinity: s.optional(AFFINITY, "Affinity, as in a pod, with `matchExpressions` only.", s.OPAQUE),
  shmSize: SHM_SIZE,
});

/** A problem with one field that depends on others. */
interface Problem {
  readonly message: string;
  readonly path: [v.ObjectPathItem, ...v.IssuePathItem[]];
}

/** The `spec` of a Template object. What it returns is a spec again, and reads as the same template. */
export const SPEC: s.Schema<Template> = v.pipe(
  SPEC_FIELDS,
  v.rawTransform(({ dataset, addIssue, NEVER }): Template => {
    const { baseImage, ports, vnc, volumes, ...others } = dataset.value;
    const display = addDisplay(ports ?? [], vnc?.port);
    if ("message" in display) {
      addIssue(display);
      return NEVER;
    }
    return { baseImage, ...display, ...(volumes ? { volumes } : {}), ...others };
  }),
  v.rawCheck(({ dataset, addIssue }) => {
    const problem = dataset.typed &&
      (mountProblem(dataset.value) ?? shmProblem(dataset.value) ?? probeProblem(dataset.value));
    if (problem) addIssue(problem);
  }),
);

/** A Template object. */
export const TEMPLATE: s.Schema<{ readonly spec: Template }> = v.pipe(
  s.fields({ kind: s.optional(s.oneOf("Template")), spec: SPEC }),
  v.transform(({ spec }) => ({ spec })),
);

/**
 * The `templateManifest` of a payload: a Template object or its JSON; `undefined` for `null`, an empty string and `{}`. What is filled in counts
 * towards the maximum size, so that the result can be parsed again.
 */
export const MANIFEST: s.Schema<{ readonly spec: Template } | undefined> = v.pipe(
  v.unknown(),
  v.check(
    (value) => isShort(typeof value === "string" ? value : JSON.stringify(value)),
    `must have at most ${MAX_BYTES} bytes of JSON`,
  ),
  v.rawTransform(({ dataset: { value }, addIssue, NEVER }) => {
    try {
      const object = typeof value !== "string" ? value : value.trim() === "" ? undefined : JSON.parse(value);
      return isEmptyObject(object) ? undefined : object ?? undefined;
    } catch {
      addIssue({ message: "must be an object, or the JSON of one" });
      return NEVER;
    }
  }),
  v.optional(TEMPLATE),
  v.check(
    (manifest) => manifest === undefined || isShort(JSON.stringify(manifest)),
    `must have at most ${MAX_BYTES} bytes of JSON`,
  ),
);

/** An entry of the setting `templates`: an image, an image and its port, or a spec. */
export const TEMPLATE_ENTRY: s.Schema<Template> = v.lazy((entry): s.Schema<Template> => {
  if (typeof entry === "string") return v.pipe(IMAGE, v.transform((image) => imageTemplate(image)));
  const named = v.safeParse(s.fields({ image: v.nullish(v.unknown()) }), entry);
  return named.success && named.output.image !== undefined ? SHORT_ENTRY : SPEC;
});

const SHORT_ENTRY: s.Schema<Template> = v.pipe(
  s.fields({ image: IMAGE, port: s.optional(PORT_NUMBER) }),
  v.transform(({ image, port }) => imageTemplate(image, port)),
);

/** The display's port: `vnc.port`, or the port named `vnc`, or the first TCP port. It becomes one of the ports. */
function addDisplay(
  ports: readonly TemplatePort[],
  wanted: number | undefined,
): Pick<Template, "ports" | "vnc"> | Problem {
  const candidates = ports.filter(({ protocol }) => protocol === "TCP");
  const chosen = candidates.find(({ name }) => name === DISPLAY_PORT) ?? candidates[0];
  if (wanted === undefined && !chosen && ports.length > 0) {
    return { message: "must have a TCP port for the display", path: [s.field("ports")] };
  }
  const port = wanted ?? chosen?.containerPort ?? DEFAULT_PORT;
  const vnc = { port };
  if (candidates.some(({ containerPort }) => containerPort === port)) return { ports, vnc };
  const name = [DISPLAY_PORT, `display-${port}`].find((one) => ports.every((other) => other.name !== one));
  if (name === undefined || ports.length >= MAX_PORTS) {
    const message = `must be one of the ports, but is ${port}`;
    return { message, path: [s.field("vnc"), s.field("port")] };
  }
  return { ports: [...ports, { name, containerPort: port, protocol: "TCP" }], vnc };
}

function mountProblem({ volumes = [], volumeMounts = [] }: Template): Problem | undefined {
  const known = [HOME_VOLUME, ...volumes.map(({ name }) => name)];
  const index = volumeMounts.findIndex(({ name }) => !known.includes(name));
  if (index >= 0) {
    const message = `must be "user-home" or one of the volumes, but is ${
      s.excerpt(volumeMounts[index]?.name)
    }`;
    return { message, path: [s.field("volumeMounts"), s.listEntry(index), s.field("name")] };
  }
  const isTaken = volumeMounts.some(({ mountPath }) => mountPath === HOME_PATH);
  if (!isTaken || volumeMounts.some(({ name }) => name === HOME_VOLUME)) return undefined;
  const message = `must mount the home volume, because its default path ${HOME_PATH} is in use`;
  return { message, path: [s.field("volumeMounts")] };
}

function shmProblem({ shmSize, volumes = [], volumeMounts = [] }: Template): Problem | undefined {
  const isMounted = volumeMounts.some(({ mountPath }) => mountPath === SHM_PATH);
  if (shmSize === undefined || !isMounted && volumes.every(({ name }) => name !== SHM_VOLUME)) {
    return undefined;
  }
  const message = isMounted
    ? `must not be set: volumeMounts mounts another volume at ${SHM_PATH}`
    : `must not be set: it adds a volume with the name ${SHM_VOLUME}, which volumes has already`;
  return { message, path: [s.field("shmSize")] };
}

function probeProblem(template: Template): Problem | undefined {
  for (const name of PROBE_NAMES) {
    for (const handler of ["httpGet", "tcpSocket"] as const) {
      const port = template[name]?.[handler]?.port;
      if (typeof port !== "string" || template.ports.some((one) => one.name === port)) continue;
      const message = `must be the name of a port, but is ${s.excerpt(port)}`;
      return { message, path: [s.field(name), s.field(handler), s.field("port")] };
    }
  }
  return undefined;
}

function isEmptyObject(value: unknown): boolean {
  const object = asRecord(value);
  return object !== undefined && Object.keys(object).length === 0;
}

function isShort(json: string): boolean {
  return new TextEncoder().encode(json).length <= MAX_BYTES;
}
