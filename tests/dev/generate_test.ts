import { assertEquals } from "@std/assert";
import { generateFiles, readFile } from "../../dev/generate/files.ts";

Deno.test("the generated files are up to date; otherwise run: deno task generate", async () => {
  for (const [path, text] of await generateFiles()) assertEquals(await readFile(path), text, path);
});
