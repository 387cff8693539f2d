/**
 * The operator's guide against what it speaks of: files, settings, alerts, sections of other pages.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { load } from "js-yaml";
import { OPTIONS } from "../lib/options.ts";
import { COMMANDS, PAGE } from "./support/operations_page.ts";

const ROOT = new URL("../", import.meta.url);

/** Variables that are no settings of the agent. */
const OTHERS = ["NO_PROXY", "HTTPS_PROXY", "FILE", "TLS", "API", "CPU", "README", "AGENT_API_KEY"];

Deno.test("the guide has a paragraph for each alert, and no other", async () => {
  const file = load(await Deno.readTextFile(new URL("k8s/monitoring/rules.yaml", ROOT))) as {
    groups: Array<{ rules: Array<{ alert: string }> }>;
  };
  const alerts = file.groups.flatMap(({ rules }) => rules.map(({ alert }) => alert));
  const paragraphs = [...PAGE.matchAll(/^### (\w+)\n\n(.+)$/gm)].map((match) => match[1]);
  assertEquals(paragraphs, alerts);
});

Deno.test("the guide names only settings that there are", () => {
  const known = [...OPTIONS.map(({ variable }) => variable), ...OTHERS];
  const named = [...PAGE.matchAll(/\b[A-Z]{2,}(?:_[A-Z]+)*\b/g)].map(([word]) => word)
    .filter((word) => word.includes("_"));
  assertEquals(named.filter((word) => !known.includes(word)), []);
  const flags = [...PAGE.matchAll(/k8s-agent \w+ (.*)/g)].flatMap(([, rest = ""]) =>
    [...rest.matchAll(/--([a-z-]+)/g)].map((match) => match[1] ?? "")
  );
  assertEquals(flags.filter((flag) => !OPTIONS.some((option) => option.flag === flag)), []);
});

Deno.test("the guide's commands are kubectl's and the agent's, and name files that are shipped", async () => {
  for (const command of COMMANDS) {
    assert(/^(kubectl|k8s-agent) /.test(command), command);
    for (const [, path = ""] of command.matchAll(/ -[fk] (\S+)/g)) await Deno.stat(new URL(path, ROOT));
  }
});

Deno.test("the guide's links lead somewhere", async () => {
  for (const [, target = ""] of PAGE.matchAll(/\]\(([^)]+)\)/g)) {
    const [path = "", heading] = target.split("#");
    const text = await Deno.readTextFile(new URL(`docs/${path}`, ROOT));
    const headings = [...text.matchAll(/^#+ (.+)$/gm)].map(([, title = ""]) =>
      title.toLowerCase().replace(/[^\w -]/g, "").replaceAll(" ", "-")
    );
    assert(heading === undefined || headings.includes(heading), target);
  }
});
