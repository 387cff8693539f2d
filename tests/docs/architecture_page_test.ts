import { assertEquals } from "@std/assert";

const ROOT = new URL("../../", import.meta.url);
const PAGE = await Deno.readTextFile(new URL("docs/architecture.md", ROOT));

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(new URL(path, ROOT));
    return true;
  } catch {
    return false;
  }
}

Deno.test("docs/architecture.md names only files and folders that exist", async () => {
  const paths = [...PAGE.matchAll(/`((?:lib|tests|dev|docs|k8s)\/[\w./]*)`/g)].map(([, path = ""]) => path);
  const missing: string[] = [];
  for (const path of new Set(paths)) if (!await exists(path)) missing.push(path);
  assertEquals(missing, []);
});

Deno.test("docs/architecture.md lists every folder of lib as a layer", async () => {
  const folders: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(new URL("lib/", ROOT))) {
    if (isDirectory) folders.push(`lib/${name}/`);
  }
  const layers = PAGE.slice(PAGE.indexOf("## Layers"), PAGE.indexOf("## Where does X go"));
  const listed = [...layers.matchAll(/^\| `(lib\/\w+\/)`/gm)].map(([, folder = ""]) => folder);
  assertEquals(listed.toSorted(), folders.toSorted());
});
