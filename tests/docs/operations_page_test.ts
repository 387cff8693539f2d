/**
 * docs/operations.md compared with what it mentions: files, objects, settings, alerts and measurements.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { KubernetesObject, V1Deployment, V1NetworkPolicy } from "@kubernetes/client-node";
import { load } from "js-yaml";
import { APP, APP_LABEL } from "../../lib/model/names.ts";
import { OPTIONS } from "../../lib/cli/options.ts";
import { shippedObjects } from "../k8s/shipped.ts";
import { commandsOf, filesOf, pageOf, PAGES, sectionOf } from "../support/doc_pages.ts";
import { KUSTOMIZE, renderKustomization, run } from "../support/rendering.ts";

const ROOT = new URL("../../", import.meta.url);
const PAGE = pageOf("docs/operations.md");
const FILES = filesOf(PAGE);
/** The commands of every page. */
const COMMANDS = PAGES.flatMap(commandsOf);

/** Variables that are not settings of the agent. */
const OTHERS = ["NO_PROXY", "HTTPS_PROXY", "AGENT_API_KEY"];

/** Folders that the reader creates, and the folder that each is a copy of. */
const COPIES = [["examples/production", "examples/kustomize"]] as const;

Deno.test("docs/operations.md has a section for each alert, and no other", async () => {
  const file = load(await Deno.readTextFile(new URL("k8s/monitoring/rules.yaml", ROOT))) as {
    groups: Array<{ rules: Array<{ alert: string }> }>;
  };
  const alerts = file.groups.flatMap(({ rules }) => rules.map(({ alert }) => alert));
  const sections = [...sectionOf(PAGE, "Alerts").text.matchAll(/^### (\w+)\n\n(.+)$/gm)];
  assertEquals(sections.map(([, title]) => title), alerts);
});

Deno.test("docs/operations.md names only settings that exist", () => {
  const known = [...OPTIONS.map(({ variable }) => variable), ...OTHERS];
  const named = [...PAGE.text.matchAll(/\b[A-Z]{2,}(?:_[A-Z]+)+\b/g)].map(([word]) => word);
  assertEquals(named.filter((word) => !known.includes(word)), []);
});

Deno.test("commands of the documentation name flags that exist", () => {
  const flags = COMMANDS.filter((command) => command.startsWith("k8s-agent "))
    .flatMap((command) => [...command.matchAll(/--([a-z-]+)/g)].map((match) => match[1] ?? ""));
  assertEquals(flags.filter((flag) => !OPTIONS.some((option) => option.flag === flag)), []);
});

Deno.test("commands of the documentation name files that exist", async () => {
  for (const command of COMMANDS) {
    const paths = [
      ...command.matchAll(/(?: -[fk] |--patch-file=|--values | )((?:k8s|examples)\/\S+|\w+\.yaml)/g),
    ];
    for (const [, path = ""] of paths) {
      if (FILES.has(path)) continue;
      const source = COPIES.reduce((source, [copy, of]) => source.replace(copy, of), path);
      await Deno.stat(new URL(source, ROOT));
    }
  }
});

Deno.test("commands of the documentation name objects and labels that exist", async () => {
  const objects = (await shippedObjects()).map(({ object }) => object);
  const created = COMMANDS.flatMap((command) => [...command.matchAll(/create secret generic (\S+)/g)]);
  const names = [
    ...objects.map(({ metadata }) => metadata?.name),
    ...created.map((match) => match[1]),
    "SESSION",
  ];
  const labels = objects.flatMap(({ metadata }) =>
    Object.entries(metadata?.labels ?? {}).map(([name, value]) => `${name}=${value}`)
  );
  for (const command of COMMANDS.filter((command) => command.startsWith("kubectl "))) {
    const [, list = ""] = /(?:secret|priorityclass) (?!generic)((?:[a-z0-9-]+ ?)+)/.exec(command) ?? [];
    const [, workload] = /\bdeploy(?:ment)?\/([\w-]+)/.exec(command) ?? [];
    const named = [...list.split(" "), workload ?? ""].filter((name) => /^\w/.test(name));
    assertEquals(named.filter((name) => !names.includes(name)), [], command);
    const [, selector = `${APP_LABEL}=${APP}`] = / -l (\S+)/.exec(command) ?? [];
    assert([...labels, `${APP_LABEL}=${APP}`].includes(selector), command);
  }
});

Deno.test("docs/operations.md creates the namespace and the Secret before either installation", () => {
  const commands = commandsOf(sectionOf(PAGE, "Install"));
  const firstWay = commands.findIndex((command) => /^helm |examples\//.test(command));
  assertEquals(commands.slice(0, firstWay), [
    "kubectl apply -f k8s/namespace.yaml",
    "kubectl -n streamspace create secret generic k8s-agent-api-key --from-file=api-key=FILE",
  ]);
});

Deno.test("docs/operations.md installs the same image with kustomize and Helm", async () => {
  const example = load(await Deno.readTextFile(new URL("examples/kustomize/kustomization.yaml", ROOT)));
  const { images: [image] } = example as { images: [{ newName: string }] };
  const values = load(FILES.get("values.yaml") ?? "") as { image?: { repository: string } };
  assertEquals(values.image?.repository, image.newName);
});

kustomizeTest("docs/operations.md has a patch that works in a kustomization", async () => {
  const [deployment] = await buildExample<V1Deployment>(
    "Deployment",
    (text) => `${text}  - path: tls.yaml\n`,
  );
  assertEquals(deployment?.spec?.template.spec?.volumes?.map(({ name }) => name), ["tls"]);
});

kustomizeTest("the example's commented patch for another egress port adds that port", async () => {
  const [policy] = await buildExample<V1NetworkPolicy>(
    "NetworkPolicy",
    (text) => text.replaceAll(/^ {2}# (- target:| {2}patch:| {4}- \{)/gm, "  $1"),
  );
  assertEquals(policy?.spec?.egress?.at(-1)?.ports?.map(({ port }) => port), [443, 6443, 8443]);
});

Deno.test("docs/operations.md lists the components of k8s/components", () => {
  const folders = [...Deno.readDirSync(new URL("k8s/components/", ROOT))].map(({ name }) => name);
  const [, ...rows] = tableAfter("| Component");
  assertEquals(rows.map(([name]) => name?.replaceAll("`", "")).sort(), folders.sort());
});

/** Memory of the executable itself, which is not anonymous, in MB. */
const EXECUTABLE_MB = 64;

Deno.test("docs/operations.md bases its memory limits on docs/benchmarks.md", async () => {
  const benchmarks = await Deno.readTextFile(new URL("docs/benchmarks.md", ROOT));
  const peaks = /\| anonymous memory, peak .*/.exec(benchmarks)?.[0].match(/\d+(?= MB)/g)?.map(Number) ?? [];
  const [, ...rows] = tableAfter("| Sessions, a tenth of them running");
  assertEquals(rows.length, 2);
  for (const [sessions, request = "", limit = "", use = ""] of rows) {
    const peak = parseInt(use);
    assert(peaks.includes(peak), `${use} is not in docs/benchmarks.md`);
    assert(
      mebibytes(limit) > peak + EXECUTABLE_MB,
      `${limit} is not enough for ${sessions} sessions, which need ${use}`,
    );
    assertEquals(mebibytes(limit), 2 * mebibytes(request));
  }
});

/** Objects of a kind that the example renders with a changed kustomization, beside the files of the page. */
async function buildExample<T extends KubernetesObject>(
  kind: string,
  change: (kustomization: string) => string,
): Promise<T[]> {
  const folder = await Deno.makeTempDir();
  const example = `${folder}/examples/kustomize`;
  try {
    await run("cp", ["-rL", "k8s", "examples", folder]);
    for (const [name, text] of FILES) await Deno.writeTextFile(`${example}/${name}`, text);
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

/** Rows of the page's table whose header starts with this text, header first, as cells. */
function tableAfter(head: string): string[][] {
  const lines = PAGE.text.split("\n");
  const first = lines.findIndex((line) => line.replace(/ +/g, " ").startsWith(head));
  const rows = lines.slice(first, lines.indexOf("", first)).filter((line) => !line.startsWith("| -"));
  return rows.map((row) => row.split("|").slice(1, -1).map((cell) => cell.trim()));
}

function mebibytes(text: string): number {
  const [, amount, unit] = /^(\d+)([MG])i$/.exec(text) ?? [];
  return Number(amount) * (unit === "G" ? 1024 : 1);
}
