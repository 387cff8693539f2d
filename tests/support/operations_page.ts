/**
 * The operator's guide as tests read it: the commands of its `bash` blocks, and the files that its `yaml` blocks are.
 * @module
 */

/** Text of the page. */
export const PAGE = Deno.readTextFileSync(new URL("../../docs/operations.md", import.meta.url));

/** Every command in its order. */
export const COMMANDS: readonly string[] = blocks("bash").flatMap((block) => block.trim().split("\n"));

/** Text of each file that the guide has its reader write, by the name in its first line. */
export const YAML_FILES: ReadonlyMap<string, string> = new Map(
  blocks("yaml").map((block) => [/^# (\S+)\n/.exec(block)?.[1] ?? "", block]),
);

/** What stands in the fenced blocks of a language. */
function blocks(language: string): string[] {
  return [...PAGE.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, "gms"))].map((match) =>
    match[1] ?? ""
  );
}
