import { assert, assertEquals } from "@std/assert";
import {
  AppsV1Api,
  CoreV1Api,
  type KubernetesObject,
  PatchStrategy,
  type V1Deployment,
  type V1PersistentVolumeClaim,
  type V1Pod,
  type V1Secret,
  type V1Service,
} from "@kubernetes/client-node";
import fc from "fast-check";
import { load } from "js-yaml";
import { SETTINGS } from "../../dev/session_settings.ts";
import { CommandError } from "../../lib/common/errors.ts";
import type { HomeVolume } from "../../lib/manifests/home.ts";
import { buildManifests, type SessionManifests } from "../../lib/manifests/manifests.ts";
import { parseRequest } from "../../lib/sessions/requests.ts";
import { resolveTemplate } from "../../lib/templates/sources.ts";
import { TEMPLATE_SPEC } from "../support/any_template.ts";
import { REAL, type TestCluster } from "../support/clusters.ts";
import { installKinds } from "../support/custom_kinds.ts";
import { onEachCluster, Stage } from "../support/stage.ts";

const START = { sessionId: "s1", user: "alice", template: "gimp", persistentHome: true };

/** The example of docs/templates.md. */
async function example(): Promise<Record<string, unknown>> {
  const page = await Deno.readTextFile(new URL("../../docs/templates.md", import.meta.url));
  return load(page.split("```yaml\n")[1]?.split("```")[0] ?? "") as Record<string, unknown>;
}

async function podOf(cluster: TestCluster): Promise<V1Pod> {
  const [pod, ...others] = await cluster.list("v1", "Pod");
  assert(pod && others.length === 0);
  return pod as V1Pod;
}

/** Sets the Pod Security level of the test's namespace. */
async function enforce(cluster: TestCluster, level: string): Promise<void> {
  const labels = { "pod-security.kubernetes.io/enforce": level };
  const namespace = { apiVersion: "v1", kind: "Namespace", metadata: { name: cluster.namespace, labels } };
  const none = undefined;
  await cluster.objects.patch(namespace, none, none, none, none, PatchStrategy.MergePatch);
}

onEachCluster(
  "the template of a command sets ports, display, variables and home volume",
  async (cluster) => {
    await using stage = await Stage.start(cluster);
    const command = await stage.command("start_session", {
      ...START,
      templateManifest: JSON.stringify(await example()),
      env: { TZ: "UTC", GREETING: "a $(TZ) b" },
      namespace: "elsewhere",
    });
    const result = command.result as Record<string, unknown> | undefined;
    assertEquals([command.error, result?.state, result?.vncPort], [undefined, "running", 6901]);
    const [service] = await cluster.list("v1", "Service") as [V1Service];
    assertEquals(
      service.spec?.ports?.map(({ name, port, protocol, targetPort }) => [name, port, protocol, targetPort]),
      [
        ["web", 6901, "TCP", "web"],
        ["audio", 4901, "UDP", "audio"],
      ],
    );
    const pod = await podOf(cluster);
    const [container] = pod.spec?.containers ?? [];
    assertEquals(container?.image, "registry.example.com/desktops/gimp:2.10");
    assertEquals(container?.readinessProbe?.tcpSocket?.port, 6901);
    assertEquals(container?.startupProbe?.tcpSocket?.port, "web");
    const env = container?.env?.map(({ name, value }) => [name, value]) ?? [];
    assertEquals(env.find(([name]) => name === "TZ"), ["TZ", "UTC"]);
    assertEquals(env.find(([name]) => name === "GREETING"), ["GREETING", "a $$(TZ) b"]);
    assertEquals(container?.volumeMounts?.map(({ name, mountPath }) => [name, mountPath]), [
      ["home", "/home/user"],
      ["shm", "/dev/shm"],
    ]);
    assertEquals(container?.resources?.limits, { cpu: "2", memory: "4Gi" });
    const [claim] = await cluster.list("v1", "PersistentVolumeClaim") as [V1PersistentVolumeClaim];
    assertEquals(claim.spec?.resources?.requests, { storage: "20Gi" });
    await stage.agent.line(/Session s1 requests namespace "elsewhere", but starts in /);
  },
);

onEachCluster(
  "a start with the same template succeeds again, one with another template is rejected",
  async (cluster) => {
    await using stage = await Stage.start(cluster);
    const templateManifest = await example();
    const first = await stage.command("start_session", { ...START, templateManifest });
    const { podName } = first.result as Record<string, unknown>;
    const again = await stage.command("start_session", {
      ...START,
      templateManifest: JSON.stringify(templateManifest),
    });
    assertEquals((again.result as Record<string, unknown>).podName, podName);
    const spec = { ...templateManifest.spec as object, baseImage: "example.com/other:1" };
    const other = await stage.command("start_session", { ...START, templateManifest: { spec } });
    assertEquals(
      other.error,
      'Cannot start session "s1": it already exists with other settings',
    );
  },
);

onEachCluster("the documented example works as a Template object", async (cluster) => {
  await installKinds(cluster);
  await cluster.create(await example() as KubernetesObject);
  await using stage = await Stage.start(cluster);
  const { result, error } = await stage.command("start_session", START);
  assertEquals([error, (result as Record<string, unknown> | undefined)?.vncPort], [undefined, 6901]);
}, [REAL]);

const REJECTED: Array<[name: string, payload: Record<string, unknown>, error: string]> = [
  [
    "an invalid port",
    {
      templateManifest: {
        spec: { baseImage: "a/b:1", ports: [{ containerPort: 80 }, { containerPort: 70_000 }] },
      },
    },
    '"templateManifest.spec.ports[1].containerPort" must be an integer from 1 to 65535, but is 70000',
  ],
  [
    "the host network",
    { templateManifest: { Spec: { BaseImage: "a/b:1", HostNetwork: true } } },
    '"templateManifest.spec.hostNetwork" must not be true',
  ],
  [
    "a Secret",
    {
      templateManifest: {
        spec: {
          baseImage: "a/b:1",
          env: [{ name: "A", valueFrom: { secretKeyRef: { name: "db", key: "k" } } }],
        },
      },
    },
    'Cannot start session "s1": "templateManifest.spec.env[0].valueFrom.secretKeyRef.name" must match --allowed-secrets, but is "db"',
  ],
  [
    "another image",
    { templateManifest: { spec: { baseImage: "evil.example.com/a:1" } } },
    'Cannot start session "s1": image "evil.example.com/a:1" is not allowed: see --allowed-images',
  ],
  [
    "a built-in template with another image",
    { template: "firefox" },
    'Cannot start session "s1": template "firefox": image "lscr.io/linuxserver/firefox:latest" is not allowed: see --allowed-images',
  ],
];

onEachCluster(
  "a template with a forbidden field fails with its path, and creates nothing",
  async (cluster, context) => {
    await using stage = await Stage.start(cluster, { args: ["--allowed-images=[a/*, example.com/*]"] });
    for (const [name, payload, error] of REJECTED) {
      await context.step(name, async () => {
        assertEquals((await stage.command("start_session", { ...START, ...payload })).error, error);
      });
    }
    assertEquals(await cluster.leftovers(), []);
  },
);

onEachCluster("a template may use a Secret that --allowed-secrets permits", async (cluster) => {
  const secret: V1Secret = {
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: "desktop-db" },
    stringData: { k: "v" },
  };
  await cluster.create(secret);
  await using stage = await Stage.start(cluster, { args: ["--allowed-secrets=[desktop-*]"] });
  const valueFrom = { secretKeyRef: { name: "desktop-db", key: "k" } };
  const spec = { baseImage: "example.com/a:1", env: [{ name: "DB", valueFrom }] };
  const { error } = await stage.command("start_session", { ...START, templateManifest: { spec } });
  assertEquals(error, undefined);
  const variable = (await podOf(cluster)).spec?.containers[0]?.env?.find(({ name }) => name === "DB");
  assertEquals(variable?.valueFrom?.secretKeyRef?.name, "desktop-db");
});

for (const level of ["baseline", "restricted"]) {
  onEachCluster(
    `pods are admitted by the Pod Security level ${level} with --session-security=${level}`,
    async (cluster) => {
      await enforce(cluster, level);
      await using stage = await Stage.start(cluster, { args: [`--session-security=${level}`] });
      for (
        const payload of [{ ...START, template: "firefox" }, {
          ...START,
          sessionId: "s2",
          templateManifest: await example(),
        }]
      ) {
        const { error } = await stage.command("start_session", payload);
        assertEquals(error, undefined);
      }
    },
    [REAL],
  );
}

onEachCluster("pod options apply to every session", async (cluster) => {
  await using stage = await Stage.start(cluster, {
    args: [
      "--image-pull-secrets=registry",
      "--node-affinity={preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: {matchExpressions: [{key: kubernetes.io/os, operator: Exists}]}}]}",
      "--session-security=restricted",
    ],
  });
  const { error } = await stage.command("start_session", { ...START, template: "firefox" });
  assertEquals(error, undefined);
  const [deployment] = await cluster.list("apps/v1", "Deployment") as [V1Deployment];
  const pod = deployment.spec?.template.spec;
  assertEquals(pod?.imagePullSecrets?.map(({ name }) => name), ["registry"]);
  assertEquals(pod?.affinity?.nodeAffinity?.preferredDuringSchedulingIgnoredDuringExecution?.length, 1);
  assertEquals(pod?.securityContext?.runAsUser, 1000);
});

onEachCluster("the API server accepts what any valid template produces", async (cluster) => {
  const deployments = cluster.config.makeApiClient(AppsV1Api);
  const services = cluster.config.makeApiClient(CoreV1Api);
  const { namespace } = cluster;
  for (const spec of fc.sample(TEMPLATE_SPEC, 300)) {
    const manifests = manifestsOf(spec, namespace);
    if (!manifests) continue;
    const { deployment, service } = manifests;
    try {
      await deployments.createNamespacedDeployment({ namespace, body: deployment, dryRun: "All" });
      await services.createNamespacedService({ namespace, body: service, dryRun: "All" });
    } catch (cause) {
      throw new Error(`The API server rejects the manifests of ${JSON.stringify(spec)}`, { cause });
    }
  }
}, [REAL]);

/** The manifests of a start with a template, or `undefined` if the template is rejected. */
function manifestsOf(spec: unknown, namespace: string): SessionManifests | undefined {
  const settings = { ...SETTINGS, namespace, maxCpu: 100, maxMemory: 128, allowedSecrets: ["*"] };
  const payload = { ...START, templateManifest: { spec } };
  const homeVolume: HomeVolume = {
    claimName: "h",
    owner: "session",
    storageClass: "",
    size: "1Gi",
    accessMode: "",
  };
  try {
    const request = parseRequest({ commandId: "c1", action: "start_session", payload }, settings);
    assert(request.action === "start_session");
    const sources = { cluster: new Map(), table: new Map(), rules: settings };
    const template = resolveTemplate(request, sources);
    return buildManifests({
      request,
      template,
      settings,
      commandId: "c1",
      homeVolume,
      startedAt: new Date(),
    });
  } catch (error) {
    assert(error instanceof CommandError, String(error));
    return undefined;
  }
}
