import { assertEquals, assertThrows } from "@std/assert";
import { CommandError } from "../../lib/common/errors.ts";
import { parse } from "../../lib/common/schema.ts";
import { MANIFEST, TEMPLATE } from "../../lib/templates/template.ts";

const LEAST = { baseImage: "example.com/gimp:1" };

function read(spec: unknown) {
  return parse(MANIFEST, { spec }, "m")?.spec;
}

/** Every field, as an author may write it. */
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

/** The parsed template. */
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

Deno.test("TEMPLATE accepts every field of a template and drops all others", () => {
  assertEquals<unknown>(read(FULL_SPEC), FULL);
});

Deno.test("TEMPLATE parses its own output as the same template", () => {
  assertEquals(read(read(FULL_SPEC)), read(FULL_SPEC));
  assertEquals(read(JSON.parse(JSON.stringify(read(FULL_SPEC)))), read(FULL_SPEC));
});

/** Capitalises field names as Go marshals them; the keys of mappings are data. */
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

Deno.test("TEMPLATE accepts capitalised field names as Go marshals them", () => {
  const spec = capitalised(FULL_SPEC) as Record<string, unknown>;
  const { Vnc: VNC, ...rest } = spec;
  const manifest = { APIVersion: "stream.space/v1alpha1", Kind: "Template", Spec: { ...rest, VNC } };
  assertEquals<unknown>(parse(TEMPLATE, manifest, "m").spec, FULL);
});

for (
  const [name, manifest] of [
    ["an object", { spec: { ...LEAST, icon: "x".repeat(65_536) } }],
    ["a string", " ".repeat(65_537)],
    ["3-byte characters", { spec: { ...LEAST, args: Array(3).fill("字".repeat(8000)) } }],
  ] as const
) {
  Deno.test(`MANIFEST rejects ${name} of more than 64 KiB`, () => {
    const error = assertThrows(() => parse(MANIFEST, manifest, "m"), CommandError);
    assertEquals([error.failure, error.message], ["invalid", '"m" must have at most 65536 bytes of JSON']);
  });
}

Deno.test("MANIFEST takes no field from a prototype", () => {
  const spec = JSON.parse(`{"__proto__": {"baseImage": "a/b:1"}, "nodeSelector": {"__proto__": "a"}}`);
  const message = (spec: unknown) => assertThrows(() => read(spec), CommandError).message;
  assertEquals(message(spec), '"m.spec.baseImage" is required');
  assertEquals(message({ ...spec, ...LEAST }), '"m.spec.nodeSelector[__proto__]" must be a label key');
});
