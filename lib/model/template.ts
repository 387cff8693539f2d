/**
 * What a session runs, and the built-in templates. Pure.
 * @module
 */
import type {
  V1EnvVar,
  V1LocalObjectReference,
  V1NodeAffinity,
  V1Probe,
  V1SecurityContext,
  V1Toleration,
  V1Volume,
  V1VolumeMount,
} from "@kubernetes/client-node";

/** A port of the container. */
export interface TemplatePort {
  readonly name: string;
  readonly containerPort: number;
  readonly protocol: "TCP" | "UDP" | "SCTP";
}

/** The security context of a template. */
export interface TemplateSecurity
  extends Pick<V1SecurityContext, "runAsUser" | "runAsGroup" | "runAsNonRoot" | "readOnlyRootFilesystem"> {
  readonly fsGroup?: number;
  readonly supplementalGroups?: number[];
  /** Capabilities can only be dropped. */
  readonly capabilities?: { readonly drop: string[] };
}

/** The home volume of a template, where it differs from the settings. */
export interface TemplateStorage {
  /** Kubernetes quantity. */
  readonly size?: string;
  readonly storageClass?: string;
  readonly accessMode?: string;
}

/**
 * The `spec` of a Template object, with validated fields only. It is a valid spec itself, and parses as the same template.
 */
export interface Template {
  readonly baseImage: string;
  /** Includes the display port. */
  readonly ports: readonly TemplatePort[];
  /** The port on which the desktop or application is served. */
  readonly vnc: { readonly port: number };
  readonly env?: readonly V1EnvVar[];
  /** Quantities by resource name: `cpu` and `memory`, which a request may override, and others such as `nvidia.com/gpu`. */
  readonly defaultResources?: Readonly<Record<string, string>>;
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly readinessProbe?: V1Probe;
  readonly livenessProbe?: V1Probe;
  readonly startupProbe?: V1Probe;
  /** Mounts of {@linkcode HOME_VOLUME} and {@linkcode Template.volumes}. */
  readonly volumeMounts?: readonly V1VolumeMount[];
  /** `emptyDir` volumes. */
  readonly volumes?: readonly V1Volume[];
  readonly securityContext?: TemplateSecurity;
  readonly storage?: TemplateStorage;
  readonly imagePullSecrets?: readonly V1LocalObjectReference[];
  readonly runtimeClassName?: string;
  readonly priorityClassName?: string;
  readonly nodeSelector?: Readonly<Record<string, string>>;
  readonly tolerations?: readonly V1Toleration[];
  readonly affinity?: { readonly nodeAffinity: V1NodeAffinity };
  /** Kubernetes quantity: size of {@linkcode SHM_PATH}. */
  readonly shmSize?: string;
}

/** Templates by name. */
export type TemplateTable = ReadonlyMap<string, Template>;

/** Name of the home volume in a pod. */
export const HOME_VOLUME = "home";
/** Default mount path of the home volume, which is that of linuxserver.io's images. */
export const HOME_PATH = "/config";
/** Directory in memory that programs share; browsers need more than the 64Mi that container runtimes give it. */
export const SHM_PATH = "/dev/shm";
/** Name of the volume that is mounted at {@linkcode SHM_PATH}. */
export const SHM_VOLUME = "dev-shm";
/** Size of {@linkcode SHM_PATH} in the built-in desktops, as in https://docs.linuxserver.io/images/docker-firefox/. */
const DESKTOP_SHM_SIZE = "1Gi";
/** Default name of the display port. */
export const DISPLAY_PORT = "vnc";
/** Display port of a template without ports (StreamSpace documentation: `vnc` 3000). */
export const DEFAULT_PORT = 3000;

/** Ports as documented in https://docs.linuxserver.io/images/. */
export const BUILT_IN_TEMPLATES: TemplateTable = new Map([
  ["firefox", desktopTemplate("lscr.io/linuxserver/firefox:latest")],
  ["chrome", desktopTemplate("lscr.io/linuxserver/chromium:latest")],
  ["vscode", imageTemplate("lscr.io/linuxserver/code-server:latest", 8443)],
  ["ubuntu", desktopTemplate("lscr.io/linuxserver/webtop:ubuntu-xfce")],
  ["kali", desktopTemplate("lscr.io/linuxserver/kali-linux:latest")],
  ["libreoffice", desktopTemplate("lscr.io/linuxserver/libreoffice:latest")],
]);

function desktopTemplate(baseImage: string): Template {
  return { ...imageTemplate(baseImage), shmSize: DESKTOP_SHM_SIZE };
}

/** A template with one image and one port. */
export function imageTemplate(baseImage: string, port = DEFAULT_PORT): Template {
  return { baseImage, ports: [{ name: DISPLAY_PORT, containerPort: port, protocol: "TCP" }], vnc: { port } };
}

/** Pod Security Standard that session pods comply with. */
export type SecurityLevel = "baseline" | "restricted";

/** Default user and group ID, which is that of linuxserver.io's images. */
export const DEFAULT_ID = 1000;

/** The user and group ID of a session that must not start as root: the security context, or `PUID` and `PGID`. */
export function sessionUser(template: Template): { runAsUser: number; runAsGroup: number } {
  const { runAsUser, runAsGroup } = template.securityContext ?? {};
  return {
    runAsUser: runAsUser ?? variable(template, "PUID"),
    runAsGroup: runAsGroup ?? variable(template, "PGID"),
  };
}

function variable({ env = [] }: Template, name: string): number {
  return Number(env.find((one) => one.name === name)?.value ?? DEFAULT_ID);
}
