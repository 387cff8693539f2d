/**
 * Renders the chart and kustomizations with the programs that `HELM` and `KUSTOMIZE` name.
 * @module
 */
import type { KubernetesObject } from "@kubernetes/client-node";
import { loadAll } from "js-yaml";

const ROOT = new URL("../../", import.meta.url);
const CHART = new URL("k8s/chart", ROOT).pathname;

/** A program that may be missing: its path, and a hint for the names of tests that need it. */
export interface Renderer {
  readonly path: string;
  readonly isMissing: boolean;
  /** Suffix for the name of a test: how to make it run. */
  readonly hint: string;
}

/** The `helm` of this machine. */
export const HELM = renderer("HELM");

/** The `kustomize` of this machine. */
export const KUSTOMIZE = renderer("KUSTOMIZE");

/** The `actionlint` of this machine. */
export const ACTIONLINT = renderer("ACTIONLINT");

/** Values that enable in the chart everything that the components contain. */
export const EVERY_COMPONENT = {
  probes: "http",
  podDisruptionBudget: { enabled: true },
  zoneSpread: { enabled: true },
  priorityClass: { create: true, name: "streamspace-agent" },
  networkPolicy: { enabled: true },
  portForward: { enabled: true },
  monitoring: { enabled: true },
  crds: { install: true },
};

/** Exit code and output of a program. */
export interface Ending {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program until it exits. */
export async function run(program: string, args: readonly string[]): Promise<Ending> {
  const { code, stdout, stderr } = await new Deno.Command(program, { args: [...args], cwd: ROOT }).output();
  return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
}

/** Runs `helm COMMAND` on the chart with additional values, for a release in a namespace. */
export async function helm(
  command: readonly string[],
  { values, namespace = "streamspace" }: { values: Readonly<Record<string, unknown>>; namespace?: string },
): Promise<Ending> {
  const file = await Deno.makeTempFile({ suffix: ".json" });
  try {
    await Deno.writeTextFile(file, JSON.stringify(values));
    return await run(HELM.path, [...command, CHART, `--namespace=${namespace}`, `--values=${file}`]);
  } finally {
    await Deno.remove(file);
  }
}

/**
 * Renders the chart with additional values.
 *
 * @throws {Error} with the message of Helm when it fails
 */
export async function renderChart(
  values: Readonly<Record<string, unknown>>,
  options: { namespace?: string } = {},
): Promise<KubernetesObject[]> {
  return objects(await helm(["template", "agent"], { values, ...options }));
}

/**
 * Renders a kustomization in a folder, relative to the project's root.
 *
 * @throws {Error} with the message of kustomize when it fails
 */
export async function renderKustomization(folder: string): Promise<KubernetesObject[]> {
  return objects(await run(KUSTOMIZE.path, ["build", folder]));
}

function objects({ code, stdout, stderr }: Ending): KubernetesObject[] {
  if (code !== 0) throw new Error(stderr);
  return (loadAll(stdout) as (KubernetesObject | null)[]).filter((object) => object !== null);
}

function renderer(variable: string): Renderer {
  const path = Deno.env.get(variable) ?? "";
  const isMissing = path === "";
  const hint = isMissing ? ` (set ${variable} to a path of ${variable.toLowerCase()} to run this)` : "";
  return { path, isMissing, hint };
}
