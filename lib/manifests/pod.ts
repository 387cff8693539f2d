/**
 * The pod of a session: what the template, the request and the operator's settings say becomes one spec. Pure.
 * @module
 */
import type {
  V1Affinity,
  V1Container,
  V1EnvVar,
  V1NodeAffinity,
  V1NodeSelectorTerm,
  V1PodSpec,
  V1Volume,
  V1VolumeMount,
} from "@kubernetes/client-node";
import type { Home } from "./home.ts";
import { SESSION_CONTAINER } from "../model/names.ts";
import { containerSecurity, podSecurity } from "./pod_security.ts";
import { DEFAULT_ID } from "../model/security.ts";
import type { StartRequest } from "../model/requests.ts";
import type { Settings } from "../model/settings.ts";
import { HOME_PATH, HOME_VOLUME, type Template } from "../model/template.ts";
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

/** All that a session's pod is made from. */
export interface PodPlan {
  readonly request: StartRequest;
  readonly template: SessionTemplate;
  readonly settings: PodSettings;
  /** The home volume, where the session has one. */
  readonly home: Home | undefined;
}

/** Builds the spec of a session's pod. Where template and settings name the same thing, the template's is taken; lists are joined. */
export function buildPodSpec(plan: PodPlan): V1PodSpec {
  const { template, settings, home } = plan;
  const secrets = [
    ...settings.imagePullSecrets,
    ...(template.imagePullSecrets ?? []).map(({ name }) => name),
  ];
  const runtimeClassName = template.runtimeClassName ?? settings.runtimeClass;
  const priorityClassName = template.priorityClassName ?? settings.priorityClass;
  const affinity = joinAffinity(settings.nodeAffinity, template.affinity?.nodeAffinity ?? {});
  const volumes = [...homeVolumes(home), ...(template.volumes ?? [])];
  return {
    // A session runs a user's programs: it gets neither a key to the API nor the addresses of its neighbours.
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

function buildContainer({ request, template, settings, home }: PodPlan): V1Container {
  const amounts = { ...settings.extendedResources, ...template.defaultResources };
  const { command, args, livenessProbe, startupProbe } = template;
  const volumeMounts = mountsOf(template, home);
  return {
    name: SESSION_CONTAINER,
    image: template.baseImage,
    imagePullPolicy: settings.imagePullPolicy,
    env: environment(request, template),
    ports: [...template.ports],
    // Ready means that the desktop answers, not that the container runs.
    readinessProbe: template.readinessProbe ?? {
      tcpSocket: { port: template.vnc.port },
      periodSeconds: 1,
      failureThreshold: 3,
    },
    securityContext: containerSecurity(template, settings.sessionSecurity),
    resources: { requests: amounts, limits: amounts },
    ...(livenessProbe ? { livenessProbe } : {}),
    ...(startupProbe ? { startupProbe } : {}),
    ...(command ? { command: [...command] } : {}),
    ...(args ? { args: [...args] } : {}),
    ...(volumeMounts.length > 0 ? { volumeMounts } : {}),
  };
}

function homeVolumes(home: Home | undefined): V1Volume[] {
  return home ? [{ name: HOME_VOLUME, persistentVolumeClaim: { claimName: home.claimName } }] : [];
}

/** Without a home, what would be kept there stays in the container. */
function mountsOf({ volumeMounts = [] }: Template, home: Home | undefined): V1VolumeMount[] {
  if (!home) return volumeMounts.filter(({ name }) => name !== HOME_VOLUME);
  if (volumeMounts.some(({ name }) => name === HOME_VOLUME)) return [...volumeMounts];
  return [{ name: HOME_VOLUME, mountPath: HOME_PATH }, ...volumeMounts];
}

/** What the agent says of a session, and the template's variables, which may say otherwise. */
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

/** Nodes must be right for both: of what each requires one term must hold, so that each pair of terms becomes one. */
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
