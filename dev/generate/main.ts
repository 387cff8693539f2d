/**
 * Writes the files that are generated from the schema of templates: `deno task generate`.
 * @module
 */
import { generateFiles, readFile } from "./files.ts";

for (const [path, text] of await generateFiles()) {
  if (await readFile(path) === text) continue;
  await Deno.writeTextFile(new URL(`../../${path}`, import.meta.url), text);
  // deno-lint-ignore no-console -- the output of a command
  console.log(`Updated ${path}`);
}
