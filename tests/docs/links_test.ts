/**
 * Links between pages and to their sections.
 * @module
 */
import { assert } from "@std/assert";

const ROOT = new URL("../../", import.meta.url);
const PAGES = ["", "docs/"].flatMap((folder) =>
  [...Deno.readDirSync(new URL(folder || ".", ROOT))].map(({ name }) => `${folder}${name}`)
).filter((path) => path.endsWith(".md")).sort();

for (const page of PAGES) {
  Deno.test(`${page} has no broken links`, async () => {
    const url = new URL(page, ROOT);
    const text = await Deno.readTextFile(url);
    const targets = [...text.matchAll(/\]\((?!https?:)([^)\s]+)\)/g)].map(([, target = ""]) => target);
    for (const target of targets) {
      const [path = "", section] = target.split("#");
      const there = path === "" ? text : await Deno.readTextFile(new URL(path, url));
      assert(section === undefined || sections(there).includes(section), target);
    }
  });
}

/** Anchors of the sections of a page. */
function sections(text: string): string[] {
  return [...text.matchAll(/^#+ (.+)$/gm)].map(([, title = ""]) =>
    title.toLowerCase().replace(/[^\p{L}\p{N}_ -]/gu, "").replaceAll(" ", "-")
  );
}
