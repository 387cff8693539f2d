/**
 * What the cluster holds of a session, in the words of the model. Pure.
 * @module
 */
import type { SessionParts } from "./administrator.ts";
import type { SessionState } from "./model.ts";

/** A session's state as the cluster has it. */
export function observe({ deployment, service, pods }: SessionParts): SessionState {
  if (!deployment) {
    if (pods.length > 0) return { kind: "other" };
    return { kind: service ? "broken" : "absent" };
  }
  if (!service || deployment.metadata?.deletionTimestamp) return { kind: "other" };
  const settings = settingsIn(deployment);
  if (deployment.spec?.replicas === 1 && pods.length === 1) return { kind: "running", settings };
  if (deployment.spec?.replicas === 0 && pods.length === 0) return { kind: "hibernated", settings };
  return { kind: "other" };
}

/** What there is, by names, for people. */
export function describeParts({ deployment, service, claim, pods }: SessionParts): string {
  const words = [
    deployment &&
    `Deployment (${deployment.spec?.replicas} replicas${
      deployment.metadata?.deletionTimestamp ? ", being deleted" : ""
    })`,
    service && "Service",
    claim && "PersistentVolumeClaim",
    ...pods.map(({ metadata, status }) =>
      `Pod ${metadata?.name} (${status?.phase}${metadata?.deletionTimestamp ? ", being deleted" : ""})`
    ),
  ].filter((word) => word !== undefined);
  return words.join(", ") || "nothing";
}

/** The same text as {@linkcode settingsOf} makes of the payload. */
function settingsIn({ metadata, spec }: NonNullable<SessionParts["deployment"]>): string {
  const pod = spec?.template.spec;
  const limits = pod?.containers[0]?.resources?.limits;
  const { user, template } = metadata?.labels ?? {};
  const hasHome = (pod?.volumes ?? []).length > 0;
  return JSON.stringify([user, template, hasHome, limits?.memory, limits?.cpu]);
}
