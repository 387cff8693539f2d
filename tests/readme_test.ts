import { assertEquals } from "@std/assert";
import { LOG_FIELDS } from "../lib/log_fields.ts";
import { OPTIONS } from "../lib/options.ts";
import { METRICS } from "../lib/telemetry/metrics.ts";

/** Rows of the README's table that begins so; the formatter pads their cells. */
async function rowsBelow(head: string): Promise<string[]> {
  const readme = await Deno.readTextFile(new URL("../README.md", import.meta.url));
  const lines = readme.split("\n").map((line) => line.replace(/ +/g, " "));
  const first = lines.indexOf(head) + 2;
  return lines.slice(first, lines.indexOf("", first));
}

Deno.test("the README's contents name each of its sections in order", async () => {
  const readme = await Deno.readTextFile(new URL("../README.md", import.meta.url));
  const contents = readme.slice(0, readme.indexOf("\n## "));
  const named = [...contents.matchAll(/\[([^\]]+)\]\(#/g)].map(([, title]) => title?.replaceAll("\n", " "));
  assertEquals(named, [...readme.matchAll(/^## (.+)$/gm)].map(([, title]) => title));
});

Deno.test("the README's option table is the table of the code", async () => {
  const readme = await Deno.readTextFile(new URL("../README.md", import.meta.url));
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

Deno.test("the README's table of metrics is the table of the code", async () => {
  const expected = Object.values(METRICS).map(({ name, kind, labels, help }) => {
    const names = labels.map((label) => `\`${label}\``).join(", ");
    return `| \`${name}\` | ${kind} | ${names || "-"} | ${help} |`;
  });
  assertEquals(await rowsBelow("| Metric | Kind | Labels | What it tells |"), expected);
});

Deno.test("the README's table of log fields is the table of the code", async () => {
  const expected = Object.entries(LOG_FIELDS).map(([name, help]) => `| \`${name}\` | ${help} |`);
  assertEquals(await rowsBelow("| Field | What it holds |"), expected);
});

Deno.test("a log field has the one name under which the code writes it", async () => {
  const used = new Set<string>();
  for await (const text of sources(new URL("../lib/", import.meta.url))) {
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
