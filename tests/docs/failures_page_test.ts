/**
 * The table of causes in docs/failures.md is the table of the code.
 * @module
 */
import { assertEquals } from "@std/assert";
import { formatDuration } from "../../lib/common/quantities.ts";
import { CAUSES, type MessageValues, problem } from "../../lib/status/causes.ts";

/** What the page shows in place of the values of a message. */
const EXAMPLES: MessageValues<keyof typeof CAUSES> = {
  image: '"NAME"',
  container: "its container",
  crashed: "crashed (or ended by itself)",
  provisioner: '"NAME"',
  gates: 'gate "NAME"',
  replicas: "2 replicas",
  volume: '"NAME"',
  attached: "attached (or mounted)",
  node: '"NAME"',
  timeout: "2m",
  progress: "…",
  details: "…",
};

function failsAfter(graceMs: number): string {
  if (graceMs === 0) return "immediately";
  return graceMs === Infinity ? "at the start timeout" : `after ${formatDuration(graceMs)}`;
}

Deno.test("docs/failures.md has the same table of causes as the code", async () => {
  const page = await Deno.readTextFile(new URL("../../docs/failures.md", import.meta.url));
  const table = page.slice(page.indexOf("## Causes"), page.indexOf("## Progress"));
  // `deno fmt` pads the cells of a table.
  const rows = table.split("\n").filter((line) => line.startsWith("| `"))
    .map((line) => line.replace(/ +/g, " "));
  const expected = Object.entries(CAUSES).map(([reason, { description, graceMs }]) => {
    const { message } = problem(reason as keyof typeof CAUSES, EXAMPLES);
    return `| \`${reason}\` | ${description} | ${message} | ${failsAfter(graceMs)} |`;
  });
  assertEquals(rows, expected);
});
