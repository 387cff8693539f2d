/**
 * The commands of every page: each has a test, and those that need no real API server run here, on the in-memory cluster.
 * `tests/e2e/page_commands_test.ts` runs the others.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { KubernetesObject } from "@kubernetes/client-node";
import denoJson from "../../deno.json" with { type: "json" };
import { COMMANDS } from "../../lib/cli/options.ts";
import { shippedObjects } from "../k8s/shipped.ts";
import { MEMORY } from "../support/clusters.ts";
import { commandsOf, fencesOf, type Page, PAGES, placeOf } from "../support/doc_pages.ts";
import { DocShell } from "../support/doc_shell.ts";

const ROOT = new URL("../../", import.meta.url);
const PROGRAMS = "kubectl|helm|k8s-agent|deno|npx|docker|curl|git|gh|cp|sed|cosign";
/** The namespace of the documentation, which the in-memory cluster has from the start. */
const NAMESPACE = "streamspace";

for (const page of PAGES) {
  const local = commandsOf(page).filter((command) => placeOf(command) === "local");

  Deno.test(`${page.path} has only commands that a test covers`, async () => {
    assertEquals(commandsOf(page).filter((command) => placeOf(command) === undefined), []);
    for (const command of commandsOf(page)) await checkNames(command);
  });

  Deno.test(`${page.path} has its commands in bash blocks`, () => {
    for (const { language, firstLine } of fencesOf(page)) {
      assert(["", "bash", "json", "yaml", "ts", "mermaid"].includes(language), language);
      if (language === "") assert(!new RegExp(`^(\\$ )?(${PROGRAMS}) `).test(firstLine), firstLine);
    }
    const inline = [...page.text.matchAll(/`((?:kubectl|helm|docker|curl|cosign|gh) [^`]*)`/g)];
    assertEquals(inline.map(([, command]) => command).filter((command) => !isName(command)), []);
  });

  if (local.length === 0) continue;
  Deno.test(`${page.path} has commands that work without a real cluster`, async (context) => {
    await using cluster = await MEMORY.open();
    await using shell = await DocShell.open(cluster, page, NAMESPACE);
    if (local.some((command) => command.startsWith("k8s-agent"))) await install(cluster);
    for (const command of local) {
      await context.step(command, async () => {
        const output = await shell.run(command);
        if (command.endsWith(" demo")) assertEquals(unlike(sampleOf(page), output), []);
      });
    }
  });
}

/** The sample output of the demo. */
function sampleOf({ text }: Page): string {
  return /^```\n(.*The agent is registered[^]*?)^```/m.exec(text)?.[1] ?? "";
}

/** Lines of a sample that the output does not have, apart from times and generated names. */
function unlike(sample: string, output: string): string[] {
  const plain = (line: string) =>
    line.trim().replace(/\d+(?:\.\d+)? ?m?s\b/g, "TIME").replace(/cmd-\w+/, "ID").replace(/pod \S+/, "POD");
  const lines = output.split("\n").map(plain);
  assert(sample !== "");
  return sample.trim().split("\n").map(plain).filter((line) => line !== "…" && !lines.includes(line));
}

/** Words that name a command without its arguments, such as `kubectl get pvcs` in a sentence about it. */
function isName(command = ""): boolean {
  return ["kubectl get pvcs", "docker build", "kubectl apply -k"].includes(command);
}

/** The names in a command that the project defines: tasks, subcommands, and the version of Deno. */
async function checkNames(command: string): Promise<void> {
  const [, version = Deno.version.deno] = /deno@(\S+)/.exec(command) ?? [];
  assertEquals(version, Deno.version.deno, command);
  const [, task] = /deno(?:@\S+)? task (\S+)/.exec(command) ?? [];
  assert(task === undefined || task in denoJson.tasks, command);
  const [, subcommand] = /(?:^|-- )k8s-agent (\w+)/.exec(command) ?? [];
  assert(subcommand === undefined || COMMANDS.has(subcommand), command);
  if (command.startsWith("docker build")) await Deno.stat(new URL("Dockerfile", ROOT));
  if (command.startsWith(".ci/")) assert(((await Deno.stat(new URL(command, ROOT))).mode ?? 0) & 0o100);
}

/** Creates the objects of `k8s/` as `kubectl apply -k k8s/` does. */
async function install(cluster: { create(object: KubernetesObject): Promise<unknown> }): Promise<void> {
  for (const { file, object } of await shippedObjects()) {
    if (!file.includes("/") && object.kind !== "Namespace") await cluster.create(object);
  }
}
