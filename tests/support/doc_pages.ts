/**
 * The pages of the documentation as tests read them: the commands in their `bash` blocks, and the files in their `yaml` blocks.
 * @module
 */

const ROOT = new URL("../../", import.meta.url);

/** A page, by its path from the project's root. */
export interface Page {
  readonly path: string;
  readonly text: string;
}

/** Every page. */
export const PAGES: readonly Page[] = [".", "docs", "dev/cluster"]
  .flatMap((folder) => [...Deno.readDirSync(new URL(folder, ROOT))].map(({ name }) => `${folder}/${name}`))
  .map((path) => path.replace("./", ""))
  .filter((path) => path.endsWith(".md"))
  .sort()
  .map((path) => ({ path, text: Deno.readTextFileSync(new URL(path, ROOT)) }));

/** Where a command can be tested; `undefined` if no test knows how to run it. */
export type Place =
  /** On this machine, with the in-memory cluster. */
  | "local"
  /** On a real API server. */
  | "cluster"
  /** Nowhere: it needs a container runtime or a public host, or takes minutes and runs in `.ci/run`. */
  | "nowhere";

const PLACES: ReadonlyArray<readonly [Place, RegExp]> = [
  ["nowhere", /^(docker|gh|git) |^\.ci\/run$/],
  [
    "nowhere",
    /^((OTEL_DENO|KUBECONFIG|K8S_AGENT)=\S+ )?deno task (ok|test|bench|chaos|compile|generate|release)\b/,
  ],
  ["nowhere", /^npx -y deno@\S+ task test$/],
  ["local", /^(npx -y deno@\S+|deno) (task|run) |^(curl|export|k8s-agent) /],
  ["cluster", /^(kubectl|helm|cp|sed) /],
];

/** The page of that path. */
export function pageOf(path: string): Page {
  const page = PAGES.find((page) => page.path === path);
  if (!page) throw new Error(`There is no page "${path}"`);
  return page;
}

/** A section of a page, from its heading to the next one of the same level. */
export function sectionOf({ path, text }: Page, title: string): Page {
  const section = text.split(/^(?=## )/m).find((part) => part.startsWith(`## ${title}\n`));
  return { path: `${path}#${title}`, text: section ?? "" };
}

/** The commands of a page in their order; one that spans several lines is one command. */
export function commandsOf({ text }: Page): string[] {
  return blocksOf("bash", text).flatMap(splitCommands);
}

/** Where a command is tested. */
export function placeOf(command: string): Place | undefined {
  return PLACES.find(([, pattern]) => pattern.test(command))?.[0];
}

/** Contents of each file that a page has its reader write, by the name in the comment on its first line. */
export function filesOf({ text }: Page): ReadonlyMap<string, string> {
  return new Map(
    blocksOf("yaml", text).flatMap((block) => {
      const [, name] = /^# (\S+)\n/.exec(block) ?? [];
      return name ? [[name, block]] : [];
    }),
  );
}

/** The languages of a page's fenced blocks, and the first line of each block. */
export function fencesOf({ text }: Page): Array<{ readonly language: string; readonly firstLine: string }> {
  return [...text.matchAll(/^```(\w*)\n(.*)\n[^]*?^```$/gm)].map(([, language = "", firstLine = ""]) => ({
    language,
    firstLine,
  }));
}

function blocksOf(language: string, text: string): string[] {
  const pattern = new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, "gms");
  return [...text.matchAll(pattern)].map(([, block = ""]) => block);
}

function splitCommands(block: string): string[] {
  const commands: string[] = [];
  let open = "";
  for (const line of block.trim().split("\n")) {
    open += (open && "\n") + line.replace(/(^| +)# .*$/, "");
    if (open.endsWith("\\") || [`'`, `"`].some((quote) => open.split(quote).length % 2 === 0)) continue;
    if (open !== "") commands.push(open);
    open = "";
  }
  return open === "" ? commands : [...commands, open];
}
