/**
 * The operator's guide against what it speaks of: files, objects, settings, alerts, figures, sections of other pages.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { KubernetesObject, V1Deployment, V1NetworkPolicy } from "@kubernetes/client-node";
import { load } from "js-yaml";
import { APP, APP_LABEL } from "../../lib/model/names.ts";
import { OPTIONS } from "../../lib/cli/options.ts";
import { shippedObjects } from "../k8s/shipped.ts";
import { COMMANDS, commandsOf, PAGE, YAML_FILES } from "../support/operations_page.ts";
import { KUSTOMIZE, renderKustomization, run } from "../support/rendering.ts";

const ROOT = new URL("../../", import.meta.url);

/** Variables that are no settings of the agent. */
const OTHERS = ["NO_PROXY", "HTTPS_PROXY", "AGENT_API_KEY"];

/** What the guide has its reader make, by what it is made of. */
const COPIES = [["examples/production", "examples/kustomize"]] as const;

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
  const named = [...PAGE.matchAll(/\b[A-Z]{2,}(?:_[A-Z]+)+\b/g)].map(([word]) => word);
  assertEquals(named.filter((word) => !known.includes(word)), []);
  const flags = COMMANDS.filter((command) => command.startsWith("k8s-agent "))
    .flatMap((command) => [...command.matchAll(/--([a-z-]+)/g)].map((match) => match[1] ?? ""));
  assertEquals(flags.filter((flag) => !OPTIONS.some((option) => option.flag === flag)), []);
});

Deno.test("the guide's commands stand in blocks, where tests find them, and name files that there are", async () => {
  assertEquals([...PAGE.matchAll(/`((?:kubectl|helm|k8s-agent) [^`]*)`/g)].map((match) => match[1]), []);
  for (const command of COMMANDS) {
    assert(/^(kubectl|helm|k8s-agent|cp|sed) /.test(command), command);
    const paths = [
      ...command.matchAll(/(?: -[fk] |--patch-file=|--values | )((?:k8s|examples)\/\S+|\w+\.yaml)/g),
    ];
    for (const [, path = ""] of paths) {
      if (YAML_FILES.has(path)) continue;
      const source = COPIES.reduce((source, [copy, of]) => source.replace(copy, of), path);
      await Deno.stat(new URL(source, ROOT));
    }
  }
});

Deno.test("the guide's commands name objects and labels that there are", async () => {
  const objects = (await shippedObjects()).map(({ object }) => object);
  const created = COMMANDS.flatMap((command) => [...command.matchAll(/create secret generic (\S+)/g)]);
  const names = [...objects.map(({ metadata }) => metadata?.name), ...created.map((match) => match[1])];
  const labels = objects.flatMap(({ metadata }) =>
    Object.entries(metadata?.labels ?? {}).map(([name, value]) => `${name}=${value}`)
  );
  for (const command of COMMANDS) {
    const [, list = ""] = /(?:secret|priorityclass) (?!generic)((?:[a-z0-9-]+ ?)+)/.exec(command) ?? [];
    const [, workload] = /\bdeploy(?:ment)?\/([\w-]+)/.exec(command) ?? [];
    const named = [...list.split(" "), workload ?? ""].filter((name) => /^\w/.test(name));
    assertEquals(named.filter((name) => !names.includes(name)), [], command);
    const [, selector = `${APP_LABEL}=${APP}`] = / -l (\S+)/.exec(command) ?? [];
    assert([...labels, `${APP_LABEL}=${APP}`].includes(selector), command);
  }
});

Deno.test("the guide makes the namespace and the key's Secret before it installs, either way", () => {
  const commands = commandsOf("Install");
  const firstWay = commands.findIndex((command) => /^helm |examples\//.test(command));
  assertEquals(commands.slice(0, firstWay), [
    "kubectl apply -f k8s/namespace.yaml",
    "kubectl -n streamspace create secret generic k8s-agent-api-key --from-file=api-key=FILE",
  ]);
});

Deno.test("the guide's two ways install the same image", async () => {
  const example = load(await Deno.readTextFile(new URL("examples/kustomize/kustomization.yaml", ROOT)));
  const { images: [image] } = example as { images: [{ newName: string }] };
  const values = load(YAML_FILES.get("values.yaml") ?? "") as { image?: { repository: string } };
  assertEquals(values.image?.repository, image.newName);
});

kustomizeTest("the guide's patch can be one of the patches of a kustomization", async () => {
  const [deployment] = await buildExample<V1Deployment>(
    "Deployment",
    (text) => `${text}  - path: tls.yaml\n`,
  );
  assertEquals(deployment?.spec?.template.spec?.volumes?.map(({ name }) => name), ["tls"]);
});

kustomizeTest("the example's hint of further ports, taken out of its comment, adds one", async () => {
  const [policy] = await buildExample<V1NetworkPolicy>(
    "NetworkPolicy",
    (text) => text.replaceAll(/^ {2}# (- target:| {2}patch:| {4}- \{)/gm, "  $1"),
  );
  assertEquals(policy?.spec?.egress?.at(-1)?.ports?.map(({ port }) => port), [443, 6443, 8443]);
});

Deno.test("the guide's table of components is that of the folder", () => {
  const folders = [...Deno.readDirSync(new URL("k8s/components/", ROOT))].map(({ name }) => name);
  const [, ...rows] = tableAfter("| Component");
  assertEquals(rows.map(([name]) => name?.replaceAll("`", "")).sort(), folders.sort());
});

Deno.test("the guide's memory for so many sessions follows from the benchmarks", async () => {
  const benchmarks = await Deno.readTextFile(new URL("docs/benchmarks.md", ROOT));
  const figure = (name: string) => Number(new RegExp(`\\| ${name} +\\| (\\d+) MB`).exec(benchmarks)?.[1]);
  const idle = figure("memory idle");
  const each = (figure("memory with 100 sessions") - idle) / 100;
  const [, ...rows] = tableAfter("| `MAX_SESSIONS` | Memory request");
  assertEquals(rows.length, 4);
  for (const [sessions, request = "", limit = ""] of rows) {
    const needed = idle + Number(sessions) * each;
    assert(mebibytes(request) > needed, `${request} for ${sessions} sessions, which need ${needed} MB`);
    assertEquals(mebibytes(limit), 2 * mebibytes(request));
  }
});

/** The example's objects of a kind, where its kustomization is changed, and the guide's files are beside it. */
async function buildExample<T extends KubernetesObject>(
  kind: string,
  change: (kustomization: string) => string,
): Promise<T[]> {
  const folder = await Deno.makeTempDir();
  const example = `${folder}/examples/kustomize`;
  try {
    await run("cp", ["-rL", "k8s", "examples", folder]);
    for (const [name, text] of YAML_FILES) await Deno.writeTextFile(`${example}/${name}`, text);
    const kustomization = `${example}/kustomization.yaml`;
    await Deno.writeTextFile(kustomization, change(await Deno.readTextFile(kustomization)));
    return (await renderKustomization(example)).filter((object): object is T => object.kind === kind);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function kustomizeTest(name: string, fn: () => Promise<void>): void {
  Deno.test({ name: `${name}${KUSTOMIZE.hint}`, ignore: KUSTOMIZE.isMissing, fn });
}

/** Rows of the guide's table whose head begins so, head first, as cells. */
function tableAfter(head: string): string[][] {
  const lines = PAGE.split("\n");
  const first = lines.findIndex((line) => line.replace(/ +/g, " ").startsWith(head));
  const rows = lines.slice(first, lines.indexOf("", first)).filter((line) => !line.startsWith("| -"));
  return rows.map((row) => row.split("|").slice(1, -1).map((cell) => cell.trim()));
}

function mebibytes(text: string): number {
  const [, amount, unit] = /^(\d+)([MG])i$/.exec(text) ?? [];
  return Number(amount) * (unit === "G" ? 1024 : 1);
}
