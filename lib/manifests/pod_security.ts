/**
 * As whom a session's processes run, and with which rights. Pure.
 * @module
 */
import type { V1PodSecurityContext, V1SecurityContext } from "@kubernetes/client-node";
import { type SecurityLevel, sessionUser } from "../model/security.ts";
import type { Template } from "../model/template.ts";

/** What the pod as a whole may do. */
export function podSecurity(template: Template, level: SecurityLevel): V1PodSecurityContext {
  const { fsGroup, supplementalGroups } = template.securityContext ?? {};
  const { runAsUser, runAsGroup } = sessionUser(template);
  return {
    seccompProfile: { type: "RuntimeDefault" },
    ...(level === "restricted" ? { runAsNonRoot: true, runAsUser, runAsGroup, fsGroup: runAsGroup } : {}),
    ...(fsGroup === undefined ? {} : { fsGroup }),
    ...(supplementalGroups ? { supplementalGroups } : {}),
  };
}

/** What the session's container may do. */
export function containerSecurity(template: Template, level: SecurityLevel): V1SecurityContext {
  const { fsGroup: _fsGroup, supplementalGroups: _groups, ...wanted } = template.securityContext ?? {};
  const always = { allowPrivilegeEscalation: false };
  if (level === "baseline") return { ...wanted, ...always };
  return { ...wanted, ...always, runAsNonRoot: true, capabilities: { drop: ["ALL"] } };
}
