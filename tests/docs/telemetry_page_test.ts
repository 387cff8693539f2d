/**
 * docs/telemetry.md has the metrics and log fields of the code.
 * @module
 */
import { assertEquals } from "@std/assert";
import { LOG_FIELDS } from "../../lib/common/log.ts";
import { METRICS } from "../../lib/telemetry/metrics.ts";

/** Rows of the page's table with this header; `deno fmt` pads its cells. */
async function rowsBelow(head: string): Promise<string[]> {
  const page = await Deno.readTextFile(new URL("../../docs/telemetry.md", import.meta.url));
  const lines = page.split("\n").map((line) => line.replace(/ +/g, " "));
  const first = lines.indexOf(head) + 2;
  return lines.slice(first, lines.indexOf("", first));
}

Deno.test("docs/telemetry.md has the metrics of the code", async () => {
  const expected = Object.values(METRICS).map(({ name, kind, labels, help }) => {
    const names = labels.map((label) => `\`${label}\``).join(", ");
    return `| \`${name}\` | ${kind} | ${names || "-"} | ${help} |`;
  });
  assertEquals(await rowsBelow("| Metric | Kind | Labels | Description |"), expected);
});

Deno.test("docs/telemetry.md has the log fields of the code", async () => {
  const expected = Object.entries(LOG_FIELDS).map(([name, help]) => `| \`${name}\` | ${help} |`);
  assertEquals(await rowsBelow("| Field | Description |"), expected);
});

Deno.test("log fields are all used by the code", async () => {
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
