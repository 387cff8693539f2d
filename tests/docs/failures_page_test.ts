import { assertEquals } from "@std/assert";
import { formatDuration } from "../../lib/common/quantities.ts";
import { CAUSES } from "../../lib/status/causes.ts";

function time(graceMs: number): string {
  if (graceMs === 0) return "at once";
  return graceMs === Infinity ? "at the deadline" : `after ${formatDuration(graceMs)}`;
}

Deno.test("the page of failures has the table of the code", async () => {
  const page = await Deno.readTextFile(new URL("../../docs/failures.md", import.meta.url));
  const table = page.slice(page.indexOf("## The causes"), page.indexOf("## While it starts"));
  // The formatter pads the cells of a table.
  const rows = table.split("\n").filter((line) => line.startsWith("| `")).map((line) =>
    line.replace(/ +/g, " ")
  );
  assertEquals(
    rows,
    Object.entries(CAUSES).map(([reason, { cause, told, graceMs }]) =>
      `| \`${reason}\` | ${cause} | ${told} | ${time(graceMs)} |`
    ),
  );
});
