/**
 * The actual state of a session in the cluster. Pure.
 * @module
 */
import { mountedClaim } from "../../lib/kubernetes/objects.ts";
import { APP, APP_LABEL } from "../../lib/model/names.ts";
import type { SessionParts } from "./administrator.ts";
import type { SessionState } from "./model.ts";

/** The state of a session according to its objects. */
export function observe({ deployment, service, policy, pods }: SessionParts): SessionState {
  if (!deployment) {
    if (pods.length > 0) return { kind: "other" };
    return { kind: service ? "broken" : "absent" };
  }
  const isComplete = service && policy && deployment.metadata?.labels?.[APP_LABEL] === APP;
  if (!isComplete || deployment.metadata?.deletionTimestamp) return { kind: "other" };
  const settings = settingsIn(deployment);
  if (deployment.spec?.replicas === 1 && pods.length === 1) return { kind: "running", settings };
  if (deployment.spec?.replicas === 0 && pods.length === 0) return { kind: "hibernated", settings };
  return { kind: "other" };
}

/** A description of the objects of a session. */
export function describeParts({ deployment, service, policy, claim, pods }: SessionParts): string {
  const texts = [
    deployment &&
    `Deployment (${deployment.spec?.replicas} replicas${
      deployment.metadata?.deletionTimestamp ? ", being deleted" : ""
    })`,
    service && "Service",
    policy && "NetworkPolicy",
    claim && "PersistentVolumeClaim",
    ...pods.map(({ metadata, status }) =>
      `Pod ${metadata?.name} (${status?.phase}${metadata?.deletionTimestamp ? ", being deleted" : ""})`
    ),
  ].filter((text) => text !== undefined);
  return texts.join(", ") || "nothing";
}

/** The same text as {@linkcode settingsOf} returns for the payload. */
function settingsIn(deployment: NonNullable<SessionParts["deployment"]>): string {
  const limits = deployment.spec?.template.spec?.containers[0]?.resources?.limits;
  const { user, template } = deployment.metadata?.labels ?? {};
  const hasHome = mountedClaim(deployment) !== undefined;
  return JSON.stringify([user, template, hasHome, limits?.memory, limits?.cpu]);
}
