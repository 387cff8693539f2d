/**
 * The Pod Security levels that sessions may keep to, and the user that a session runs as. Pure.
 * @module
 */
import type { Template } from "./template.ts";

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

function variable({ env = [] }: Template, name: string): number {
  return Number(env.find((one) => one.name === name)?.value ?? DEFAULT_ID);
}
