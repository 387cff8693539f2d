import { assertEquals, assertThrows } from "@std/assert";
import type { V1NodeAffinity } from "@kubernetes/client-node";
import { SETTINGS } from "../../dev/session_settings.ts";
import { CommandError } from "../../lib/common/errors.ts";
import type { StartRequest } from "../../lib/model/requests.ts";
import { BUILT_IN_TEMPLATES, imageTemplate, type Template } from "../../lib/model/template.ts";
import type { TemplateRules } from "../../lib/templates/rules.ts";
import { resolveTemplate, type TemplateSources } from "../../lib/templates/sources.ts";

const REQUEST: StartRequest = {
  action: "start_session",
  sessionId: "s1",
  user: "alice",
  template: "firefox",
  persistentHome: false,
};
const AMOUNTS = { cpu: "1000m", memory: "2Gi" };
const CONTROL_PLANE = "node-role.kubernetes.io/control-plane";
const WORKER = "node-role.kubernetes.io/worker";
const SECRET = { name: "A", valueFrom: { secretKeyRef: { name: "db", key: "k" } } };

function sources(rules: Partial<TemplateRules> = {}, cluster: Record<string, unknown> = {}): TemplateSources {
  return {
    cluster: new Map(Object.entries(cluster)),
    table: BUILT_IN_TEMPLATES,
    rules: { ...SETTINGS, ...rules },
  };
}

function bring(template: Partial<Template>, request: Partial<StartRequest> = {}): StartRequest {
  return {
    ...REQUEST,
    ...request,
    templateManifest: { spec: { ...imageTemplate("payload/gimp:1"), ...template } },
  };
}

function object(spec: unknown): unknown {
  return { apiVersion: "stream.space/v1alpha1", kind: "Template", metadata: { name: "firefox" }, spec };
}

/** Node affinity by one label, in both ways. */
function affinityTo(key: string, operator: string): Record<"required" | "preferred", V1NodeAffinity> {
  const term = { matchExpressions: [{ key, operator }] };
  return {
    required: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [term] } },
    preferred: { preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 1, preference: term }] },
  };
}

function refusal(request: StartRequest, from: TemplateSources): string {
  return assertThrows(() => resolveTemplate(request, from), CommandError).message;
}

Deno.test("resolveTemplate() takes the command's template, then the cluster's, then the table's", () => {
  const cluster = { firefox: object({ baseImage: "cluster/firefox:1" }) };
  const images = [
    resolveTemplate(bring({}), sources({}, cluster)),
    resolveTemplate(REQUEST, sources({}, cluster)),
    resolveTemplate(REQUEST, sources()),
  ].map(({ baseImage }) => baseImage);
  assertEquals(images, ["payload/gimp:1", "cluster/firefox:1", "lscr.io/linuxserver/firefox:latest"]);
});

for (const name of ["nonsense", "Firefox", "firefox ", "__proto__", "constructor", "../firefox"]) {
  Deno.test(`resolveTemplate() refuses ${JSON.stringify(name)} and names the templates that there are`, () => {
    assertEquals(
      refusal({ ...REQUEST, template: name }, sources()),
      `template ${
        JSON.stringify(name)
      } is unknown, known are chrome, firefox, kali, libreoffice, ubuntu, vscode`,
    );
  });
}

Deno.test("resolveTemplate() names those of the cluster with those of the table, as far as there is room", () => {
  const cluster = Object.fromEntries(
    Array.from({ length: 60 }, (_, index) => [`a${index + 10}`, object({})]),
  );
  const names = Object.keys(cluster).slice(0, 50).join(", ");
  assertEquals(
    refusal({ ...REQUEST, template: "gmip" }, sources({}, cluster)),
    `template "gmip" is unknown, known are ${names} and 16 more`,
  );
  const refused = { get: () => undefined, keys: () => ["gimp"], isRefused: true };
  assertEquals(
    refusal({ ...REQUEST, template: "gmip" }, { ...sources(), cluster: refused, table: new Map() }),
    'template "gmip" is unknown, known are gimp; Template objects cannot be listed, see the agent\'s log',
  );
});

for (
  const [spec, expected] of [
    [undefined, 'Template "firefox": cannot do without "spec": it is missing'],
    [{}, 'Template "firefox": cannot do without "spec.baseImage": it is missing'],
    [
      { baseImage: "a/b:1", ports: [{ containerPort: 70_000 }] },
      'Template "firefox": cannot use "spec.ports[0].containerPort": it must be a whole number from 1 to 65535, and is 70000',
    ],
    [
      { baseImage: "a/b:1", imagePullSecrets: [{ name: "k8s-agent-api-key" }] },
      'Template "firefox": cannot use "spec.imagePullSecrets[0].name": it must not be one of the agent\'s own, and is "k8s-agent-api-key"',
    ],
  ] as const
) {
  Deno.test(`resolveTemplate() never falls back from a Template of ${JSON.stringify(spec)} to another`, () => {
    assertEquals(refusal(REQUEST, sources({}, { firefox: object(spec) })), expected);
  });
}

Deno.test("resolveTemplate() lets a Template of the cluster refer to Secrets, ConfigMaps and classes as it likes", () => {
  const spec = {
    baseImage: "a/b:1",
    env: [SECRET],
    runtimeClassName: "nvidia",
    priorityClassName: "high",
    nodeSelector: { pool: "gpu", [CONTROL_PLANE]: "" },
    tolerations: [{ operator: "Exists" }],
  };
  const rules = { runtimeClass: "gvisor", nodeSelector: { pool: "desktops" } };
  const template = resolveTemplate(REQUEST, sources(rules, { firefox: object(spec) }));
  assertEquals([template.env, template.runtimeClassName], [[SECRET], "nvidia"]);
});

const REFUSED: Array<[name: string, request: StartRequest, rules: Partial<TemplateRules>, expected: string]> =
  [
    [
      "a Secret that no pattern allows",
      bring({ env: [{ name: "B", value: "" }, SECRET] }),
      { allowedSecrets: ["desktop-*", "db2"] },
      'cannot use "templateManifest.spec.env[1].valueFrom.secretKeyRef.name": it must be allowed by --allowed-secrets, and is "db"',
    ],
    [
      "a ConfigMap where none is allowed",
      bring({ env: [{ name: "B", valueFrom: { configMapKeyRef: { name: "texts", key: "k" } } }] }),
      {},
      'cannot use "templateManifest.spec.env[0].valueFrom.configMapKeyRef.name": it must be allowed by --allowed-secrets, and is "texts"',
    ],
    [
      "a pull secret where none is allowed",
      bring({ imagePullSecrets: [{ name: "registry" }] }),
      {},
      'cannot use "templateManifest.spec.imagePullSecrets[0].name": it must be allowed by --allowed-secrets, and is "registry"',
    ],
    [
      "the agent's own Secret where all are allowed",
      bring({ imagePullSecrets: [{ name: "k8s-agent-issued-key" }] }),
      { allowedSecrets: ["*"] },
      'cannot use "templateManifest.spec.imagePullSecrets[0].name": it must not be one of the agent\'s own, and is "k8s-agent-issued-key"',
    ],
    [
      "another runtime class than the operator's",
      bring({ runtimeClassName: "runc" }),
      { runtimeClass: "gvisor" },
      'cannot use "templateManifest.spec.runtimeClassName": it must be "gvisor" as --runtime-class says, and is "runc"',
    ],
    [
      "another priority class than the operator's",
      bring({ priorityClassName: "high" }),
      { priorityClass: "low" },
      'cannot use "templateManifest.spec.priorityClassName": it must be "low" as --priority-class says, and is "high"',
    ],
    [
      "a priority class where the operator set none",
      bring({ priorityClassName: "streamspace-agent" }),
      {},
      'cannot use "templateManifest.spec.priorityClassName": it must be left to --priority-class, and is "streamspace-agent"',
    ],
    [
      "a toleration of every taint",
      bring({ tolerations: [{ key: "gpu", operator: "Exists" }, { operator: "Exists" }] }),
      {},
      'cannot do without "templateManifest.spec.tolerations[1].key": it is missing',
    ],
    [
      "a toleration of the control plane's taint",
      bring({ tolerations: [{ key: CONTROL_PLANE, operator: "Exists" }] }),
      {},
      `cannot use "templateManifest.spec.tolerations[0].key": it must be left to --tolerations, and is "${CONTROL_PLANE}"`,
    ],
    [
      "a toleration of a drain",
      bring({ tolerations: [{ key: "node.kubernetes.io/unschedulable", operator: "Exists" }] }),
      {},
      'cannot use "templateManifest.spec.tolerations[0].key": it must be left to --tolerations, and is "node.kubernetes.io/unschedulable"',
    ],
    [
      "the nodes of a role",
      bring({ nodeSelector: { [CONTROL_PLANE]: "" } }),
      {},
      `cannot use "templateManifest.spec.nodeSelector[${CONTROL_PLANE}]": it must be left to --node-selector`,
    ],
    ...(["required", "preferred"] as const).map((
      kind,
    ): [string, StartRequest, Partial<TemplateRules>, string] => [
      `the nodes of a role, ${kind} by their affinity`,
      bring({ affinity: { nodeAffinity: affinityTo(CONTROL_PLANE, "Exists")[kind] } }),
      {},
      `cannot use "templateManifest.spec.affinity.nodeAffinity": it must be left to --node-affinity, and is "${CONTROL_PLANE}"`,
    ]),
    [
      "other nodes than the operator's",
      bring({ nodeSelector: { pool: "control-plane" } }),
      { nodeSelector: { pool: "desktops" } },
      'cannot use "templateManifest.spec.nodeSelector[pool]": it must be "desktops" as --node-selector says, and is "control-plane"',
    ],
    [
      "an image that no pattern allows",
      bring({}),
      { allowedImages: ["lscr.io/*", "payload/gimp", "*/gimp:2"] },
      'image "payload/gimp:1" is not allowed here: see --allowed-images',
    ],
    [
      "a built-in image that no pattern allows",
      REQUEST,
      { allowedImages: ["lscr_io/*"] },
      'template "firefox": image "lscr.io/linuxserver/firefox:latest" is not allowed here: see --allowed-images',
    ],
    [
      "more memory of the template than the agent has",
      bring({ defaultResources: { memory: "16Gi" } }),
      { maxMemory: 8 },
      'cannot use "templateManifest.spec.defaultResources.memory": it is more than this agent has (8Gi), and is "16Gi"',
    ],
    [
      "more of the request than the agent has by now",
      { ...bring({}), cpu: "3" },
      { maxCpu: 2 },
      'cannot use "cpu": it is more than this agent has (2 cores), and is "3"',
    ],
    [
      "less than the default on the whole agent",
      REQUEST,
      { maxMemory: 1 },
      'template "firefox": cannot use "memory": it is more than this agent has (1Gi), and is "2Gi"',
    ],
    [
      "root where the operator wants none",
      bring({}, { env: { PUID: "0" } }),
      { sessionSecurity: "restricted" },
      "its user is root, which --session-security=restricted does not allow",
    ],
  ];

for (const [name, request, rules, expected] of REFUSED) {
  Deno.test(`resolveTemplate() refuses ${name}`, () => {
    assertEquals(refusal(request, sources(rules)), expected);
  });
}

Deno.test("resolveTemplate() lets a payload refer to what patterns allow, and agree with the settings", () => {
  const request = bring({
    env: [SECRET],
    runtimeClassName: "gvisor",
    priorityClassName: "low",
    nodeSelector: { pool: "desktops", b: "c", [WORKER]: "" },
    tolerations: [{ key: "gpu", operator: "Exists" }],
    affinity: { nodeAffinity: affinityTo(CONTROL_PLANE, "DoesNotExist").required },
  });
  const { baseImage } = resolveTemplate(
    request,
    sources({
      allowedSecrets: ["d*"],
      allowedImages: ["*/g*:1"],
      runtimeClass: "gvisor",
      priorityClass: "low",
      nodeSelector: { pool: "desktops", [WORKER]: "" },
    }),
  );
  assertEquals(baseImage, "payload/gimp:1");
});

for (
  const [request, resources, expected] of [
    [{}, undefined, AMOUNTS],
    [{}, { memory: "4Gi", "nvidia.com/gpu": "1" }, { cpu: "1000m", memory: "4Gi", "nvidia.com/gpu": "1" }],
    [{ cpu: "2", memory: "1Gi" }, { memory: "4Gi" }, { cpu: "2", memory: "1Gi" }],
  ] as const
) {
  Deno.test(`resolveTemplate() gives ${JSON.stringify(request)} with a template's ${JSON.stringify(resources)} what comes first`, () => {
    const template = resolveTemplate(
      bring(resources ? { defaultResources: resources } : {}, request),
      sources(),
    );
    assertEquals<unknown>(template.defaultResources, expected);
  });
}

Deno.test("resolveTemplate() puts the command's variables in place of the template's, as text", () => {
  const env = [{ name: "TZ", value: "$(A)" }, { name: "LANG", value: "$(A)" }];
  const variables = JSON.parse('{"TZ":"$(A)","__proto__":"1"}');
  assertEquals(resolveTemplate(bring({ env }, { env: variables }), sources()).env, [
    { name: "LANG", value: "$(A)" },
    { name: "TZ", value: "$$(A)" },
    { name: "__proto__", value: "1" },
  ]);
});
