import { assertEquals, assertRejects } from "@std/assert";
import { ApiException, CustomObjectsApi, type KubernetesObject, type V1Pod } from "@kubernetes/client-node";
import { REAL } from "../support/clusters.ts";
import { installKinds, ObjectWatcher } from "../support/custom_kinds.ts";
import { onEachCluster, Stage, START_WITH_HOME as START } from "../support/stage.ts";

const TEMPLATE = {
  apiVersion: "stream.space/v1alpha1",
  kind: "Template",
  spec: {
    displayName: "IDE",
    description: "An editor in the browser",
    category: "Development",
    icon: "https://example.com/ide.png",
    tags: ["code"],
    capabilities: ["Network", "Clipboard"],
    baseImage: "example.com/ide:1",
    command: ["/start"],
    args: ["--verbose"],
    ports: [{ name: "vnc", containerPort: 5900, protocol: "TCP" }, { name: "http", containerPort: 8443 }],
    vnc: { enabled: true, port: 5900, protocol: "rfb" },
    env: [{ name: "A", value: "1" }, { name: "B", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } }],
    defaultResources: {
      cpu: 1,
      memory: "2Gi",
      "nvidia.com/gpu": 1,
      limits: { cpu: "1500m", "nvidia.com/gpu": 1 },
    },
    storage: { size: "5Gi", storageClass: "fast", accessMode: "ReadWriteOnce" },
    volumeMounts: [{ name: "shm", mountPath: "/dev/shm" }],
    volumes: [{ name: "shm", emptyDir: { medium: "Memory", sizeLimit: "1Gi" } }],
    securityContext: { runAsUser: 1000, seccompProfile: { type: "RuntimeDefault" } },
    readinessProbe: { httpGet: { path: "/", port: 8443 } },
    livenessProbe: { tcpSocket: { port: "vnc" } },
    startupProbe: { exec: { command: ["true"] } },
    imagePullSecrets: [{ name: "registry" }],
    runtimeClassName: "gvisor",
    priorityClassName: "desktops",
    nodeSelector: { pool: "desktops" },
    tolerations: [{ key: "desktops", operator: "Exists" }],
    affinity: { nodeAffinity: { preferredDuringSchedulingIgnoredDuringExecution: [] } },
  },
};

/** Further fields that the StreamSpace template catalogue uses. */
const CATALOGUE = {
  appType: "desktop",
  streamingProtocol: "vnc",
  kasmvnc: { enabled: true, port: 3000 },
  webapp: { enabled: false, port: 8080, path: "/" },
  vnc: { enabled: true, port: 3000, protocol: "websocket", encryption: false },
};

/** What the schema rejects, and the field that the server names. */
const REJECTED: Array<{ spec: Record<string, unknown>; field: string }> = [
  { spec: { baseImage: undefined }, field: "spec.baseImage" },
  { spec: { baseImage: "" }, field: "spec.baseImage" },
  { spec: { baseImage: "Not An Image" }, field: "spec.baseImage" },
  { spec: { ports: [{ containerPort: 70000 }] }, field: "spec.ports[0].containerPort" },
  { spec: { ports: [{ name: "x".repeat(16), containerPort: 1 }] }, field: "spec.ports[0].name" },
  { spec: { ports: [{ containerPort: 1, protocol: "HTTP" }] }, field: "spec.ports[0].protocol" },
  { spec: { vnc: { port: -1 } }, field: "spec.vnc.port" },
  { spec: { env: [{ name: "A" }, { name: "A" }] }, field: "spec.env[1]" },
  { spec: { defaultResources: { memory: "2 GB" } }, field: "spec.defaultResources.memory" },
  { spec: { volumes: [{ name: "host", hostPath: { path: "/" } }] }, field: "spec.volumes[0].emptyDir" },
  { spec: { storage: { accessMode: "Shared" } }, field: "spec.storage.accessMode" },
  { spec: { runtimeClassName: "gVisor" }, field: "spec.runtimeClassName" },
  { spec: { nodeSelector: { pool: "a b" } }, field: "spec.nodeSelector.pool" },
];

/** What Go marshals for fields that are not set. */
const ZERO_VALUES = {
  ports: [{ name: "", containerPort: 3000, protocol: "" }],
  vnc: { enabled: true, port: 0 },
  volumes: [],
  volumeMounts: [],
  storage: { storageClass: "", accessMode: "" },
  runtimeClassName: "",
  priorityClassName: "",
  startupProbe: { tcpSocket: { port: 3000 }, periodSeconds: 0 },
  livenessProbe: {},
};

onEachCluster(
  "the API server accepts a Template object with every field, or with zero values, and rejects invalid ones",
  async (cluster) => {
    await installKinds(cluster);
    await using templates = new ObjectWatcher(cluster, "templates");
    await cluster.create({ ...TEMPLATE, metadata: { name: "ide" } } as KubernetesObject);
    // Nothing is pruned.
    const { spec } = await templates.until("ide", () => true);
    assertEquals(spec, TEMPLATE.spec);
    const unset = { baseImage: "example.com/ide:1", ...ZERO_VALUES };
    await cluster.create({ ...TEMPLATE, metadata: { name: "unset" }, spec: unset } as KubernetesObject);
    for (const { spec, field } of REJECTED) {
      const template = { ...TEMPLATE, metadata: { name: "bad" }, spec: { ...TEMPLATE.spec, ...spec } };
      const error = await assertRejects(() => cluster.create(template as KubernetesObject), ApiException);
      const { details } = JSON.parse(String(error.body)) as { details: { causes: Array<{ field: string }> } };
      assertEquals(details.causes.map((cause) => cause.field), [field]);
    }
  },
  [REAL],
);

onEachCluster(
  "the API server accepts a template of the StreamSpace catalogue with strict validation",
  async (cluster) => {
    await installKinds(cluster);
    const body = { ...TEMPLATE, metadata: { name: "firefox" }, spec: { ...TEMPLATE.spec, ...CATALOGUE } };
    const created: KubernetesObject & { spec?: unknown } = await cluster.config.makeApiClient(
      CustomObjectsApi,
    )
      .createNamespacedCustomObject({
        group: "stream.space",
        version: "v1alpha1",
        namespace: cluster.namespace,
        plural: "templates",
        body,
        fieldValidation: "Strict",
      });
    assertEquals(created.spec, body.spec);
  },
  [REAL],
);

/** A Template object with only an image and a port. */
function templateOf(name: string, baseImage: string, containerPort: number): KubernetesObject {
  const spec = { baseImage, ports: [{ name: "web", containerPort }] };
  return { apiVersion: TEMPLATE.apiVersion, kind: "Template", metadata: { name }, spec } as KubernetesObject;
}

onEachCluster(
  "a Template object takes precedence over the built-in table, and the template of a command over both",
  async (cluster) => {
    await installKinds(cluster);
    await cluster.create(templateOf("firefox", "example.com/firefox:1", 6901));
    await cluster.create(templateOf("rogue", "example.org/rogue:1", 6901));
    await using stage = await Stage.start(cluster, { args: ["--allowed-images=example.com/*"] });
    const port = async (payload: Record<string, unknown>) => {
      const { result, error } = await stage.command("start_session", { ...START, ...payload });
      return (result as Record<string, unknown> | undefined)?.vncPort ?? error;
    };
    assertEquals(await port({ sessionId: "s1" }), 6901);
    const templateManifest = { spec: { baseImage: "example.com/own:1", ports: [{ containerPort: 8080 }] } };
    assertEquals(await port({ sessionId: "s2", templateManifest }), 8080);
    assertEquals(
      await port({ sessionId: "s3", template: "rogue" }),
      'Cannot start session "s3": Template "rogue": image "example.org/rogue:1" is not allowed: see --allowed-images',
    );
    assertEquals(
      await port({ sessionId: "s4", template: "rouge" }),
      'Cannot start session "s4": template "rouge" not found, available are chrome, crashing, firefox, kali, libreoffice, missing, rogue, stuck, ubuntu, vscode',
    );
    const pods = await cluster.list("v1", "Pod") as V1Pod[];
    assertEquals(pods.map(({ spec }) => spec?.containers[0]?.image).sort(), [
      "example.com/firefox:1",
      "example.com/own:1",
    ]);
  },
  [REAL],
);
