/**
 * The home volume of a session: one per session, one per user, or none. Pure.
 * @module
 */
import type { V1ObjectMeta, V1PersistentVolumeClaim } from "@kubernetes/client-node";
import {
  homeClaimName,
  labelValue,
  SESSION_ANNOTATION,
  SESSION_LABEL,
  TEMPLATE_ANNOTATION,
  TEMPLATE_LABEL,
  USER_ANNOTATION,
  USER_LABEL,
  userHomeClaimName,
} from "../model/names.ts";
import type { StartRequest } from "../model/requests.ts";
import type { Settings } from "../model/settings.ts";
import type { TemplateStorage } from "../model/template.ts";

/** The settings of home volumes. */
export type HomeSettings = Pick<
  Settings,
  "homeStrategy" | "storageClass" | "storageSize" | "storageAccessMode"
>;

/** A home volume. */
export interface HomeVolume {
  readonly claimName: string;
  /** The volume of a user is shared by the user's sessions and outlives them. */
  readonly owner: "session" | "user";
  readonly storageClass: string;
  readonly size: string;
  readonly accessMode: string;
}

/**
 * Chooses the home volume of a session; `undefined` for none.
 *
 * @param overrides what the template sets, in place of the settings
 * @param hasOwn whether the session already has a home volume of its own, for example from before the strategy changed: it is used again
 */
export function chooseHomeVolume(
  { persistentHome, sessionId, user }: StartRequest,
  { settings, overrides, hasOwn }: {
    settings: HomeSettings;
    overrides: TemplateStorage;
    hasOwn: boolean;
  },
): HomeVolume | undefined {
  if (!persistentHome || settings.homeStrategy === "none") return undefined;
  const owner = settings.homeStrategy === "per-user" && !hasOwn ? "user" : "session";
  return {
    claimName: owner === "user" ? userHomeClaimName(user) : homeClaimName(sessionId),
    owner,
    storageClass: overrides.storageClass ?? settings.storageClass,
    size: overrides.size ?? settings.storageSize,
    accessMode: overrides.accessMode ?? settings.storageAccessMode,
  };
}

/** Builds the PersistentVolumeClaim of a home volume; `metadata` is that of the session's objects. */
export function buildClaim(home: HomeVolume, metadata: V1ObjectMeta): V1PersistentVolumeClaim {
  const { labels, annotations, ...rest } = metadata;
  const isUsers = home.owner === "user";
  return {
    apiVersion: "v1",
    kind: "PersistentVolumeClaim",
    metadata: {
      ...rest,
      name: home.claimName,
      labels: isUsers ? without(labels, [SESSION_LABEL, TEMPLATE_LABEL]) : { ...labels },
      annotations: isUsers
        ? without(annotations, [SESSION_ANNOTATION, TEMPLATE_ANNOTATION])
        : { ...annotations },
    },
    spec: {
      accessModes: [home.accessMode],
      ...(home.storageClass === "" ? {} : { storageClassName: home.storageClass }),
      resources: { requests: { storage: home.size } },
    },
  };
}

/** Whether a claim is the home volume of a user. Earlier versions of StreamSpace set only the label, not the annotation. */
export function isHomeVolumeOf({ metadata }: V1PersistentVolumeClaim, user: string): boolean {
  const exact = metadata?.annotations?.[USER_ANNOTATION];
  return exact === undefined ? metadata?.labels?.[USER_LABEL] === labelValue(user) : exact === user;
}

function without(
  entries: Readonly<Record<string, string>> | undefined,
  names: readonly string[],
): Record<string, string> {
  return Object.fromEntries(Object.entries(entries ?? {}).filter(([name]) => !names.includes(name)));
}
