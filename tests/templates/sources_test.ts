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

/** Required and preferred node affinity for one label. */
function affinityTo(key: string, operator: string): Record<"required" | "preferred", V1NodeAffinity> {
  const term = { matchExpressions: [{ key, operator }] };
  return {
    required: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [term] } },
    preferred: { preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 1, preference: term }] },
  };
}

function rejection(request: StartRequest, from: TemplateSources): string {
  return assertThrows(() => resolveTemplate(request, from), CommandError).message;
}

Deno.test("resolveTemplate() prefers the command's template, then the cluster's, then the table's", () => {
  const cluster = { firefox: object({ baseImage: "cluster/firefox:1" }) };
  const images = [
    resolveTemplate(bring({}), sources({}, cluster)),
    resolveTemplate(REQUEST, sources({}, cluster)),
    resolveTemplate(REQUEST, sources()),
  ].map(({ baseImage }) => baseImage);
  assertEquals(images, ["payload/gimp:1", "cluster/firefox:1", "lscr.io/linuxserver/firefox:latest"]);
});

for (const name of ["nonsense", "Firefox", "firefox ", "__proto__", "constructor", "../firefox"]) {
  Deno.test(`resolveTemplate() rejects ${JSON.stringify(name)} and lists the available templates`, () => {
    assertEquals(
      rejection({ ...REQUEST, template: name }, sources()),
      `template ${
        JSON.stringify(name)
      } not found, available are chrome, firefox, kali, libreoffice, ubuntu, vscode`,
    );
  });
}

Deno.test("resolveTemplate() lists the templates of the cluster and the table, up to a maximum", () => {
  const cluster = Object.fromEntries(
    Array.from({ length: 60 }, (_, index) => [`a${index + 10}`, object({})]),
  );
  const names = Object.keys(cluster).slice(0, 50).join(", ");
  assertEquals(
    rejection({ ...REQUEST, template: "gmip" }, sources({}, cluster)),
    `template "gmip" not found, available are ${names} and 16 more`,
  );
  const refused = { get: () => undefined, keys: () => ["gimp"], isRefused: true };
  assertEquals(
    rejection({ ...REQUEST, template: "gmip" }, { ...sources(), cluster: refused, table: new Map() }),
    'template "gmip" not found, available are gimp; the agent cannot list Template objects, see its log',
  );
});

for (
  const [spec, expected] of [
    [undefined, 'Template "firefox": "spec" is required'],
    [{}, 'Template "firefox": "spec.baseImage" is required'],
    [
      { baseImage: "a/b:1", ports: [{ containerPort: 70_000 }] },
      'Template "firefox": "spec.ports[0].containerPort" must be an integer from 1 to 65535, but is 70000',
    ],
    [
      { baseImage: "a/b:1", imagePullSecrets: [{ name: "k8s-agent-api-key" }] },
      'Template "firefox": "spec.imagePullSecrets[0].name" must not be an object of the agent, but is "k8s-agent-api-key"',
    ],
  ] as const
) {
  Deno.test(`resolveTemplate() does not fall back from an invalid Template object: ${JSON.stringify(spec)}`, () => {
    assertEquals(rejection(REQUEST, sources({}, { firefox: object(spec) })), expected);
  });
}

Deno.test("resolveTemplate() allows a Template object every Secret, ConfigMap and class", () => {
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

/** The corpus has the rules for templates of commands and of Template objects. */
const REJECTED: Array<
  [name: string, request: StartRequest, rules: Partial<TemplateRules>, expected: string]
> = [
  [
    "a built-in image that no pattern allows",
    REQUEST,
    { allowedImages: ["lscr_io/*"] },
    'template "firefox": image "lscr.io/linuxserver/firefox:latest" is not allowed: see --allowed-images',
  ],
  [
    "an image that patterns match only in part",
    bring({}),
    { allowedImages: ["lscr.io/*", "payload/gimp", "*/gimp:2"] },
    'image "payload/gimp:1" is not allowed: see --allowed-images',
  ],
  [
    "a request above a limit that was lowered since",
    { ...bring({}), cpu: "3" },
    { maxCpu: 2 },
    '"cpu" must be at most 2 cores, the limit of this agent, but is "3"',
  ],
  [
    "a limit below the default",
    REQUEST,
    { maxMemory: 1 },
    'template "firefox": "memory" must be at most 1Gi, the limit of this agent, but is "2Gi"',
  ],
  [
    "root by the request's PUID where the operator forbids it",
    bring({}, { env: { PUID: "0" } }),
    { sessionSecurity: "restricted" },
    "it runs as root, which --session-security=restricted does not allow",
  ],
];

for (const [name, request, rules, expected] of REJECTED) {
  Deno.test(`resolveTemplate() rejects ${name}`, () => {
    assertEquals(rejection(request, sources(rules)), expected);
  });
}

Deno.test("resolveTemplate() allows a command's template what matches the patterns and settings", () => {
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
  Deno.test(`resolveTemplate() resolves resources of the request ${JSON.stringify(request)} and the template ${JSON.stringify(resources)}`, () => {
    const template = resolveTemplate(
      bring(resources ? { defaultResources: resources } : {}, request),
      sources(),
    );
    assertEquals<unknown>(template.defaultResources, expected);
  });
}

Deno.test("resolveTemplate() replaces variables of the template by literal ones of the command", () => {
  const env = [{ name: "TZ", value: "$(A)" }, { name: "LANG", value: "$(A)" }];
  const variables = JSON.parse('{"TZ":"$(A)","__proto__":"1"}');
  assertEquals(resolveTemplate(bring({ env }, { env: variables }), sources()).env, [
    { name: "LANG", value: "$(A)" },
    { name: "TZ", value: "$$(A)" },
    { name: "__proto__", value: "1" },
  ]);
});
