import { assert, assertEquals, assertThrows } from "@std/assert";
import { CommandError } from "../../lib/common/errors.ts";
import type { Template } from "../../lib/model/template.ts";
import { parseManifest, readTemplate } from "../../lib/templates/manifest.ts";
import { Field } from "../../lib/common/untrusted.ts";

const IMAGE = "example.com/gimp:1";
const VNC = { name: "vnc", containerPort: 3000, protocol: "TCP" };
const LEAST = { baseImage: IMAGE, ports: [VNC], vnc: { port: 3000 } };

function read(spec: unknown): Template | undefined {
  return parseManifest(new Field({ spec }, "templateManifest"));
}

function refusal(spec: unknown): string {
  const error = assertThrows(() => read(spec), CommandError);
  assertEquals(error.failure, "invalid");
  return error.message;
}

/** Every field, as an author may write it, and as it is read. */
const FULL_SPEC = {
  displayName: "GIMP",
  description: "Pictures",
  category: "Graphics",
  icon: "https://example.com/gimp.svg",
  tags: ["art"],
  capabilities: ["Network", "Audio"],
  baseImage: "registry.example.com:5000/desktops/gimp:2.10@sha256:" + "0a".repeat(32),
  ports: [
    { name: "web", containerPort: 6901, protocol: "TCP" },
    { name: "audio", containerPort: 4901, protocol: "UDP" },
  ],
  vnc: { enabled: true, port: 6901, protocol: "websocket" },
  env: [
    { name: "TZ", value: "Europe/Berlin" },
    { name: "EMPTY" },
    { name: "NODE", valueFrom: { fieldRef: { fieldPath: "spec.nodeName" } } },
    { name: "MEMORY", valueFrom: { resourceFieldRef: { resource: "limits.memory", divisor: "1Mi" } } },
    { name: "PASSWORD", valueFrom: { secretKeyRef: { name: "gimp", key: "password", optional: true } } },
    { name: "MOTD", valueFrom: { configMapKeyRef: { name: "texts", key: "motd.txt" } } },
  ],
  defaultResources: {
    requests: { cpu: "500m", memory: "1Gi" },
    limits: { cpu: 2, memory: "4Gi", "nvidia.com/gpu": 1, "ephemeral-storage": "1Gi" },
  },
  command: ["/init"],
  args: ["--verbose", ""],
  readinessProbe: { httpGet: { path: "/health", port: "web", scheme: "HTTPS" }, periodSeconds: 2 },
  livenessProbe: { exec: { command: ["pgrep", "Xvnc"] }, timeoutSeconds: 3, successThreshold: 1 },
  startupProbe: { tcpSocket: { port: 6901 }, failureThreshold: 60, initialDelaySeconds: 0 },
  volumes: [{ name: "shm", emptyDir: { medium: "Memory", sizeLimit: "1Gi" } }, {
    name: "cache",
    emptyDir: {},
  }],
  volumeMounts: [
    { name: "user-home", mountPath: "/home/kasm-user", subPath: "gimp" },
    { name: "shm", mountPath: "/dev/shm" },
    { name: "cache", mountPath: "/cache", readOnly: true },
  ],
  securityContext: {
    runAsUser: 1001,
    runAsGroup: 1001,
    runAsNonRoot: true,
    readOnlyRootFilesystem: false,
    fsGroup: 1001,
    supplementalGroups: [44],
    capabilities: { add: [], drop: ["NET_RAW"] },
    seccompProfile: { type: "RuntimeDefault" },
    privileged: false,
    allowPrivilegeEscalation: false,
    procMount: "Default",
    seLinuxOptions: {},
  },
  storage: { size: "20Gi", storageClass: "fast", accessMode: "ReadWriteMany" },
  imagePullSecrets: [{ name: "registry" }],
  runtimeClassName: "gvisor",
  priorityClassName: "desktops",
  nodeSelector: { "example.com/pool": "gpu", empty: "" },
  tolerations: [
    { key: "gpu", operator: "Exists", effect: "NoSchedule" },
    { key: "slow", value: "yes", effect: "NoExecute", tolerationSeconds: 60 },
  ],
  affinity: {
    nodeAffinity: {
      requiredDuringSchedulingIgnoredDuringExecution: {
        nodeSelectorTerms: [{ matchExpressions: [{ key: "zone", operator: "In", values: ["a", "b"] }] }],
      },
      preferredDuringSchedulingIgnoredDuringExecution: [
        { weight: 5, preference: { matchExpressions: [{ key: "ssd", operator: "Exists" }] } },
      ],
    },
  },
  hostNetwork: false,
  serviceAccountName: "",
};

const FULL = {
  baseImage: FULL_SPEC.baseImage,
  ports: FULL_SPEC.ports,
  vnc: { port: 6901 },
  env: FULL_SPEC.env.map((one) => one.name === "EMPTY" ? { name: "EMPTY", value: "" } : one),
  defaultResources: { cpu: "2", memory: "4Gi", "nvidia.com/gpu": "1", "ephemeral-storage": "1Gi" },
  command: ["/init"],
  args: ["--verbose", ""],
  readinessProbe: FULL_SPEC.readinessProbe,
  livenessProbe: FULL_SPEC.livenessProbe,
  startupProbe: { tcpSocket: { port: 6901 }, failureThreshold: 60 },
  volumes: FULL_SPEC.volumes,
  volumeMounts: [
    { name: "home", mountPath: "/home/kasm-user", subPath: "gimp" },
    ...FULL_SPEC.volumeMounts.slice(1),
  ],
  securityContext: {
    runAsUser: 1001,
    runAsGroup: 1001,
    runAsNonRoot: true,
    readOnlyRootFilesystem: false,
    fsGroup: 1001,
    supplementalGroups: [44],
    capabilities: { drop: ["NET_RAW"] },
  },
  storage: FULL_SPEC.storage,
  imagePullSecrets: [{ name: "registry" }],
  runtimeClassName: "gvisor",
  priorityClassName: "desktops",
  nodeSelector: FULL_SPEC.nodeSelector,
  tolerations: FULL_SPEC.tolerations,
  affinity: FULL_SPEC.affinity,
};

Deno.test("readTemplate() reads all that a template may say, and nothing else", () => {
  assertEquals<unknown>(read(FULL_SPEC), FULL);
});

Deno.test("readTemplate() reads what it has read as the same", () => {
  assertEquals(read(read(FULL_SPEC)), read(FULL_SPEC));
  assertEquals(read(JSON.parse(JSON.stringify(read(FULL_SPEC)))), read(FULL_SPEC));
});

/** The keys that are a struct's fields in Go; those of mappings are data. */
function capitalised(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(capitalised);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, entry]) => [
      key.includes("/") ? key : key.charAt(0).toUpperCase() + key.slice(1),
      key === "nodeSelector" ? entry : capitalised(entry),
    ]),
  );
}

Deno.test("readTemplate() reads keys as Go writes them, all upper case where they are an abbreviation", () => {
  const spec = capitalised(FULL_SPEC) as Record<string, unknown>;
  const { Vnc: VNC, ...rest } = spec;
  const manifest = { APIVersion: "stream.space/v1alpha1", Kind: "Template", Spec: { ...rest, VNC } };
  assertEquals<unknown>(readTemplate(new Field(manifest, "templateManifest")), FULL);
});

const ACCEPTED: Array<[name: string, spec: unknown, expected: unknown]> = [
  ["no ports", { baseImage: IMAGE }, LEAST],
  ["ports that Go left empty", { baseImage: IMAGE, ports: null, vnc: { enabled: false, port: 0 } }, LEAST],
  ["a port without a name", { baseImage: IMAGE, ports: [{ containerPort: 80 }] }, {
    baseImage: IMAGE,
    ports: [{ name: "port-80", containerPort: 80, protocol: "TCP" }],
    vnc: { port: 80 },
  }],
  [
    "a port named vnc behind others",
    { baseImage: IMAGE, ports: [{ name: "web", containerPort: 80 }, { name: "vnc", containerPort: 5900 }] },
    {
      baseImage: IMAGE,
      ports: [
        { name: "web", containerPort: 80, protocol: "TCP" },
        { name: "vnc", containerPort: 5900, protocol: "TCP" },
      ],
      vnc: { port: 5900 },
    },
  ],
  [
    "a display port that is not among the ports",
    { baseImage: IMAGE, ports: [{ name: "vnc", containerPort: 5900 }], vnc: { port: 6901 } },
    {
      baseImage: IMAGE,
      ports: [
        { name: "vnc", containerPort: 5900, protocol: "TCP" },
        { name: "display-6901", containerPort: 6901, protocol: "TCP" },
      ],
      vnc: { port: 6901 },
    },
  ],
  [
    "one number for TCP and UDP",
    { baseImage: IMAGE, ports: [{ name: "u", containerPort: 80, protocol: "UDP" }, { containerPort: 80 }] },
    {
      baseImage: IMAGE,
      ports: [
        { name: "u", containerPort: 80, protocol: "UDP" },
        { name: "port-80", containerPort: 80, protocol: "TCP" },
      ],
      vnc: { port: 80 },
    },
  ],
  ["amounts without limits", { baseImage: IMAGE, defaultResources: { cpu: "2", memory: "" } }, {
    ...LEAST,
    defaultResources: { cpu: "2" },
  }],
  ["amounts that are numbers", {
    baseImage: IMAGE,
    defaultResources: { cpu: 0.5, "ephemeral-storage": 2 ** 30, limits: { memory: 2 ** 31 } },
    storage: { size: 10 * 2 ** 30 },
    volumes: [{ name: "shm", emptyDir: { sizeLimit: 2 ** 30 } }],
  }, {
    ...LEAST,
    defaultResources: { cpu: "0.5", "ephemeral-storage": "1073741824", memory: "2147483648" },
    storage: { size: "10737418240" },
    volumes: [{ name: "shm", emptyDir: { sizeLimit: "1073741824" } }],
  }],
  [
    "a display port of 0, which Go writes for none",
    { baseImage: IMAGE, vnc: { enabled: true, port: 0 } },
    LEAST,
  ],
  ["what may not be set and is empty", {
    baseImage: IMAGE,
    affinity: { podAffinity: {}, podAntiAffinity: null },
    securityContext: { seccompProfile: {}, procMount: "", sysctls: [] },
    defaultResources: { claims: [], requests: {} },
    envFrom: [],
    sysctls: null,
  }, { ...LEAST, securityContext: {}, defaultResources: {} }],
  ["ports of one number without names", {
    baseImage: IMAGE,
    ports: ["TCP", "UDP", "SCTP"].map((protocol) => ({ containerPort: 65_535, protocol })),
  }, {
    baseImage: IMAGE,
    ports: [
      { name: "port-65535", containerPort: 65_535, protocol: "TCP" },
      { name: "port-65535-udp", containerPort: 65_535, protocol: "UDP" },
      { name: "port-65535-sctp", containerPort: 65_535, protocol: "SCTP" },
    ],
    vnc: { port: 65_535 },
  }],
  ["unknown fields", { baseImage: IMAGE, __proto__: 1, constructor: 5, initContainers: [] }, LEAST],
];

for (const [name, spec, expected] of ACCEPTED) {
  Deno.test(`readTemplate() takes ${name}`, () => {
    assertEquals<unknown>(read(spec), expected);
  });
}

const NEITHER_SECRET = "must have one of fieldRef, resourceFieldRef, secretKeyRef, configMapKeyRef";
/** What stands beside an image, where it is wrong, and how. */
const REFUSED: Array<[spec: Record<string, unknown>, path: string, problem: string]> = [
  [{ baseImage: 5 }, "baseImage", "must be text, and is 5"],
  ...["", " ", "a b", "a/UPPER", "https://example.com/a", "a:b:c", "../a", "a/", "a@sha256:12", "-a"].map(
    (baseImage): [Record<string, unknown>, string, string] => [
      { baseImage },
      "baseImage",
      baseImage.trim() === ""
        ? `must not be empty, and is ${JSON.stringify(baseImage)}`
        : `must be an image such as "example.com/desktop:1", and is ${JSON.stringify(baseImage)}`,
    ],
  ),
  [{ ports: {} }, "ports", "must be a list, and is an object"],
  [{ ports: Array(33).fill(VNC) }, "ports", "must not have more than 32 entries"],
  ...[0, -1, 70_000, 80.5, "3000", true].map((containerPort): [Record<string, unknown>, string, string] => [
    { ports: [VNC, { containerPort }] },
    "ports[1].containerPort",
    `must be a whole number from 1 to 65535, and is ${JSON.stringify(containerPort)}`,
  ]),
  [{ ports: ["80"] }, "ports[0]", "must be an object, and is text"],
  [{ ports: [VNC, { ...VNC, containerPort: 1 }] }, "ports[1].name", 'must not be there twice, and is "vnc"'],
  [{ ports: [VNC, { ...VNC, name: "b" }] }, "ports[1].containerPort", "must not be there twice, and is 3000"],
  ...["sixteen-letters-", "sixteen-letters1", "VNC", "80", "a--b", "a_b"].map(
    (name): [Record<string, unknown>, string, string] => [
      { ports: [{ name, containerPort: 80 }] },
      "ports[0].name",
      `must be 1 to 15 lower-case letters, digits and single hyphens, with a letter, and is "${name}"`,
    ],
  ),
  [
    { ports: [{ containerPort: 80, protocol: "tcp" }] },
    "ports[0].protocol",
    'must be one of TCP, UDP, SCTP, and is "tcp"',
  ],
  [{ ports: [{ containerPort: 80, protocol: "UDP" }] }, "ports", "must have a port of TCP for the display"],
  [
    { ports: [{ containerPort: 80, hostPort: 80 }] },
    "ports[0].hostPort",
    "must not be set: sessions have no ports on their nodes",
  ],
  [{ vnc: { enabled: true, port: -1 } }, "vnc.port", "must be a whole number from 0 to 65535, and is -1"],
  [{ vnc: 5900 }, "vnc", "must be an object, and is a number"],
  [
    { ports: [VNC, { name: "display-5900", containerPort: 1 }], vnc: { port: 5900 } },
    "vnc.port",
    "must be one of the ports, and is 5900",
  ],
  [
    {
      ports: Array.from({ length: 32 }, (_, index) => ({ containerPort: index + 1 })),
      vnc: { port: 5900 },
    },
    "vnc.port",
    "must be one of the ports, and is 5900",
  ],
  [
    { livenessProbe: { httpGet: { port: 80, httpHeaders: [{ name: "A", value: "s3cret\n" }] } } },
    "livenessProbe.httpGet.httpHeaders[0].value",
    "must be text of at most 4096 printable characters",
  ],
  [{ env: { A: "s3cret" } }, "env", "must be a list, and is an object"],
  [{ env: ["A=s3cret"] }, "env[0]", "must be an object, and is text"],
  [{ env: [{ name: "A", value: 5 }] }, "env[0].value", "must be text"],
  [{ env: [{ name: "A" }, { name: "A" }] }, "env[1].name", "must not name A again"],
  [{ env: [{ name: "USER", value: "root" }] }, "env[0].name", "must not be USER, which the agent sets"],
  [{ env: [{ name: "SESSION_ID" }] }, "env[0].name", "must not be SESSION_ID, which the agent sets"],
  [
    { env: [{ name: "A=s3cret" }] },
    "env[0].name",
    "must be named with letters, digits, underscores, hyphens and dots",
  ],
  [
    { env: [{ name: "PUID", value: "me" }] },
    "env[0].value",
    "must be the number of a user or group, from 0 to 2147483647",
  ],
  [
    { env: [{ name: "PGID", valueFrom: { fieldRef: { fieldPath: "metadata.uid" } } }] },
    "env[0].valueFrom",
    'must be a "value" for PGID',
  ],
  [
    { env: [{ name: "A", value: "s3cret", valueFrom: {} }] },
    "env[0].valueFrom",
    'must not stand beside a "value"',
  ],
  [{ env: [{ name: "A", valueFrom: {} }] }, "env[0].valueFrom", NEITHER_SECRET],
  [{ env: [{ name: "A", valueFrom: { fileKeyRef: {} } }] }, "env[0].valueFrom", NEITHER_SECRET],
  [
    { env: [{ name: "A", valueFrom: { fieldRef: { fieldPath: "spec.containers" } } }] },
    "env[0].valueFrom.fieldRef.fieldPath",
    'must be a field of a pod, and is "spec.containers"',
  ],
  [
    { env: [{ name: "A", valueFrom: { secretKeyRef: { name: "../a", key: "k" } } }] },
    "env[0].valueFrom.secretKeyRef.name",
    'must be a name of lower-case letters, digits, hyphens and dots, and is "../a"',
  ],
  [{ env: Array(129).fill({}) }, "env", "must not have more than 128 entries"],
  [{ envFrom: [{ secretRef: { name: "all" } }] }, "envFrom", 'must not be set: name each variable in "env"'],
  [
    { defaultResources: { memory: "2" } },
    "defaultResources.memory",
    'is too small for a session, and is "2"',
  ],
  [
    { defaultResources: { limits: { cpu: "1 core" } } },
    "defaultResources.limits.cpu",
    'must be a Kubernetes quantity such as "1000m", and is "1 core"',
  ],
  [
    { defaultResources: { requests: { cpu: "2" }, limits: { cpu: "1" } } },
    "defaultResources.requests.cpu",
    "must not be more than its limit of 1, and is 2",
  ],
  [
    { defaultResources: { "nvidia.com/gpu": "0.5" } },
    "defaultResources[nvidia.com/gpu]",
    'must be a whole number from 1 to 999999, and is "0.5"',
  ],
  ...["limits", "requests"].map((name): [Record<string, unknown>, string, string] => [
    { defaultResources: { [name]: { "hugepages-2Mi": "4Mi" } } },
    `defaultResources.${name}[hugepages-2Mi]`,
    "must be cpu, memory, ephemeral-storage or a resource such as nvidia.com/gpu",
  ]),
  [{ command: "sh" }, "command", "must be a list, and is text"],
  [{ args: [1] }, "args[0]", "must be text"],
  [{ readinessProbe: {} }, "readinessProbe", "must have one of tcpSocket, httpGet, exec, grpc"],
  [
    { readinessProbe: { tcpSocket: { port: "web" } } },
    "readinessProbe.tcpSocket.port",
    'must be the name of a port, and is "web"',
  ],
  [
    { livenessProbe: { httpGet: { port: 80, host: "10.0.0.1" } } },
    "livenessProbe.httpGet.host",
    "must not be set: a probe asks the session's own pod",
  ],
  [
    { livenessProbe: { tcpSocket: { port: 80 }, successThreshold: 2 } },
    "livenessProbe.successThreshold",
    "must be a whole number from 0 to 1, and is 2",
  ],
  [
    { volumes: [{ name: "a", hostPath: { path: "/" } }] },
    "volumes[0].hostPath",
    "must not be set: a template's volumes are emptyDir only",
  ],
  [
    { volumes: [{ name: "a", emptyDir: {}, secret: { secretName: "k" } }] },
    "volumes[0].secret",
    "must not be set: a template's volumes are emptyDir only",
  ],
  [
    { volumes: [{ name: "a", emptyDir: {}, configMap: null, hostPath: { path: "/" } }] },
    "volumes[0].hostPath",
    "must not be set: a template's volumes are emptyDir only",
  ],
  [
    { volumes: [{ name: "user-home", emptyDir: {} }] },
    "volumes[0].name",
    'must not be the name of the home, and is "user-home"',
  ],
  [
    { volumes: [{ name: "a", emptyDir: { medium: "HugePages" } }] },
    "volumes[0].emptyDir.medium",
    'must be one of Memory, and is "HugePages"',
  ],
  [
    { volumeMounts: [{ name: "data", mountPath: "/d" }] },
    "volumeMounts[0].name",
    'must be "user-home", or one of the template\'s volumes, and is "data"',
  ],
  ...[
    ...["config", "/", "/a/../..", "/..", "/a:b", "//"],
    ...["/config/", "//config", "/config/.", "/./config", "/a//b", "/x\u2028/../../config"],
  ].map((mountPath): [Record<string, unknown>, string, string] => [
    { volumeMounts: [{ name: "home", mountPath }] },
    "volumeMounts[0].mountPath",
    `must be an absolute path below / in its shortest form, and is "${mountPath}"`,
  ]),
  [
    { volumeMounts: [{ name: "home", mountPath: "/h", subPath: "../a" }] },
    "volumeMounts[0].subPath",
    'must be a path below the volume\'s root, and is "../a"',
  ],
  [
    { volumeMounts: [{ name: "home", mountPath: "/h", mountPropagation: "Bidirectional" }] },
    "volumeMounts[0].mountPropagation",
    'must be one of None, and is "Bidirectional"',
  ],
  [
    { volumes: [{ name: "a", emptyDir: {} }], volumeMounts: [{ name: "a", mountPath: "/config" }] },
    "volumeMounts",
    "must have the home somewhere, as its usual place /config is taken",
  ],
  ...["hostNetwork", "hostPID", "hostIPC", "automountServiceAccountToken", "privileged"].map(
    (name): [Record<string, unknown>, string, string] => [{ [name]: true }, name, "must not be true"],
  ),
  [
    { serviceAccountName: "default" },
    "serviceAccountName",
    "must not be set: sessions have no account in the cluster",
  ],
  [
    { sysctls: [{ name: "kernel.msgmax", value: "1" }] },
    "sysctls",
    "must not be set: they reach beyond the session",
  ],
  [{ securityContext: { privileged: true } }, "securityContext.privileged", "must not be true"],
  [
    { securityContext: { allowPrivilegeEscalation: true } },
    "securityContext.allowPrivilegeEscalation",
    "must not be true",
  ],
  [
    { securityContext: { capabilities: { add: ["SYS_ADMIN"] } } },
    "securityContext.capabilities.add",
    "must be empty: capabilities can only be dropped",
  ],
  [
    { securityContext: { procMount: "Unmasked" } },
    "securityContext.procMount",
    'must be one of Default, and is "Unmasked"',
  ],
  [
    { securityContext: { seccompProfile: { type: "Unconfined" } } },
    "securityContext.seccompProfile.type",
    'must be one of RuntimeDefault, and is "Unconfined"',
  ],
  [{ securityContext: { sysctls: [{}] } }, "securityContext.sysctls", "must not be set"],
  [
    { securityContext: { seLinuxOptions: { type: "spc_t" } } },
    "securityContext.seLinuxOptions",
    "must not be set",
  ],
  [
    { securityContext: { runAsUser: "root" } },
    "securityContext.runAsUser",
    'must be a whole number from 0 to 2147483647, and is "root"',
  ],
  [{ storage: { size: "10" } }, "storage.size", 'is too small for a session, and is "10"'],
  [
    { storage: { accessMode: "ReadOnlyMany" } },
    "storage.accessMode",
    'must be one of ReadWriteOnce, ReadWriteOncePod, ReadWriteMany, and is "ReadOnlyMany"',
  ],
  [{ imagePullSecrets: ["registry"] }, "imagePullSecrets[0]", "must be an object, and is text"],
  [
    { priorityClassName: "system-node-critical" },
    "priorityClassName",
    'must not be a class of the cluster itself, and is "system-node-critical"',
  ],
  [{ nodeSelector: { "a b": "c" } }, 'nodeSelector["a b"]', "must be the key of a label"],
  [{ nodeSelector: { a: "b c" } }, "nodeSelector[a]", 'must be the value of a label, and is "b c"'],
  [{ tolerations: [{}] }, "tolerations[0]", 'must have a key, or "Exists"'],
  [
    { tolerations: [{ key: "a", effect: "Never" }] },
    "tolerations[0].effect",
    'must be one of NoSchedule, PreferNoSchedule, NoExecute, and is "Never"',
  ],
  [
    { affinity: { podAffinity: { a: 1 } } },
    "affinity.podAffinity",
    "must not be set: a template chooses nodes, not neighbours",
  ],
  [{ nodeSelector: { "a..b/c": "d" } }, "nodeSelector[a..b/c]", "must be the key of a label"],
  [
    { defaultResources: { "requests.example.com/gpu": 1 } },
    "defaultResources[requests.example.com/gpu]",
    "must be cpu, memory, ephemeral-storage or a resource such as nvidia.com/gpu",
  ],
  [
    { env: [{ name: "A", valueFrom: { configMapKeyRef: { name: "a", key: ".." } } }] },
    "env[0].valueFrom.configMapKeyRef.key",
    'must be a key of letters, digits, underscores, hyphens and dots, and is ".."',
  ],
  [
    { env: [{ name: "A", valueFrom: { resourceFieldRef: { resource: "limits.cpu", divisor: "1Mi" } } }] },
    "env[0].valueFrom.resourceFieldRef.divisor",
    'must be one unit of limits.cpu, such as "1", and is "1Mi"',
  ],
];

for (const [spec, path, problem] of REFUSED) {
  const shown = JSON.stringify(spec).slice(0, 80);
  Deno.test(`readTemplate() refuses ${shown} at ${path}, and shows no variable's value`, () => {
    const message = refusal({ baseImage: IMAGE, ...spec });
    assertEquals(message, `Cannot use "templateManifest.spec.${path}": it ${problem}`);
    assert(!message.includes("s3cret"));
  });
}

const TERM = { matchFields: [{ key: "metadata.name", operator: "In", values: ["n1"] }] };
const MISSING: Array<[spec: Record<string, unknown>, path: string]> = [
  [{}, "baseImage"],
  [{ baseImage: null }, "baseImage"],
  [{ baseImage: IMAGE, ports: [{ name: "vnc" }] }, "ports[0].containerPort"],
  [{ baseImage: IMAGE, livenessProbe: { exec: { command: [] } } }, "livenessProbe.exec.command"],
  [{ baseImage: IMAGE, volumes: [{ name: "a" }] }, "volumes[0].emptyDir"],
  [
    {
      baseImage: IMAGE,
      affinity: {
        nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [TERM] } },
      },
    },
    "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions",
  ],
];

for (const [spec, path] of MISSING) {
  Deno.test(`readTemplate() does not do without ${path} in ${JSON.stringify(spec).slice(0, 80)}`, () => {
    assertEquals(refusal(spec), `Cannot do without "templateManifest.spec.${path}": it is missing`);
  });
}

Deno.test("readTemplate() takes no object of another kind", () => {
  const error = assertThrows(() => parseManifest(new Field({ kind: "Pod", spec: LEAST }, "m")), CommandError);
  assertEquals(error.message, 'Cannot use "m.kind": it must be one of Template, and is "Pod"');
});

for (
  const [name, manifest] of [
    ["an object", { spec: { ...LEAST, icon: "x".repeat(65_536) } }],
    ["text", " ".repeat(65_537)],
    ["letters of three bytes", { spec: { ...LEAST, args: Array(3).fill("字".repeat(8000)) } }],
  ] as const
) {
  Deno.test(`parseManifest() refuses ${name} of more than 64 KiB`, () => {
    const error = assertThrows(() => parseManifest(new Field(manifest, "m")), CommandError);
    assertEquals(error.message, 'Cannot use "m": it must not hold more than 65536 bytes of JSON');
  });
}

Deno.test("the page for authors of templates has every field in its table", async () => {
  const page = await Deno.readTextFile(new URL("../../docs/templates.md", import.meta.url));
  const section = page.split("## Fields of")[1]?.split("\n## ")[0] ?? "";
  const names = section.split("\n").filter((line) => line.startsWith("| `"))
    .flatMap((line) => [...(line.split("|")[1] ?? "").matchAll(/`(\w+)`/g)].map((match) => match[1]));
  assertEquals(names.toSorted(), Object.keys(FULL).toSorted());
});

Deno.test("parseManifest() takes nothing from a prototype", () => {
  const spec = JSON.parse(`{"__proto__": {"baseImage": "${IMAGE}"}, "nodeSelector": {"__proto__": "a"}}`);
  assertEquals(refusal(spec), 'Cannot do without "templateManifest.spec.baseImage": it is missing');
  assertEquals(
    refusal({ ...spec, baseImage: IMAGE }),
    'Cannot use "templateManifest.spec.nodeSelector[__proto__]": it must be the key of a label',
  );
});
