/**
 * The operator's guide as tests read it: the commands of its `bash` blocks, and the files that its `yaml` blocks are.
 * @module
 */

/** Text of the page. */
export const PAGE = read("operations.md");

const [operating, uninstalling] = PAGE.split(/^(?=## Uninstall$)/m);

/** Every command in its order; those of the page of troubleshooting come while the agent is installed. */
export const COMMANDS: readonly string[] = blocks(
  "bash",
  `${operating}${read("troubleshooting.md")}${uninstalling}`,
).flatMap((block) => block.trim().split("\n"));

/** Text of each file that the guide has its reader write, by the name in its first line. */
export const YAML_FILES: ReadonlyMap<string, string> = new Map(
  blocks("yaml", PAGE).map((block) => [/^# (\S+)\n/.exec(block)?.[1] ?? "", block]),
);

function read(page: string): string {
  return Deno.readTextFileSync(new URL(`../../docs/${page}`, import.meta.url));
}

/** What stands in a text's fenced blocks of a language. */
function blocks(language: string, text: string): string[] {
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, "gms"))].map((match) =>
    match[1] ?? ""
  );
}
