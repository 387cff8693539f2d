/**
 * The page of metrics and log fields against the tables of the code.
 * @module
 */
import { assertEquals } from "@std/assert";
import { LOG_FIELDS } from "../../lib/common/log.ts";
import { METRICS } from "../../lib/telemetry/metrics.ts";

/** Rows of the page's table that begins so; the formatter pads their cells. */
async function rowsBelow(head: string): Promise<string[]> {
  const page = await Deno.readTextFile(new URL("../../docs/telemetry.md", import.meta.url));
  const lines = page.split("\n").map((line) => line.replace(/ +/g, " "));
  const first = lines.indexOf(head) + 2;
  return lines.slice(first, lines.indexOf("", first));
}

Deno.test("the page's table of metrics is the table of the code", async () => {
  const expected = Object.values(METRICS).map(({ name, kind, labels, help }) => {
    const names = labels.map((label) => `\`${label}\``).join(", ");
    return `| \`${name}\` | ${kind} | ${names || "-"} | ${help} |`;
  });
  assertEquals(await rowsBelow("| Metric | Kind | Labels | What it tells |"), expected);
});

Deno.test("the page's table of log fields is the table of the code", async () => {
  const expected = Object.entries(LOG_FIELDS).map(([name, help]) => `| \`${name}\` | ${help} |`);
  assertEquals(await rowsBelow("| Field | What it holds |"), expected);
});

Deno.test("a log field has the one name under which the code writes it", async () => {
  const used = new Set<string>();
  for await (const text of sources(new URL("../../lib/", import.meta.url))) {
    for (const [, message = ""] of text.matchAll(/"((?:[^"\\\n]|\\.)*)"/g)) {
      for (const [, name = ""] of message.matchAll(/\{(\w+)\}/g)) used.add(name);
    }
  }
  const additional = ["agentId", "failure", "durationMs", "attempt", "attempts", "wait"];
  const unused = Object.keys(LOG_FIELDS).filter((name) => !used.has(name) && !additional.includes(name));
  assertEquals(unused, []);
});

async function* sources(folder: URL): AsyncGenerator<string> {
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) yield* sources(new URL(`${name}/`, folder));
    else yield await Deno.readTextFile(new URL(name, folder));
  }
}
