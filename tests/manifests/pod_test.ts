import { assertEquals } from "@std/assert";
import { SETTINGS } from "../../dev/session_settings.ts";
import { buildPodSpec, type PodPlan } from "../../lib/manifests/pod.ts";
import { BUILT_IN_TEMPLATES, imageTemplate } from "../../lib/model/template.ts";
import type { SessionTemplate } from "../../lib/templates/sources.ts";

const AMOUNTS = { cpu: "1", memory: "2Gi" };
const TEMPLATE: SessionTemplate = { ...imageTemplate("example.com/gimp:1", 6901), defaultResources: AMOUNTS };
const HOME = {
  claimName: "s1-home",
  owner: "session",
  storageClass: "",
  size: "1Gi",
  accessMode: "ReadWriteOnce",
};

function podOf(template: Partial<SessionTemplate>, plan: Partial<PodPlan> = {}) {
  return buildPodSpec({
    request: {
      action: "start_session",
      sessionId: "s1",
      user: "alice",
      template: "gimp",
      persistentHome: false,
    },
    settings: SETTINGS,
    homeVolume: undefined,
    ...plan,
    template: { ...TEMPLATE, ...template },
  });
}

Deno.test("buildPodSpec() grants no rights by default", () => {
  const pod = podOf({});
  assertEquals([pod.automountServiceAccountToken, pod.enableServiceLinks], [false, false]);
  assertEquals(pod.securityContext, { seccompProfile: { type: "RuntimeDefault" } });
  assertEquals(pod.containers[0]?.securityContext, { allowPrivilegeEscalation: false });
});

Deno.test("buildPodSpec() complies with the level `restricted` and runs as the PUID", () => {
  const settings = { ...SETTINGS, sessionSecurity: "restricted" as const };
  const env = [{ name: "PUID", value: "1001" }];
  const restricted = { allowPrivilegeEscalation: false, runAsNonRoot: true, capabilities: { drop: ["ALL"] } };
  const pod = podOf({ env, securityContext: { runAsNonRoot: false } }, { settings });
  assertEquals(pod.securityContext, {
    seccompProfile: { type: "RuntimeDefault" },
    runAsNonRoot: true,
    runAsUser: 1001,
    runAsGroup: 1000,
    fsGroup: 1000,
  });
  assertEquals(pod.containers[0]?.securityContext, restricted);
  const own = podOf({ env, securityContext: { runAsUser: 5, runAsGroup: 6, fsGroup: 7 } }, { settings });
  assertEquals(own.securityContext, { ...pod.securityContext, runAsUser: 5, runAsGroup: 6, fsGroup: 7 });
  assertEquals(own.containers[0]?.securityContext, { ...restricted, runAsUser: 5, runAsGroup: 6 });
});

Deno.test("buildPodSpec() joins settings and template, which overrides them", () => {
  const term = (key: string) => ({ matchExpressions: [{ key, operator: "Exists" }] });
  const required = (...keys: string[]) => ({
    requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: keys.map(term) },
  });
  const preferred = (key: string) => ({
    preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 1, preference: term(key) }],
  });
  const pod = podOf({
    imagePullSecrets: [{ name: "b" }, { name: "a" }],
    runtimeClassName: "nvidia",
    nodeSelector: { pool: "gpu", zone: "z" },
    tolerations: [{ key: "gpu", operator: "Exists" }],
    affinity: { nodeAffinity: { ...required("t1", "t2"), ...preferred("t3") } },
    defaultResources: { ...AMOUNTS, "nvidia.com/gpu": "2" },
  }, {
    settings: {
      ...SETTINGS,
      imagePullSecrets: ["a"],
      runtimeClass: "gvisor",
      priorityClass: "desktops",
      nodeSelector: { pool: "desktops", os: "linux" },
      tolerations: [{ key: "desktops", operator: "Exists" }],
      nodeAffinity: { ...required("s1"), ...preferred("s2") },
      extendedResources: { "nvidia.com/gpu": "1", "example.com/fpga": "1" },
    },
  });
  assertEquals(pod.imagePullSecrets, [{ name: "a" }, { name: "b" }]);
  assertEquals([pod.runtimeClassName, pod.priorityClassName], ["nvidia", "desktops"]);
  assertEquals(pod.nodeSelector, { pool: "gpu", os: "linux", zone: "z" });
  assertEquals(pod.tolerations?.map(({ key }) => key), ["desktops", "gpu"]);
  const both = { ...AMOUNTS, "nvidia.com/gpu": "2", "example.com/fpga": "1" };
  assertEquals(pod.containers[0]?.resources, { requests: both, limits: both });
  const joined = (...keys: string[]) => ({
    matchExpressions: keys.flatMap((key) => term(key).matchExpressions),
    matchFields: [],
  });
  assertEquals(pod.affinity, {
    nodeAffinity: {
      requiredDuringSchedulingIgnoredDuringExecution: {
        nodeSelectorTerms: [joined("s1", "t1"), joined("s1", "t2")],
      },
      preferredDuringSchedulingIgnoredDuringExecution: [
        { weight: 1, preference: term("s2") },
        { weight: 1, preference: term("t3") },
      ],
    },
  });
});

Deno.test("buildPodSpec() mounts the home volume at the path of the template, if there is one", () => {
  const volumes = [{ name: "shm", emptyDir: { medium: "Memory" } }];
  const shm = { name: "shm", mountPath: "/dev/shm" };
  const own = { name: "home", mountPath: "/home/user" };
  const homeVolume = { ...HOME, owner: "session" as const };
  const usual = { name: "home", mountPath: "/config" };
  assertEquals(podOf({ volumes, volumeMounts: [own, shm] }, { homeVolume }).containers[0]?.volumeMounts, [
    own,
    shm,
  ]);
  assertEquals(podOf({ volumes, volumeMounts: [shm] }, { homeVolume }).containers[0]?.volumeMounts, [
    usual,
    shm,
  ]);
  assertEquals(podOf({ volumes, volumeMounts: [own, shm] }).containers[0]?.volumeMounts, [shm]);
  assertEquals(podOf({ volumes }, { homeVolume }).volumes, [
    { name: "home", persistentVolumeClaim: { claimName: "s1-home" } },
    ...volumes,
  ]);
});

Deno.test("buildPodSpec() uses the program and probes of the template", () => {
  const probe = { exec: { command: ["true"] } };
  const [container] =
    podOf({ command: ["/init"], args: ["-v"], readinessProbe: probe, startupProbe: probe }).containers;
  assertEquals([container?.command, container?.args, container?.readinessProbe, container?.startupProbe], [
    ["/init"],
    ["-v"],
    probe,
    probe,
  ]);
  assertEquals(podOf({}).containers[0]?.readinessProbe, {
    tcpSocket: { port: 6901 },
    periodSeconds: 1,
    failureThreshold: 3,
  });
});

Deno.test("buildPodSpec() sets the agent's variables, which the template overrides", () => {
  const [container] =
    podOf({ env: [{ name: "TZ", value: "CET" }, { name: "LANG", value: "de" }] }).containers;
  assertEquals(container?.env?.map(({ name, value }) => `${name}=${value}`), [
    "PUID=1000",
    "PGID=1000",
    "USER=alice",
    "SESSION_ID=s1",
    "TZ=CET",
    "LANG=de",
  ]);
});

Deno.test("buildPodSpec() mounts a directory in memory at /dev/shm", () => {
  const mount = { name: "dev-shm", mountPath: "/dev/shm" };
  const withHome = podOf({ shmSize: "1Gi" }, { homeVolume: { ...HOME, owner: "session" } });
  assertEquals(withHome.containers[0]?.volumeMounts, [{ name: "home", mountPath: "/config" }, mount]);
  assertEquals(withHome.volumes, [
    { name: "home", persistentVolumeClaim: { claimName: "s1-home" } },
    { name: "dev-shm", emptyDir: { medium: "Memory", sizeLimit: "1Gi" } },
  ]);
  const withVolume = podOf({
    shmSize: "1Gi",
    volumes: [{ name: "cache", emptyDir: {} }],
    volumeMounts: [{ name: "cache", mountPath: "/cache" }],
  });
  assertEquals(withVolume.containers[0]?.volumeMounts, [{ name: "cache", mountPath: "/cache" }, mount]);
});

for (
  const [shmSize, memory, sizeLimit] of [
    ["1Gi", "2Gi", "1Gi"],
    ["1024Mi", "1Gi", "1024Mi"],
    ["1Gi", "512Mi", "512Mi"],
    ["1Gi", "536870912", "536870912"],
    ["4Gi", "3.5Gi", "3.5Gi"],
  ] as const
) {
  Deno.test(`buildPodSpec() limits a /dev/shm of ${shmSize} in a session of ${memory}`, () => {
    const { volumes } = podOf({ shmSize, defaultResources: { cpu: "1", memory } });
    assertEquals(volumes, [{ name: "dev-shm", emptyDir: { medium: "Memory", sizeLimit } }]);
  });
}

Deno.test("the built-in desktops have a /dev/shm in memory", () => {
  const sizes = [...BUILT_IN_TEMPLATES].map(([name, { shmSize }]) => `${name} ${shmSize}`);
  assertEquals(sizes, [
    "firefox 1Gi",
    "chrome 1Gi",
    "vscode undefined",
    "ubuntu 1Gi",
    "kali 1Gi",
    "libreoffice 1Gi",
  ]);
});
