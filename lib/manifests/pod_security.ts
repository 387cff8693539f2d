/**
 * As whom a session's processes run, and with which rights. Pure.
 * @module
 */
import type { V1PodSecurityContext, V1SecurityContext } from "@kubernetes/client-node";
import type { Template } from "../templates/template.ts";

/** Pod Security level that a session's pod keeps to. */
export type SecurityLevel = "baseline" | "restricted";

/** User and group of linuxserver's images, unless a template or a command says otherwise. */
export const DEFAULT_ID = 1000;

/** The user and group that a session of a template is to run as where it may not begin as root. */
export function sessionUser(template: Template): { runAsUser: number; runAsGroup: number } {
  const { runAsUser, runAsGroup } = template.securityContext ?? {};
  return {
    runAsUser: runAsUser ?? variable(template, "PUID"),
    runAsGroup: runAsGroup ?? variable(template, "PGID"),
  };
}

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

function variable({ env = [] }: Template, name: string): number {
  return Number(env.find((one) => one.name === name)?.value ?? DEFAULT_ID);
}
