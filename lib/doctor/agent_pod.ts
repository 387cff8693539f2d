/**
 * How an agent is set up, as far as its pod's manifest shows it: by flags and variables; ConfigMaps, Secrets and files are not looked into. Pure.
 * @module
 */
import type { V1Pod } from "@kubernetes/client-node";
import { parseCommandLine } from "../cli/command_line.ts";
import { OPTIONS } from "../cli/options.ts";
import type { Settings } from "../model/settings.ts";

/** A setting of a pod: `isKnown` is false where it may be set and cannot be seen. */
export type PodSetting = { readonly isKnown: true; readonly value: string | undefined } | {
  readonly isKnown: false;
};

const UNKNOWN: PodSetting = { isKnown: false };

/** Finds a setting as the agent itself would: flags come before variables, variables before files. */
export function settingOf(pod: V1Pod, key: keyof Settings): PodSetting {
  const { flag = "", variable = "" } = OPTIONS.find((option) => option.key === key) ?? {};
  const containers = pod.spec?.containers ?? [];
  const args = containers.flatMap(({ command = [], args = [] }) => [...command, ...args]);
  const { flags } = parseCommandLine(args, []);
  const given = flags.get(flag);
  if (given !== undefined) return { isKnown: true, value: given };
  const env = containers.flatMap((container) => container.env ?? []);
  const named = env.find(({ name }) => name === variable);
  if (named?.valueFrom) return UNKNOWN;
  if (named?.value) return { isKnown: true, value: named.value };
  const isElsewhere = containers.some(({ envFrom = [] }) => envFrom.length > 0) || flags.has("config") ||
    env.some(({ name }) => name === "CONFIG");
  return isElsewhere ? UNKNOWN : { isKnown: true, value: undefined };
}
