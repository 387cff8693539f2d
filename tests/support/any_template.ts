/**
 * Arbitrary Template objects: mostly valid, sometimes invalid, sometimes dangerous.
 * @module
 */
import fc from "fast-check";

/** A field that is absent, valid or any JSON. */
function maybe(valid: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> {
  return fc.oneof(
    { weight: 40, arbitrary: fc.constant(undefined) },
    { weight: 20, arbitrary: valid },
    { weight: 1, arbitrary: fc.jsonValue({ maxDepth: 2 }) },
  );
}

/** A field that is rarely set, and then rejected. */
function danger(value: unknown): fc.Arbitrary<unknown> {
  return fc.oneof({ weight: 40, arbitrary: fc.constant(undefined) }, {
    weight: 1,
    arbitrary: fc.constant(value),
  });
}

/** An object with required and optional fields. */
function record(
  required: Record<string, fc.Arbitrary<unknown>>,
  others: Record<string, fc.Arbitrary<unknown>> = {},
): fc.Arbitrary<object> {
  const optional = Object.entries(others).map(([key, valid]) => [key, maybe(valid)]);
  return fc.record({ ...required, ...Object.fromEntries(optional) });
}

function few(entry: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> {
  return fc.array(entry, { maxLength: 3 });
}

const id = fc.integer({ min: 0, max: 70_000 });
const port = fc.integer({ min: 1, max: 65_600 });
const name = fc.stringMatching(/^[a-z][a-z0-9]{0,14}$/);
const probe = fc.oneof(
  record({ tcpSocket: record({ port, host: danger("10.0.0.1") }) }, { periodSeconds: id }),
  record({ httpGet: record({ port: fc.oneof(port, name), host: danger("10.0.0.1") }) }, {
    timeoutSeconds: id,
  }),
  record({ exec: record({ command: few(fc.string()) }) }, { successThreshold: id }),
);
const securityContext = record({
  privileged: danger(true),
  allowPrivilegeEscalation: danger(true),
  procMount: danger("Unmasked"),
  seLinuxOptions: danger({ type: "spc_t" }),
  sysctls: danger([{ name: "kernel.msgmax", value: "1" }]),
  capabilities: record({ add: danger(["SYS_ADMIN"]), drop: few(fc.constant("NET_RAW")) }),
  seccompProfile: record({ type: fc.constantFrom("RuntimeDefault", "RuntimeDefault", "Unconfined") }),
}, { runAsUser: id, runAsGroup: id, fsGroup: id, runAsNonRoot: fc.boolean() });
const volume = record({
  name: fc.constantFrom("a", "b", "c"),
  emptyDir: record({}, { medium: fc.constant("Memory") }),
  hostPath: danger({ path: "/" }),
  secret: danger({ secretName: "k8s-agent-api-key" }),
});
const mount = record({
  name: fc.constantFrom("home", "user-home"),
  mountPath: name.map((part) => `/${part}`),
});
const source = fc.oneof(
  record({ fieldRef: record({ fieldPath: fc.constant("metadata.name") }) }),
  record({
    secretKeyRef: record({ name: fc.constantFrom("k8s-agent-api-key", "db"), key: fc.constant("k") }),
  }),
);
const variable = fc.oneof(
  record({
    name: fc.oneof(name, fc.constantFrom("PUID", "USER")),
    value: fc.oneof(id.map(String), fc.string()),
  }),
  record({ name, valueFrom: source }),
);
/** The spec of a Template object. */
export const TEMPLATE_SPEC = record({
  baseImage: fc.constant("example.com/a:1"),
  hostNetwork: danger(true),
  hostPID: danger(true),
}, {
  ports: few(
    record({ name, containerPort: port, hostPort: danger(80) }, { protocol: fc.constantFrom("TCP", "UDP") }),
  ),
  vnc: record({}, { enabled: fc.boolean(), port }),
  env: few(variable),
  securityContext,
  volumes: few(volume),
  volumeMounts: few(mount),
  readinessProbe: probe,
  livenessProbe: probe,
  defaultResources: record({}, {
    cpu: fc.nat(9),
    memory: fc.constant("1Gi"),
    limits: fc.constant({ cpu: "9" }),
  }),
  nodeSelector: fc.dictionary(name, name),
  tolerations: few(record({ key: name, operator: fc.constant("Exists") })),
  serviceAccountName: danger("default"),
  automountServiceAccountToken: fc.boolean(),
  runtimeClassName: name,
  shmSize: fc.constantFrom("64Mi", "8Gi", 2 ** 30),
  priorityClassName: fc.constantFrom("low", "system-node-critical"),
  imagePullSecrets: few(record({ name })),
});
