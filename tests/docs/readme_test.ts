/**
 * The README stays short and links to every page of the documentation.
 * @module
 */
import { assert, assertEquals } from "@std/assert";

const ROOT = new URL("../../", import.meta.url);

Deno.test("README has at most 200 lines", async () => {
  const readme = await Deno.readTextFile(new URL("README.md", ROOT));
  assert(readme.split("\n").length <= 200);
});

Deno.test("README links to every page", async () => {
  const readme = await Deno.readTextFile(new URL("README.md", ROOT));
  const files = (folder: string) => Array.fromAsync(Deno.readDir(new URL(folder, ROOT)), ({ name }) => name);
  const paths = [...await files("."), ...(await files("docs")).map((name) => `docs/${name}`)];
  const pages = paths.filter((path) => path.endsWith(".md") && path !== "README.md");
  const linked = [...readme.matchAll(/^\| \[[^\]]+\]\(([^)#]+)\)/gm)].map(([, target]) => target ?? "");
  assertEquals(linked.toSorted(), pages.toSorted());
});
