/**
 * The operator's guide as tests read it: the commands of its `bash` blocks, its YAML, and its headings.
 * @module
 */

/** Text of the page. */
export const PAGE = Deno.readTextFileSync(new URL("../../docs/operations.md", import.meta.url));

/** What stands in the fenced blocks of a language. */
export function blocks(language: string): string[] {
  return [...PAGE.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, "gms"))].map((match) =>
    match[1] ?? ""
  );
}

/** Every command in its order, without remarks. */
export const COMMANDS: readonly string[] = blocks("bash").flatMap((block) => block.trim().split("\n"));
