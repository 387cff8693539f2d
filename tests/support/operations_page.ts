/**
 * The operator's guide as tests read it: the commands of its `bash` blocks, and the files that its `yaml` blocks are.
 * @module
 */

/** Text of the page. */
export const PAGE = read("operations.md");

const [operating, uninstalling] = PAGE.split(/^(?=## Uninstall$)/m);

/** Every command in its order; those of the page of troubleshooting come while the agent is installed. */
export const COMMANDS = commandsIn(`${operating}${read("troubleshooting.md")}${uninstalling}`);

/** Every command for who installs by Helm: those of Install but for the other way's, Helm's, and what an uninstall by it leaves to do. */
export const HELM_COMMANDS = [
  ...commandsOf("Install").filter((command) => !command.includes("examples/")),
  ...commandsOf("Upgrade").filter(isOfHelm),
  ...commandsOf("Uninstall").slice(commandsOf("Uninstall").findIndex(isOfHelm)),
];

/** Text of each file that the guide has its reader write, by the name in its first line. */
export const YAML_FILES: ReadonlyMap<string, string> = new Map(
  blocks("yaml", PAGE).map((block) => [/^# (\S+)\n/.exec(block)?.[1] ?? "", block]),
);

/** The commands of a section, in their order. */
export function commandsOf(section: string): string[] {
  const text = PAGE.split(/^(?=## )/m).find((text) => text.startsWith(`## ${section}\n`)) ?? "";
  return commandsIn(text);
}

/** Whether a command is one of Helm's. */
export function isOfHelm(command: string): boolean {
  return command.startsWith("helm ");
}

function commandsIn(text: string): string[] {
  return blocks("bash", text).flatMap((block) => block.trim().split("\n"));
}

function read(page: string): string {
  return Deno.readTextFileSync(new URL(`../../docs/${page}`, import.meta.url));
}

/** What stands in a text's fenced blocks of a language. */
function blocks(language: string, text: string): string[] {
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, "gms"))].map((match) =>
    match[1] ?? ""
  );
}
