/**
 * The Helm chart compared with the manifests of k8s/ and the options of the agent.
 * @module
 */
import type { KubernetesObject, V1ConfigMap, V1Deployment } from "@kubernetes/client-node";
import { assertEquals } from "@std/assert";
import { load } from "js-yaml";
import denoJson from "../../deno.json" with { type: "json" };
import schema from "../../k8s/chart/values.schema.json" with { type: "json" };
import { loadConfig } from "../../lib/cli/config.ts";
import { type Option, OPTIONS } from "../../lib/cli/options.ts";
import {
  EVERY_COMPONENT,
  HELM,
  helm,
  KUSTOMIZE,
  renderChart,
  renderKustomization,
} from "../support/rendering.ts";
import { shippedObjects } from "./shipped.ts";

/** The values of deployment.yaml. */
const REQUIRED = { agentId: "k8s-prod-us-east-1", controlPlaneUrl: "wss://control.example.com" };

const EVERYTHING = { ...REQUIRED, ...EVERY_COMPONENT };

/** Makes Helm keep an object on uninstall. */
const KEPT = { "helm.sh/resource-policy": "keep" };

/** Set by other values or by the chart itself, or useless in a pod. */
const NO_SETTINGS = [
  "AGENT_ID",
  "CONTROL_PLANE_URL",
  "NAMESPACE",
  "LEADER_ELECTION",
  "POD_NAME",
  "KUBECONFIG",
  "CHECK_CONFIG",
];

Deno.test("values schema has each setting of the agent with its help and type", () => {
  const options = OPTIONS.filter(({ variable }) => !NO_SETTINGS.includes(variable));
  assertEquals(
    schema.properties.settings.properties as Record<string, unknown>,
    Object.fromEntries(
      options.map((option) => [option.variable, { description: option.help, type: typesOf(option) }]),
    ),
  );
  assertEquals(schema.properties.settings.additionalProperties, false);
});

Deno.test("values schema has each value of the chart", async () => {
  const values = await readYaml("k8s/chart/values.yaml");
  assertEquals(
    Object.keys(values).sort(),
    Object.keys(schema.properties).filter((name) => name !== "global").sort(),
  );
});

Deno.test("chart has the version of the agent and the image of deployment.yaml", async () => {
  const { version, appVersion } = await readYaml("k8s/chart/Chart.yaml");
  const deployment = await shipped("Deployment") as V1Deployment;
  assertEquals(version, denoJson.version);
  assertEquals(deployment.spec?.template.spec?.containers[0]?.image, `streamspace/k8s-agent:${appVersion}`);
});

chartTest("chart passes helm lint", async () => {
  for (const values of [REQUIRED, EVERYTHING]) {
    const { code, stdout } = await helm(["lint", "--strict"], { values });
    assertEquals(code, 0, stdout);
  }
});

chartTest("chart renders the objects of k8s/ except the namespace", async () => {
  const settings = (await shipped("ConfigMap") as V1ConfigMap).data ?? {};
  const base = (await shippedObjects()).filter(({ file, object }) =>
    !file.includes("/") && object.kind !== "Namespace"
  );
  assertEquals(
    byName((await renderChart({ ...REQUIRED, settings })).map(withoutChecksum)),
    byName(base.map(({ object }) => object)),
  );
});

chartTest("chart renders all other objects of k8s/ if its values enable them", async () => {
  const others = (await shippedObjects()).filter(({ file }) => file.includes("/"));
  const rendered = byName(await renderChart(EVERYTHING));
  for (const { file, object } of others) assertEquals(withoutPolicy(rendered[nameOf(object)]), object, file);
});

chartTest(
  "chart keeps its kinds when it is uninstalled",
  async () => {
    const kinds = (await renderChart(EVERYTHING)).filter(({ kind }) => kind === "CustomResourceDefinition");
    assertEquals(kinds.map(({ metadata }) => metadata?.annotations), [KEPT, KEPT]);
  },
);

chartTest("chart sets the labels by which Prometheus selects its objects", async () => {
  const values = { ...REQUIRED, monitoring: { enabled: true, labels: { release: "prometheus" } } };
  const { "PodMonitor/k8s-agent": monitor, "PrometheusRule/k8s-agent": rule } = byName(
    await renderChart(values),
  );
  assertEquals([monitor, rule].map((object) => object?.metadata?.labels?.release), [
    "prometheus",
    "prometheus",
  ]);
});

chartTest(
  "chart with all features renders the Deployment of the kustomization with all components",
  async () => {
    const example = byName(await renderKustomization("examples/kustomize"));
    const rendered = await renderChart({
      ...EVERYTHING,
      agentId: "k8s-example",
      image: { repository: "registry.example.com/streamspace/k8s-agent", tag: "v2.0" },
    });
    const name = "Deployment/k8s-agent";
    assertEquals(byName(rendered.map(withoutChecksum))[name], example[name]);
  },
  HELM.isMissing || KUSTOMIZE.isMissing,
);

chartTest("chart omits settings that are not set", async () => {
  const { "ConfigMap/k8s-agent": configMap } = byName(await renderChart(REQUIRED));
  assertEquals((configMap as V1ConfigMap).data, undefined);
});

chartTest("chart writes numbers, lists and maps as the agent reads them", async () => {
  const { "ConfigMap/k8s-agent": configMap } = byName(
    await renderChart({
      ...REQUIRED,
      settings: {
        MAX_SESSIONS: 200,
        RECONNECT_ATTEMPTS: 1_000_000,
        ALLOW_INSECURE: true,
        REGION: "1.10",
        ALLOWED_IMAGES: ["example.com/*"],
        NODE_SELECTOR: { pool: "desktops" },
      },
    }),
  );
  const { data = {} } = configMap as V1ConfigMap;
  assertEquals(data, {
    MAX_SESSIONS: "200",
    RECONNECT_ATTEMPTS: "1000000",
    ALLOW_INSECURE: "true",
    REGION: "1.10",
    ALLOWED_IMAGES: '["example.com/*"]',
    NODE_SELECTOR: '{"pool":"desktops"}',
  });
  const required = { AGENT_ID: REQUIRED.agentId, CONTROL_PLANE_URL: REQUIRED.controlPlaneUrl };
  const env: Readonly<Record<string, string>> = { ...required, ...data };
  const invocation = loadConfig({ args: [], env: (name) => env[name], readFile: () => "" });
  assertEquals(invocation.kind, "run");
});

chartTest("chart restarts pods when settings change", async () => {
  const annotations = async (settings: Readonly<Record<string, unknown>>) => {
    const { "Deployment/k8s-agent": deployment } = byName(await renderChart({ ...REQUIRED, settings }));
    return (deployment as V1Deployment).spec?.template.metadata?.annotations;
  };
  const [one, same, other] = await Promise.all(
    [{ REGION: "a" }, { REGION: "a" }, { REGION: "b" }].map(annotations),
  );
  assertEquals(one, same);
  assertEquals(one?.["checksum/settings"] === other?.["checksum/settings"], false);
});

chartTest("chart uses the namespace of its release", async () => {
  const objects = await renderChart({ ...EVERYTHING }, { namespace: "elsewhere" });
  assertEquals(JSON.stringify(objects).includes('"namespace":"streamspace"'), false);
  for (const object of objects) {
    const isOfCluster = ["PriorityClass", "CustomResourceDefinition"].includes(object.kind ?? "");
    assertEquals(object.metadata?.namespace, isOfCluster ? undefined : "elsewhere", nameOf(object));
  }
});

chartTest("values schema rejects variables in env that the chart sets itself", async () => {
  const { "Deployment/k8s-agent": deployment } = byName(await renderChart(REQUIRED));
  const [container] = (deployment as V1Deployment).spec?.template.spec?.containers ?? [];
  assertEquals(
    schema.properties.env.items.properties.name.not.enum,
    container?.env?.map(({ name }) => name) ?? [],
  );
});

function chartTest(name: string, fn: () => Promise<void>, ignore = HELM.isMissing): void {
  Deno.test({ name: `${name}${HELM.hint}`, ignore, fn });
}

/** The JSON types that a setting may have: a string, and the types that the agent accepts in a file. */
function typesOf({ fallback, parse }: Option): string[] {
  const isScalar = typeof fallback === "number" || typeof fallback === "boolean";
  return [
    "string",
    ...isScalar ? [typeof fallback] : [],
    ...parse([]).ok ? ["array"] : [],
    ...parse({}).ok ? ["object"] : [],
  ];
}

async function readYaml(path: string): Promise<Record<string, unknown>> {
  return load(await Deno.readTextFile(new URL(`../../${path}`, import.meta.url))) as Record<string, unknown>;
}

/** The object of k8s/ with the name of the agent. */
async function shipped(kind: string): Promise<KubernetesObject> {
  const { [`${kind}/k8s-agent`]: object } = byName((await shippedObjects()).map(({ object }) => object));
  return object ?? {};
}

function byName(objects: readonly KubernetesObject[]): Record<string, KubernetesObject> {
  return Object.fromEntries(objects.map((object) => [nameOf(object), object]));
}

function nameOf({ kind, metadata }: KubernetesObject): string {
  return `${kind}/${metadata?.name}`;
}

/** Without the checksum annotation, which plain manifests do not have. */
function withoutChecksum(object: KubernetesObject): KubernetesObject {
  if (object.kind !== "Deployment") return object;
  const copy = structuredClone(object) as V1Deployment;
  delete copy.spec?.template.metadata?.annotations;
  return copy;
}

/** Without Helm's annotation that keeps an object. */
function withoutPolicy(object: KubernetesObject | undefined): KubernetesObject | undefined {
  const { annotations, ...metadata } = object?.metadata ?? {};
  return annotations?.["helm.sh/resource-policy"] === undefined ? object : { ...object, metadata };
}
