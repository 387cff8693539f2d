import { assert, assertEquals } from "@std/assert";
import type { V1Deployment, V1NetworkPolicyPeer } from "@kubernetes/client-node";
import { HOME_ANNOTATION } from "../../lib/model/names.ts";
import { buildManifests, buildPolicy, type SessionSpec, specHash } from "../../lib/manifests/manifests.ts";
import { labelValue } from "../../lib/model/names.ts";
import type { HomeVolume } from "../../lib/manifests/home.ts";
import type { StartRequest } from "../../lib/model/requests.ts";
import { imageTemplate, type TemplatePort } from "../../lib/model/template.ts";
import { SETTINGS } from "../../dev/session_settings.ts";

const REQUEST: StartRequest = {
  action: "start_session",
  sessionId: "alice-firefox-1a2b3c4d",
  user: "alice",
  template: "firefox",
  persistentHome: false,
  memory: "2Gi",
  cpu: "1000m",
};

const AMOUNTS = { cpu: "1000m", memory: "2Gi" };

const SPEC: SessionSpec = {
  commandId: "c1",
  request: REQUEST,
  template: { ...imageTemplate("example.com/firefox:1"), defaultResources: AMOUNTS },
  settings: SETTINGS,
  homeVolume: undefined,
  startedAt: new Date("2026-01-02T03:04:05Z"),
};

const HOME: HomeVolume = {
  claimName: "alice-firefox-1a2b3c4d-home",
  owner: "session",
  storageClass: "",
  size: "10Gi",
  accessMode: "ReadWriteOnce",
};

const ID = REQUEST.sessionId;
const LABELS = {
  app: "streamspace-session",
  session: ID,
  user: "alice",
  template: "firefox",
  "stream.space/agent": "a1",
  "app.kubernetes.io/managed-by": "streamspace-k8s-agent",
};
const ANNOTATIONS = {
  "stream.space/session": ID,
  "stream.space/user": "alice",
  "stream.space/template": "firefox",
};
const METADATA = { name: ID, namespace: "streamspace", labels: LABELS, annotations: ANNOTATIONS };
const SELECTOR = { app: "streamspace-session", session: ID };
const CONTAINER = {
  name: "session",
  image: "example.com/firefox:1",
  imagePullPolicy: "IfNotPresent",
  env: [
    { name: "PUID", value: "1000" },
    { name: "PGID", value: "1000" },
    { name: "TZ", value: "UTC" },
    { name: "USER", value: "alice" },
    { name: "SESSION_ID", value: ID },
  ],
  ports: [{ name: "vnc", containerPort: 3000, protocol: "TCP" }],
  readinessProbe: { tcpSocket: { port: 3000 }, periodSeconds: 1, failureThreshold: 3 },
  securityContext: { allowPrivilegeEscalation: false },
  resources: { requests: AMOUNTS, limits: AMOUNTS },
  terminationMessagePolicy: "FallbackToLogsOnError",
};
const POD_SPEC = {
  automountServiceAccountToken: false,
  enableServiceLinks: false,
  securityContext: { seccompProfile: { type: "RuntimeDefault" } },
  containers: [CONTAINER],
  nodeSelector: {},
  tolerations: [],
};

/** The Deployment with this pod for a request. */
function deploymentOf(podSpec: unknown, request = REQUEST): unknown {
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: {
      ...METADATA,
      annotations: {
        ...ANNOTATIONS,
        "stream.space/spec-hash": specHash(request),
        "stream.space/command-id": "c1",
        "stream.space/running-since": "2026-01-02T03:04:05.000Z",
      },
    },
    spec: {
      replicas: 1,
      progressDeadlineSeconds: 600,
      selector: { matchLabels: SELECTOR },
      strategy: { type: "Recreate" },
      template: {
        metadata: {
          labels: LABELS,
          annotations: { ...ANNOTATIONS, "stream.space/display-port": "3000" },
        },
        spec: podSpec,
      },
    },
  };
}

function userVariable(user: string): string | undefined {
  const { deployment } = buildManifests({ ...SPEC, request: { ...REQUEST, user } });
  return deployment.spec?.template.spec?.containers[0]?.env?.find((one) => one.name === "USER")?.value;
}

Deno.test("buildManifests() builds the Deployment and Service of a session without a home volume", () => {
  assertEquals<unknown>(buildManifests(SPEC), {
    claim: undefined,
    policy: undefined,
    deployment: deploymentOf(POD_SPEC),
    service: {
      apiVersion: "v1",
      kind: "Service",
      metadata: { ...METADATA, annotations: { ...ANNOTATIONS, "stream.space/command-id": "c1" } },
      spec: { selector: SELECTOR, ports: [{ name: "vnc", port: 3000, targetPort: "vnc", protocol: "TCP" }] },
    },
  });
});

Deno.test("buildManifests() sets the progress deadline above the start timeout and an extension for a new node", () => {
  const deadlineOf = (startTimeout: number) =>
    buildManifests({ ...SPEC, settings: { ...SETTINGS, startTimeout } }).deployment.spec
      ?.progressDeadlineSeconds;
  assertEquals([1000, 240_000, 300_001, 600_000, 3_600_000].map(deadlineOf), [600, 600, 661, 960, 3960]);
});

Deno.test("buildManifests() annotates the maximum duration and idle timeout", () => {
  const request = { ...REQUEST, maxSessionDurationMs: 28_800_000, idleTimeoutMs: 1500 };
  const annotations = buildManifests({ ...SPEC, request }).deployment.metadata?.annotations ?? {};
  assertEquals(annotations["stream.space/max-session-duration"], "28800s");
  assertEquals(annotations["stream.space/idle-timeout"], "1.5s");
});

Deno.test("buildManifests() adds and mounts the claim of a home volume", () => {
  const request = { ...REQUEST, persistentHome: true };
  const { claim, deployment, service } = buildManifests({ ...SPEC, request, homeVolume: HOME });
  assertEquals<unknown>(claim, {
    apiVersion: "v1",
    kind: "PersistentVolumeClaim",
    metadata: { ...METADATA, name: `${ID}-home` },
    spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "10Gi" } } },
  });
  assertEquals(service.metadata?.annotations?.[HOME_ANNOTATION], `${ID}-home`);
  assertEquals<unknown>(
    deployment,
    deploymentOf({
      ...POD_SPEC,
      containers: [{ ...CONTAINER, volumeMounts: [{ name: "home", mountPath: "/config" }] }],
      volumes: [{ name: "home", persistentVolumeClaim: { claimName: `${ID}-home` } }],
    }, request),
  );
});

Deno.test("buildManifests() applies the settings and the template", () => {
  const toleration = { key: "desktops", operator: "Exists", effect: "NoSchedule" };
  const request = { ...REQUEST, persistentHome: true };
  const { claim, deployment, service } = buildManifests({
    commandId: "c1",
    startedAt: SPEC.startedAt,
    request,
    template: { ...imageTemplate("example.com/code:2", 8443), defaultResources: AMOUNTS },
    homeVolume: { ...HOME, storageClass: "fast", size: "20Gi" },
    settings: {
      ...SETTINGS,
      namespace: "desktops",
      imagePullPolicy: "Always",
      nodeSelector: { pool: "desktops" },
      tolerations: [toleration],
    },
  });
  const pod = deployment.spec?.template.spec;
  assertEquals(
    [claim, deployment, service].map((one) => one?.metadata?.namespace),
    ["desktops", "desktops", "desktops"],
  );
  assertEquals([claim?.spec?.storageClassName, claim?.spec?.resources?.requests], ["fast", {
    storage: "20Gi",
  }]);
  assertEquals([pod?.nodeSelector, pod?.tolerations], [{ pool: "desktops" }, [toleration]]);
  assertEquals(
    [
      pod?.containers[0]?.image,
      pod?.containers[0]?.imagePullPolicy,
      pod?.containers[0]?.ports?.[0]?.containerPort,
    ],
    ["example.com/code:2", "Always", 8443],
  );
  assertEquals(service.spec?.ports?.[0]?.port, 8443);
});

Deno.test("buildManifests() keeps a user that is not a valid label value in an annotation and a variable", () => {
  const user = "Alice O'Neil <alice@example.com> üñí";
  const { deployment, service } = buildManifests({ ...SPEC, request: { ...REQUEST, user } });
  for (const one of [deployment.metadata, service.metadata, deployment.spec?.template.metadata]) {
    assertEquals(one?.labels?.user, labelValue(user));
    assertEquals(one?.annotations?.["stream.space/user"], user);
  }
  assertEquals(userVariable(user), user);
});

/** Expands a value as Kubernetes does: `$$` becomes `$`, and `$(NAME)` the value of an earlier variable. */
function expanded(value: string): string {
  return value.replace(/\$\$|\$\(([^)]*)\)/g, (match, name) => match === "$$" ? "$" : `<${name} expanded>`);
}

for (const user of ["alice", "$HOME", "$", "$$", "$(TZ)", "$$(TZ)", "$$$(TZ)", "a$(", "$(TZ", "`id`"]) {
  Deno.test(`buildManifests() escapes the user ${user} so that Kubernetes does not expand it`, () => {
    assertEquals(expanded(userVariable(user) ?? ""), user);
  });
}

Deno.test("buildManifests() sets no field to undefined, which JSON cannot represent", () => {
  const settings = { ...SETTINGS, ingressNamespaces: ["edge"] };
  const manifests = buildManifests({ ...SPEC, settings, homeVolume: HOME });
  assertEquals(JSON.parse(JSON.stringify(manifests)), manifests);
});

Deno.test("buildManifests() adds every port of a template to the Service and annotates the display port", () => {
  const ports = [
    { name: "web", containerPort: 6901, protocol: "TCP" },
    { name: "audio", containerPort: 4901, protocol: "UDP" },
  ] as const;
  const template = { ...SPEC.template, ports, vnc: { port: 6901 } };
  const settings = { ...SETTINGS, ingressNamespaces: ["control-plane"] };
  const { deployment, service, policy } = buildManifests({ ...SPEC, template, settings });
  const pod = deployment.spec?.template;
  assertEquals(service.spec?.ports, [
    { name: "web", port: 6901, protocol: "TCP", targetPort: "web" },
    { name: "audio", port: 4901, protocol: "UDP", targetPort: "audio" },
  ]);
  assertEquals(policy?.spec?.ingress?.[0]?.ports, [
    { port: 6901, protocol: "TCP" },
    { port: 4901, protocol: "UDP" },
  ]);
  assertEquals(pod?.metadata?.annotations?.["stream.space/display-port"], "6901");
  assertEquals(pod?.spec?.containers[0]?.readinessProbe?.tcpSocket, { port: 6901 });
});

Deno.test("buildManifests() adds the port that the Control Plane assumes for the image, unless the template uses it", () => {
  const servicePorts = (baseImage: string, port: number, others: readonly TemplatePort[] = []) => {
    const ports = [...imageTemplate(baseImage, port).ports, ...others];
    const { service } = buildManifests({
      ...SPEC,
      template: { ...SPEC.template, baseImage, ports, vnc: { port } },
    });
    return service.spec?.ports?.map(({ port, targetPort }) => `${port}:${targetPort}`);
  };
  const web = (name: string, containerPort: number) => ({ name, containerPort, protocol: "TCP" as const });
  assertEquals(servicePorts("lscr.io/linuxserver/code-server:latest", 8443), ["8443:vnc", "3000:vnc"]);
  assertEquals(servicePorts("linuxserver/transmission", 9091), ["9091:vnc", "3000:vnc"]);
  assertEquals(servicePorts("mirror.example.com:5000/docker/kasmweb/firefox:1", 8443), [
    "8443:vnc",
    "6901:vnc",
  ]);
  assertEquals(servicePorts("lscr.io/linuxserver/firefox:latest", 3000), ["3000:vnc"]);
  assertEquals(servicePorts("linuxserver/webtop", 3001, [web("http", 3000)]), ["3001:vnc", "3000:http"]);
  assertEquals(servicePorts("linuxserver/x", 80, [web("display-alias", 81)]), ["80:vnc", "81:display-alias"]);
  assertEquals(servicePorts("example.com/notlinuxserver/x", 8443), ["8443:vnc"]);
  assertEquals(servicePorts("example.com/app:1", 8443), ["8443:vnc"]);
});

Deno.test("specHash() is the same as in the first version for a start with its fields only", () => {
  const { memory: _memory, cpu: _cpu, ...rest } = REQUEST;
  assertEquals([specHash(REQUEST), specHash({ ...rest, cpu: "1000m" })], ["393430ee", "393430ee"]);
  assertEquals(specHash({ ...REQUEST, namespace: "desktops" }), "393430ee");
});

Deno.test("specHash() differs for different starts", () => {
  assertEquals(specHash(REQUEST), specHash({ ...REQUEST }));
  const changes: Array<Partial<StartRequest>> = [
    { user: "bob" },
    { template: "chrome" },
    { persistentHome: true },
    { memory: "3Gi" },
    { cpu: "2" },
    { templateManifest: { spec: imageTemplate("example.com/firefox:1") } },
    { templateManifest: { spec: imageTemplate("example.com/firefox:2") } },
    { env: { A: "1" } },
    { env: { A: "2" } },
    { idleTimeoutMs: 1000 },
    { maxSessionDurationMs: 1000 },
    { user: "alicefirefox", template: "" },
  ];
  const hashes = changes.map((change) => specHash({ ...REQUEST, ...change }));
  assertEquals(new Set([specHash(REQUEST), ...hashes]).size, changes.length + 1);
  for (const hash of hashes) assert(/^[0-9a-f]{8}$/.test(hash));
});

const POLICY_LABELS = { app: "streamspace-session", session: "s1" };
const POLICY_ANNOTATIONS = {
  "stream.space/session": "s1",
  "stream.space/user": "alice",
  "stream.space/template": "firefox",
};
const POLICY_METADATA = {
  name: "s1",
  namespace: "streamspace",
  labels: POLICY_LABELS,
  annotations: POLICY_ANNOTATIONS,
};
const POLICY_DEPLOYMENT: V1Deployment = {
  metadata: {
    ...POLICY_METADATA,
    uid: "u1",
    annotations: { ...POLICY_ANNOTATIONS, "stream.space/command-id": "c1" },
  },
  spec: {
    selector: { matchLabels: POLICY_LABELS },
    template: {
      spec: {
        containers: [{
          name: "session",
          ports: [{ name: "vnc", containerPort: 3000, protocol: "TCP" }, { containerPort: 3001 }],
        }],
      },
    },
  },
};

Deno.test("buildPolicy() allows ingress from the namespaces to the session's ports only", () => {
  assertEquals<unknown>(
    buildPolicy(
      { ...SETTINGS, ingressNamespaces: ["streamspace", "edge"], streamDial: "port-forward" },
      POLICY_DEPLOYMENT,
    ),
    {
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy",
      metadata: POLICY_METADATA,
      spec: {
        podSelector: { matchLabels: POLICY_LABELS },
        policyTypes: ["Ingress"],
        ingress: [{
          from: ["streamspace", "edge"].map((name) => ({
            namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": name } },
          })),
          ports: [{ port: 3000, protocol: "TCP" }, { port: 3001, protocol: "TCP" }],
        }],
      },
    },
  );
});

Deno.test("buildPolicy() returns no policy without namespaces", () => {
  assertEquals(buildPolicy({ ...SETTINGS, ingressNamespaces: [] }, POLICY_DEPLOYMENT), undefined);
});

Deno.test("buildPolicy() allows ingress from agents that connect to sessions directly", () => {
  const peers = (settings: Partial<typeof SETTINGS>) =>
    (buildPolicy({ ...SETTINGS, ingressNamespaces: ["edge"], ...settings }, POLICY_DEPLOYMENT)?.spec?.ingress
      ?.[0] as { from?: V1NetworkPolicyPeer[] } | undefined)
      ?.from?.flatMap(({ podSelector }) => podSelector ? [podSelector.matchLabels] : []);
  assertEquals(peers({}), [{ component: "k8s-agent" }]);
  assertEquals(peers({ streamDial: "port-forward" }), []);
  assertEquals(peers({ kubeconfig: "/kubeconfig" }), []);
});
