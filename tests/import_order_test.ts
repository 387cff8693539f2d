import { assertEquals } from "@std/assert";

/** The layers of the program, from top to bottom: a file may import from its own folder and from folders below it, never from one above. */
const LAYERS = [
  ".", // main.ts
  "lib", // agent.ts, election.ts, recovery.ts, wiring.ts
  "lib/doctor",
  "lib/cli",
  "lib/telemetry",
  "lib/commands",
  "lib/sessions",
  "lib/streams",
  "lib/status",
  "lib/control_plane",
  "lib/kubernetes",
  "lib/manifests",
  "lib/templates",
  "lib/model",
  "lib/common",
];

const ROOT = new URL("../", import.meta.url).pathname;

async function sourceFiles(folder: string): Promise<string[]> {
  const files: string[] = [];
  for await (const entry of Deno.readDir(ROOT + folder)) {
    if (entry.isDirectory) files.push(...await sourceFiles(`${folder}/${entry.name}`));
    else files.push(`${folder}/${entry.name}`);
  }
  return files;
}

async function localImports(file: string): Promise<string[]> {
  const text = await Deno.readTextFile(ROOT + file);
  const specifiers = [...text.matchAll(/(?:from|import)\s*\(?\s*"(\.{1,2}\/[^"]+\.ts)"/g)];
  return specifiers.map(([, specifier]) =>
    new URL(specifier!, `file://${ROOT}${file}`).pathname.slice(ROOT.length)
  );
}

function folderOf(file: string): string {
  return file.includes("/") ? file.slice(0, file.lastIndexOf("/")) : ".";
}

Deno.test("every folder of the program is a layer", async () => {
  const folders = new Set((await sourceFiles("lib")).map(folderOf));
  assertEquals([...folders].toSorted(), LAYERS.slice(1).toSorted());
});

Deno.test("no file imports from a layer above its own", async () => {
  const upward: string[] = [];
  for (const file of ["main.ts", ...await sourceFiles("lib")]) {
    const layer = LAYERS.indexOf(folderOf(file));
    const above = (await localImports(file)).filter((path) => LAYERS.indexOf(folderOf(path)) < layer);
    upward.push(...above.map((path) => `${file} imports ${path}`));
  }
  assertEquals(upward, []);
});
