/**
 * What a session runs, and the templates that the agent brings along. Pure.
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

/** What a template may say about the rights of a session's processes. */
export interface TemplateSecurity
  extends Pick<V1SecurityContext, "runAsUser" | "runAsGroup" | "runAsNonRoot" | "readOnlyRootFilesystem"> {
  readonly fsGroup?: number;
  readonly supplementalGroups?: number[];
  /** Capabilities can only be taken away. */
  readonly capabilities?: { readonly drop: string[] };
}

/** What a template may say about homes, where it is to be other than the settings say. */
export interface TemplateStorage {
  /** Kubernetes quantity. */
  readonly size?: string;
  readonly storageClass?: string;
  readonly accessMode?: string;
}

/**
 * What a session of a template runs: the `spec` of a Template object with nothing in it but what was checked, so that it can be read as one
 * again and is then the same.
 */
export interface Template {
  readonly baseImage: string;
  /** The display's is one of them. */
  readonly ports: readonly TemplatePort[];
  /** The port on which the desktop or application is served. */
  readonly vnc: { readonly port: number };
  readonly env?: readonly V1EnvVar[];
  /** Quantities by resource: `cpu` and `memory`, which a request may name instead, and others such as `nvidia.com/gpu`. */
  readonly defaultResources?: Readonly<Record<string, string>>;
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly readinessProbe?: V1Probe;
  readonly livenessProbe?: V1Probe;
  readonly startupProbe?: V1Probe;
  /** Of {@linkcode HOME_VOLUME} and of {@linkcode Template.volumes}. */
  readonly volumeMounts?: readonly V1VolumeMount[];
  /** Empty directories that last as long as the pod. */
  readonly volumes?: readonly V1Volume[];
  readonly securityContext?: TemplateSecurity;
  readonly storage?: TemplateStorage;
  readonly imagePullSecrets?: readonly V1LocalObjectReference[];
  readonly runtimeClassName?: string;
  readonly priorityClassName?: string;
  readonly nodeSelector?: Readonly<Record<string, string>>;
  readonly tolerations?: readonly V1Toleration[];
  readonly affinity?: { readonly nodeAffinity: V1NodeAffinity };
}

/** Templates by name. */
export type TemplateTable = ReadonlyMap<string, Template>;

/** Name of the volume that is a session's home. */
export const HOME_VOLUME = "home";
/** Where a home is mounted unless a template says otherwise, as linuxserver's images have it. */
export const HOME_PATH = "/config";
/** Name of the display's port in a template that does not name it. */
export const DISPLAY_PORT = "vnc";
/** Port of a template that names none (documentation: `vnc` 3000). */
export const DEFAULT_PORT = 3000;

/** The images' ports are those of their documentation, https://docs.linuxserver.io/images/. */
export const BUILT_IN_TEMPLATES: TemplateTable = new Map([
  ["firefox", imageTemplate("lscr.io/linuxserver/firefox:latest")],
  ["chrome", imageTemplate("lscr.io/linuxserver/chromium:latest")],
  ["vscode", imageTemplate("lscr.io/linuxserver/code-server:latest", 8443)],
  ["ubuntu", imageTemplate("lscr.io/linuxserver/webtop:ubuntu-xfce")],
  ["kali", imageTemplate("lscr.io/linuxserver/kali-linux:latest")],
  ["libreoffice", imageTemplate("lscr.io/linuxserver/libreoffice:latest")],
]);

/** The template of an image that serves its desktop on one port. */
export function imageTemplate(baseImage: string, port = DEFAULT_PORT): Template {
  return { baseImage, ports: [{ name: DISPLAY_PORT, containerPort: port, protocol: "TCP" }], vnc: { port } };
}
