/**
 * The README against what it speaks of: its own sections, and the options of the code.
 * @module
 */
import { assertEquals } from "@std/assert";
import { OPTIONS } from "../../lib/cli/options.ts";

Deno.test("the README's contents name each of its sections in order", async () => {
  const readme = await Deno.readTextFile(new URL("../../README.md", import.meta.url));
  const contents = readme.slice(0, readme.indexOf("\n## "));
  const named = [...contents.matchAll(/\[([^\]]+)\]\(#/g)].map(([, title]) => title?.replaceAll("\n", " "));
  assertEquals(named, [...readme.matchAll(/^## (.+)$/gm)].map(([, title]) => title));
});

Deno.test("the README's option table is the table of the code", async () => {
  const readme = await Deno.readTextFile(new URL("../../README.md", import.meta.url));
  // The formatter pads the cells of a table.
  const rows = readme.split("\n").filter((line) => line.startsWith("| `--")).map((line) =>
    line.replace(/ +/g, " ")
  );
  assertEquals(
    rows,
    OPTIONS.map(({ flag, variable, required, fallbackText, help }) => {
      const fallback = required ? "required" : fallbackText === "" ? "-" : `\`${fallbackText}\``;
      return `| \`--${flag}\` | \`${variable}\` | ${fallback} | ${help} |`;
    }),
  );
});
