/**
 * The objects in the files of k8s/ that its kustomizations and components list as resources.
 * @module
 */
import type { KubernetesObject } from "@kubernetes/client-node";
import { load, loadAll } from "js-yaml";

const FOLDER = new URL("../../k8s/", import.meta.url);

/** An object and its file, relative to k8s/. */
export interface Shipped {
  readonly file: string;
  readonly object: KubernetesObject;
}

/** All objects. */
export async function shippedObjects(): Promise<Shipped[]> {
  const shipped: Shipped[] = [];
  for (const file of await resourceFiles(FOLDER)) {
    const text = await Deno.readTextFile(file);
    const objects = (loadAll(text) as (KubernetesObject | null)[]).filter((object) => object !== null);
    shipped.push(...objects.map((object) => ({ file: file.pathname.slice(FOLDER.pathname.length), object })));
  }
  return shipped;
}

/** The files that the kustomizations in a folder and its subfolders list. */
async function resourceFiles(folder: URL): Promise<URL[]> {
  const files: URL[] = [];
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    const entry = new URL(name, folder);
    if (isDirectory) files.push(...await resourceFiles(new URL(`${name}/`, folder)));
    if (name !== "kustomization.yaml") continue;
    const { resources = [] } = load(await Deno.readTextFile(entry)) as { resources?: string[] };
    files.push(...resources.filter((path) => path.endsWith(".yaml")).map((path) => new URL(path, folder)));
  }
  return files.sort((a, b) => a.pathname.localeCompare(b.pathname));
}
