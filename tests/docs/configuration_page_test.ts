/**
 * The table of settings in docs/configuration.md is the table of options in the code.
 * @module
 */
import { assertEquals } from "@std/assert";
import { OPTIONS } from "../../lib/cli/options.ts";

Deno.test("docs/configuration.md has the option table of the code", async () => {
  const page = await Deno.readTextFile(new URL("../../docs/configuration.md", import.meta.url));
  // `deno fmt` pads the cells of a table.
  const rows = page.split("\n").filter((line) => line.startsWith("| `--")).map((line) =>
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
