/**
 * What becomes of the chart and of kustomizations: the programs that `HELM` and `KUSTOMIZE` name render them, as an operator's do.
 * @module
 */
import type { KubernetesObject } from "@kubernetes/client-node";
import { loadAll } from "js-yaml";

const ROOT = new URL("../../", import.meta.url);
const CHART = new URL("k8s/chart", ROOT).pathname;

/** A program that may be missing: where it is, and what a test without it is called. */
export interface Renderer {
  readonly path: string;
  readonly isMissing: boolean;
  /** What to add to a test's name. */
  readonly hint: string;
}

/** The `helm` of this machine. */
export const HELM = renderer("HELM");

/** The `kustomize` of this machine. */
export const KUSTOMIZE = renderer("KUSTOMIZE");

/** The `actionlint` of this machine. */
export const ACTIONLINT = renderer("ACTIONLINT");

/** Values that have the chart make everything that the components have. */
export const EVERY_COMPONENT = {
  probes: "http",
  podDisruptionBudget: { enabled: true },
  zoneSpread: { enabled: true },
  priorityClass: { create: true, name: "streamspace-agent" },
  networkPolicy: { enabled: true },
  monitoring: { enabled: true },
  crds: { install: true },
};

/** How a program ended, and what it said. */
export interface Ending {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end. */
export async function run(program: string, args: readonly string[]): Promise<Ending> {
  const { code, stdout, stderr } = await new Deno.Command(program, { args: [...args], cwd: ROOT }).output();
  return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
}

/** Runs `helm COMMAND` on the chart with values beside its own, for a release in a namespace. */
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
 * The objects that the chart makes of its values and these.
 *
 * @throws {Error} with Helm's own words when it refuses
 */
export async function renderChart(
  values: Readonly<Record<string, unknown>>,
  options: { namespace?: string } = {},
): Promise<KubernetesObject[]> {
  return objects(await helm(["template", "agent"], { values, ...options }));
}

/**
 * The objects of a kustomization, whose folder is named from the project's root.
 *
 * @throws {Error} with kustomize's own words when it refuses
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
