/**
 * The manifests of k8s/ and the Dockerfile compared with the code.
 * @module
 */
import type {
  V1ConfigMap,
  V1Container,
  V1CustomResourceDefinition,
  V1CustomResourceDefinitionVersion,
  V1Deployment,
  V1JSONSchemaProps,
  V1PodSpec,
  V1Role,
  V1RoleBinding,
  V1Secret,
  V1ServiceAccount,
} from "@kubernetes/client-node";
import { assert, assertEquals } from "@std/assert";
import { loadAll } from "js-yaml";
import { loadConfig } from "../../lib/cli/config.ts";
import { CUSTOM_API } from "../../lib/kubernetes/custom_collection.ts";
import { type Config, OPTIONS } from "../../lib/cli/options.ts";
import { baseImages, finalStage } from "../image/dockerfile.ts";

/** Fields of every object. */
interface Manifest {
  readonly kind: string;
  readonly metadata?: { readonly name: string; readonly namespace?: string };
}

const FOLDER = new URL("../../k8s/", import.meta.url);
const FILES = filesOf(".");
const MANIFESTS = FILES.flatMap(read);
const KINDS = filesOf("crds").filter((file) => file !== "kustomization.yaml")
  .flatMap((file) => read(`crds/${file}`)) as V1CustomResourceDefinition[];
const DOCKERFILE = Deno.readTextFileSync(new URL("../../Dockerfile", import.meta.url));

const deployment = only<V1Deployment>("Deployment");
const settings = only<V1ConfigMap>("ConfigMap", "k8s-agent").data ?? {};
const pod: V1PodSpec = deployment.spec?.template.spec ?? { containers: [] };
const [container] = pod.containers as [V1Container];
const variables = new Map((container.env ?? []).map(({ name, value }) => [name, value]));

/** Set in deployment.yaml: the two without a default, those from the pod, and those for two replicas. */
const IN_DEPLOYMENT = ["AGENT_ID", "CONTROL_PLANE_URL", "NAMESPACE", "LEADER_ELECTION", "POD_NAME"];
/** Useless in a pod, or dependent on a volume. */
const ELSEWHERE = [
  "KUBECONFIG",
  "CONFIG",
  "API_KEY_FILE",
  "CA_FILE",
  "CLIENT_CERT",
  "CLIENT_KEY",
  "CHECK_CONFIG",
];

for (const folder of [".", "crds"]) {
  Deno.test(`kustomization of k8s/${folder} lists every manifest`, () => {
    const [{ resources }] = read(`${folder}/kustomization.yaml`) as unknown as [{ resources: string[] }];
    assertEquals(resources.toSorted(), filesOf(folder).filter((name) => name !== "kustomization.yaml"));
  });
}

Deno.test("manifests are in the namespace streamspace", () => {
  for (const { kind, metadata } of MANIFESTS) {
    if (kind === "Kustomization") continue;
    assertEquals(kind === "Namespace" ? metadata?.name : metadata?.namespace, "streamspace", kind);
  }
});

Deno.test("manifests set each option exactly once", () => {
  assertEquals([...variables.keys()].sort(), [...IN_DEPLOYMENT, "AGENT_API_KEY"].sort());
  const rest = OPTIONS.map((option) => option.variable)
    .filter((name) => !IN_DEPLOYMENT.includes(name) && !ELSEWHERE.includes(name));
  assertEquals(Object.keys(settings).sort(), rest.sort());
});

Deno.test("ConfigMap contains the defaults", () => {
  const required = (name: string) => variables.get(name);
  const shipped = configOf((name) => settings[name] ?? required(name));
  assertEquals(shipped, { ...configOf(required), isHealthAddrSet: true });
});

Deno.test("journal ConfigMap has no data, so that applying it again keeps its entries", () => {
  assertEquals(only<V1ConfigMap>("ConfigMap", "k8s-agent-journal").data, undefined);
});

Deno.test("Deployment does not require the ConfigMap and the Secret", () => {
  assertEquals(container.envFrom, [{ configMapRef: { name: "k8s-agent", optional: true } }]);
  const key = container.env?.find(({ name }) => name === "AGENT_API_KEY")?.valueFrom?.secretKeyRef;
  assertEquals(key, { name: "k8s-agent-api-key", key: "api-key", optional: true });
  assertEquals(only<V1ConfigMap>("ConfigMap", "k8s-agent").metadata?.name, "k8s-agent");
});

Deno.test("Deployment's pods have the label component=k8s-agent", () => {
  assertEquals(deployment.spec?.selector, { matchLabels: { component: "k8s-agent" } });
  assertEquals(deployment.spec?.template.metadata?.labels?.component, "k8s-agent");
});

Deno.test("Deployment's replicas elect a leader by the names of their pods", () => {
  assertEquals([deployment.spec?.replicas, variables.get("LEADER_ELECTION")], [2, "true"]);
  const podName = container.env?.find(({ name }) => name === "POD_NAME");
  assertEquals(podName?.valueFrom?.fieldRef?.fieldPath, "metadata.name");
});

Deno.test("Deployment has the documented probes", () => {
  const exec = { command: ["sh", "-c", "pgrep -x k8s-agent"] };
  assertEquals(container.livenessProbe, { exec, initialDelaySeconds: 30, periodSeconds: 30 });
  assertEquals(container.readinessProbe, { exec, initialDelaySeconds: 5, periodSeconds: 10 });
});

Deno.test("Deployment's grace period exceeds the drain timeout", () => {
  const drainMs = configOf((name) => settings[name] ?? variables.get(name)).drainTimeout;
  assert((pod.terminationGracePeriodSeconds ?? 30) * 1000 >= drainMs + 5000);
});

Deno.test("Deployment requests the measured memory of 100 sessions, and limits it to twice as much", async () => {
  const page = await Deno.readTextFile(new URL("../../docs/benchmarks.md", import.meta.url));
  const measured = Number(/memory with 100 sessions\s*\| (\d+) MB/.exec(page)?.[1]);
  const { requests, limits } = container.resources ?? {};
  const mebibytes = (text = "") => Number(/^(\d+)Mi$/.exec(text)?.[1]);
  assert(mebibytes(requests?.memory) > measured, `${requests?.memory} is not enough for ${measured} MB`);
  assertEquals(mebibytes(limits?.memory), 2 * mebibytes(requests?.memory));
});

Deno.test("Deployment gives the agent no rights on its node", () => {
  assertEquals(pod.securityContext, {
    runAsNonRoot: true,
    runAsUser: 65532,
    runAsGroup: 65532,
    seccompProfile: { type: "RuntimeDefault" },
  });
  assertEquals(container.securityContext, {
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ["ALL"] },
  });
});

Deno.test("Role is bound to the Deployment's ServiceAccount and has no wildcards", () => {
  const role = only<V1Role>("Role");
  const binding = only<V1RoleBinding>("RoleBinding");
  assertEquals(binding.roleRef.name, role.metadata?.name);
  assertEquals(binding.subjects, [
    { kind: "ServiceAccount", name: pod.serviceAccountName ?? "", namespace: "streamspace" },
  ]);
  assertEquals(only<V1ServiceAccount>("ServiceAccount").metadata?.name, pod.serviceAccountName);
  for (const { apiGroups = [], resources = [], verbs } of role.rules ?? []) {
    const words = [...apiGroups, ...resources, ...verbs];
    assert(!words.some((word) => word.includes("*")), `Role has a wildcard: ${words}`);
  }
});

Deno.test("Role grants access to one Secret, which has no data, so that applying it again keeps the keys", () => {
  const rules = only<V1Role>("Role").rules ?? [];
  const [rule, ...others] = rules.filter(({ resources }) => resources?.includes("secrets"));
  assertEquals(others, []);
  assertEquals([rule?.resources, rule?.verbs], [["secrets"], ["get", "patch"]]);
  const secret = only<V1Secret>("Secret");
  assertEquals(rule?.resourceNames, [secret.metadata?.name ?? ""]);
  assertEquals([secret.data, secret.stringData], [undefined, undefined]);
});

Deno.test("optional kinds have the agent's group and version and are covered by its Role", () => {
  const granted = only<V1Role>("Role").rules?.filter(({ apiGroups }) => apiGroups?.includes("stream.space"));
  const resources = granted?.flatMap(({ resources = [] }) => resources);
  assertEquals(resources, ["templates", "sessions", "sessions/status"]);
  for (const { metadata, spec } of KINDS) {
    const [{ name, served, storage }, ...others] = spec.versions as [V1CustomResourceDefinitionVersion];
    assertEquals(others, []);
    assertEquals(`${spec.group}/${name}`, CUSTOM_API);
    assertEquals([served, storage, spec.scope], [true, true, "Namespaced"]);
    assertEquals(metadata?.name, `${spec.names.plural}.${spec.group}`);
    assert(resources?.includes(spec.names.plural));
  }
});

Deno.test("optional kinds have printer columns", () => {
  const columns = (plural: string) =>
    KINDS.find(({ spec }) => spec.names.plural === plural)?.spec.versions[0]?.additionalPrinterColumns
      ?.map(({ name, priority }) => priority ? `${name} (wide)` : name);
  assertEquals(columns("sessions"), [
    ...["User", "Template", "State", "Viewers", "Age"],
    ...["Pod (wide)", "Node (wide)", "Message (wide)"],
  ]);
  assertEquals(columns("templates"), ["Image", "Display Name", "Category", "Age"]);
});

Deno.test("optional kinds describe each field", () => {
  const bare = KINDS.flatMap(({ spec }) =>
    bareFields(spec.names.kind, spec.versions[0]?.schema?.openAPIV3Schema ?? {})
  );
  assertEquals(bare, []);
});

Deno.test("Dockerfile uses the Deno version of these tests and images with a tag", () => {
  assert(baseImages(DOCKERFILE).includes(`denoland/deno:${Deno.version.deno}`));
  const all = [...baseImages(DOCKERFILE), ...finalStage(DOCKERFILE).copies.map(({ from }) => from)];
  for (const image of all) assert(image === "build" || /:(?!latest)/.test(image), image);
});

Deno.test("Dockerfile sets the user and process name that the Deployment expects", () => {
  const { user, entrypoint } = finalStage(DOCKERFILE);
  assertEquals(user, `${pod.securityContext?.runAsUser}:${pod.securityContext?.runAsGroup}`);
  assertEquals(container.command, undefined);
  // Without a path, because the image's pgrep compares with argv[0].
  assertEquals(container.livenessProbe?.exec?.command?.at(-1), `pgrep -x ${entrypoint.join(" ")}`);
});

/** Paths of fields without a description. */
function bareFields(path: string, { description, properties = {}, items }: V1JSONSchemaProps): string[] {
  return [
    ...description ? [] : [path],
    ...Object.entries(properties).flatMap(([name, field]) => bareFields(`${path}.${name}`, field)),
    // The description of a list also describes its scalar items.
    ...items?.properties ? bareFields(`${path}[]`, items) : [],
  ];
}

function filesOf(folder: string): string[] {
  const entries = [...Deno.readDirSync(new URL(`${folder}/`, FOLDER))];
  return entries.filter(({ isFile }) => isFile).map(({ name }) => name).sort();
}

function read(file: string): Manifest[] {
  return loadAll(Deno.readTextFileSync(new URL(file, FOLDER))) as Manifest[];
}

/** The only object of a kind, or the only one with that name. */
function only<T>(kind: string, name?: string): T {
  const found = MANIFESTS.filter((manifest) =>
    manifest.kind === kind && (name === undefined || manifest.metadata?.name === name)
  );
  assertEquals(found.length, 1, `Number of objects of kind ${kind}`);
  return found[0] as T;
}

function configOf(env: (name: string) => string | undefined): Config {
  const invocation = loadConfig({
    args: [],
    env,
    readFile: (path) => {
      throw new Error(`Cannot read ${path} in a test of manifests`);
    },
  });
  assert(invocation.kind === "run");
  return invocation.config;
}
