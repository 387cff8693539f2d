/**
 * Builds the pod of a session from the template, the request and the settings. Pure.
 * @module
 */
import type {
  V1Affinity,
  V1Container,
  V1EnvVar,
  V1NodeAffinity,
  V1NodeSelectorTerm,
  V1PodSecurityContext,
  V1PodSpec,
  V1SecurityContext,
  V1Volume,
  V1VolumeMount,
} from "@kubernetes/client-node";
import type { HomeVolume } from "./home.ts";
import { parseQuantity } from "../common/quantities.ts";
import { SESSION_CONTAINER } from "../model/names.ts";
import type { StartRequest } from "../model/requests.ts";
import type { Settings } from "../model/settings.ts";
import {
  DEFAULT_ID,
  HOME_PATH,
  HOME_VOLUME,
  type SecurityLevel,
  sessionUser,
  SHM_PATH,
  SHM_VOLUME,
  type Template,
} from "../model/template.ts";
import { verbatim } from "../templates/env.ts";
import type { SessionTemplate } from "../templates/sources.ts";

/** The settings of session pods. */
export type PodSettings = Pick<
  Settings,
  | "imagePullPolicy"
  | "imagePullSecrets"
  | "sessionSecurity"
  | "nodeSelector"
  | "nodeAffinity"
  | "tolerations"
  | "runtimeClass"
  | "priorityClass"
  | "extendedResources"
>;

/** Everything that the pod of a session is built from. */
export interface PodPlan {
  readonly request: StartRequest;
  readonly template: SessionTemplate;
  readonly settings: PodSettings;
  /** The home volume, if the session has one. */
  readonly homeVolume: HomeVolume | undefined;
}

/** Builds the spec of a session's pod. The template overrides the settings; lists are joined. */
export function buildPodSpec(plan: PodPlan): V1PodSpec {
  const { template, settings, homeVolume } = plan;
  const secrets = [
    ...settings.imagePullSecrets,
    ...(template.imagePullSecrets ?? []).map(({ name }) => name),
  ];
  const runtimeClassName = template.runtimeClassName ?? settings.runtimeClass;
  const priorityClassName = template.priorityClassName ?? settings.priorityClass;
  const affinity = joinAffinity(settings.nodeAffinity, template.affinity?.nodeAffinity ?? {});
  const volumes = [...podVolumes(homeVolume), ...(template.volumes ?? []), ...sharedMemory(template)];
  return {
    // A session runs the programs of a user: it gets no service account token and no addresses of other Services.
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    securityContext: podSecurity(template, settings.sessionSecurity),
    containers: [buildContainer(plan)],
    nodeSelector: { ...settings.nodeSelector, ...template.nodeSelector },
    tolerations: [...settings.tolerations, ...(template.tolerations ?? [])],
    ...(affinity ? { affinity } : {}),
    ...(secrets.length > 0 ? { imagePullSecrets: [...new Set(secrets)].map((name) => ({ name })) } : {}),
    ...(runtimeClassName === "" ? {} : { runtimeClassName }),
    ...(priorityClassName === "" ? {} : { priorityClassName }),
    ...(volumes.length > 0 ? { volumes } : {}),
  };
}

function buildContainer({ request, template, settings, homeVolume }: PodPlan): V1Container {
  const amounts = { ...settings.extendedResources, ...template.defaultResources };
  const { command, args, livenessProbe, startupProbe } = template;
  const volumeMounts = mountsOf(template, homeVolume);
  return {
    name: SESSION_CONTAINER,
    image: template.baseImage,
    imagePullPolicy: settings.imagePullPolicy,
    env: environment(request, template),
    ports: [...template.ports],
    // Ready means that the desktop accepts connections, not only that the container runs.
    readinessProbe: template.readinessProbe ?? {
      tcpSocket: { port: template.vnc.port },
      periodSeconds: 1,
      failureThreshold: 3,
    },
    securityContext: containerSecurity(template, settings.sessionSecurity),
    resources: { requests: amounts, limits: amounts },
    // Programs that fail rarely write a termination message, but their log has the reason.
    terminationMessagePolicy: "FallbackToLogsOnError",
    ...(livenessProbe ? { livenessProbe } : {}),
    ...(startupProbe ? { startupProbe } : {}),
    ...(command ? { command: [...command] } : {}),
    ...(args ? { args: [...args] } : {}),
    ...(volumeMounts.length > 0 ? { volumeMounts } : {}),
  };
}

function podVolumes(homeVolume: HomeVolume | undefined): V1Volume[] {
  return homeVolume
    ? [{ name: HOME_VOLUME, persistentVolumeClaim: { claimName: homeVolume.claimName } }]
    : [];
}

/** `/dev/shm` in memory. Its contents count towards the memory limit of the container, so a size above that limit would be of no use. */
function sharedMemory({ shmSize, defaultResources: { memory } }: SessionTemplate): V1Volume[] {
  if (shmSize === undefined) return [];
  const isLarger = (parseQuantity(shmSize) ?? 0) > (parseQuantity(memory) ?? Infinity);
  return [{ name: SHM_VOLUME, emptyDir: { medium: "Memory", sizeLimit: isLarger ? memory : shmSize } }];
}

/** Without a home volume, its files are in the container and are lost with it. */
function mountsOf(template: Template, homeVolume: HomeVolume | undefined): V1VolumeMount[] {
  const shm = template.shmSize === undefined ? [] : [{ name: SHM_VOLUME, mountPath: SHM_PATH }];
  const mounts = [...template.volumeMounts ?? [], ...shm];
  if (!homeVolume) return mounts.filter(({ name }) => name !== HOME_VOLUME);
  if (mounts.some(({ name }) => name === HOME_VOLUME)) return mounts;
  return [{ name: HOME_VOLUME, mountPath: HOME_PATH }, ...mounts];
}

/** The agent's own variables and the template's, which override them. */
function environment({ user, sessionId }: StartRequest, { env = [] }: Template): V1EnvVar[] {
  const own = [
    { name: "PUID", value: String(DEFAULT_ID) },
    { name: "PGID", value: String(DEFAULT_ID) },
    { name: "TZ", value: "UTC" },
    { name: "USER", value: verbatim(user) },
    { name: "SESSION_ID", value: verbatim(sessionId) },
  ];
  return [...own.filter(({ name }) => !env.some((one) => one.name === name)), ...env];
}

/** Combines two affinities so that nodes must match both: the terms of each are alternatives, so every pair of terms becomes one term. */
function joinAffinity(first: V1NodeAffinity, second: V1NodeAffinity): V1Affinity | undefined {
  const [a, b] = [first, second].map((one) =>
    one.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms ?? []
  ) as [V1NodeSelectorTerm[], V1NodeSelectorTerm[]];
  const nodeSelectorTerms = a.length === 0 || b.length === 0
    ? [...a, ...b]
    : a.flatMap((one) => b.map((other) => joinTerms(one, other)));
  const preferred = [first, second].flatMap((one) =>
    one.preferredDuringSchedulingIgnoredDuringExecution ?? []
  );
  if (nodeSelectorTerms.length + preferred.length === 0) return undefined;
  return {
    nodeAffinity: {
      ...(nodeSelectorTerms.length > 0
        ? { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms } }
        : {}),
      ...(preferred.length > 0 ? { preferredDuringSchedulingIgnoredDuringExecution: preferred } : {}),
    },
  };
}

function joinTerms(one: V1NodeSelectorTerm, other: V1NodeSelectorTerm): V1NodeSelectorTerm {
  return {
    matchExpressions: [...(one.matchExpressions ?? []), ...(other.matchExpressions ?? [])],
    matchFields: [...(one.matchFields ?? []), ...(other.matchFields ?? [])],
  };
}

/** The security context of the pod. */
function podSecurity(template: Template, level: SecurityLevel): V1PodSecurityContext {
  const { fsGroup, supplementalGroups } = template.securityContext ?? {};
  const { runAsUser, runAsGroup } = sessionUser(template);
  return {
    seccompProfile: { type: "RuntimeDefault" },
    ...(level === "restricted" ? { runAsNonRoot: true, runAsUser, runAsGroup, fsGroup: runAsGroup } : {}),
    ...(fsGroup === undefined ? {} : { fsGroup }),
    ...(supplementalGroups ? { supplementalGroups } : {}),
  };
}

/** The security context of the session container. */
function containerSecurity(template: Template, level: SecurityLevel): V1SecurityContext {
  const { fsGroup: _fsGroup, supplementalGroups: _groups, ...context } = template.securityContext ?? {};
  const always = { allowPrivilegeEscalation: false };
  if (level === "baseline") return { ...context, ...always };
  return { ...context, ...always, runAsNonRoot: true, capabilities: { drop: ["ALL"] } };
}
