/**
 * The messages that the pages quote are those of the code.
 * @module
 */
import { assertEquals } from "@std/assert";
import { pageOf } from "../support/doc_pages.ts";

const ROOT = new URL("../../", import.meta.url);
/** Shortest fragment of a message that identifies it. */
const MIN_LENGTH = 8;
/** Messages of the runtime and of the API server. */
const FOREIGN = [
  "proxy authentication required",
  "tcp connect error",
  "Invalid status code",
  "is forbidden",
  "Unauthorized",
];

for (
  const [path, section] of [["docs/troubleshooting.md", "## Log messages"], [
    "docs/operations.md",
    "## Alerts",
  ]]
) {
  Deno.test(`${path} quotes messages that exist`, async () => {
    const text = pageOf(path ?? "").text.split(section ?? "")[1] ?? "";
    const code = (await Array.fromAsync(sources(new URL("lib/", ROOT)))).join("\n");
    const messages = messagesOf(text);
    const missing = messages.flatMap(fragments).filter((fragment) =>
      !FOREIGN.includes(fragment) && !code.includes(fragment)
    );
    assertEquals(missing, []);
  });
}

/** Values in messages, and the kinds of objects that messages name. */
const VALUES =
  /…|[;()=]|"[^"]*"|\d+|\bs1\b|\bURL\b|\b(?:pods|events|templates|sessions)\b|stream\.space\S+|--[\w-]+|[A-Z]+_[A-Z_]+/;

/** The quoted messages: sentences, unlike names of files, settings and metrics. */
function messagesOf(text: string): string[] {
  return [...text.matchAll(/`([^`\n]+)`/g)].map(([, message = ""]) => message)
    .filter((message) => message.includes(" "));
}

/** The literal parts of a message, between its values. */
function fragments(message: string): string[] {
  return message
    .replace(/^Cannot \w+ session "s1": /, "")
    .split(VALUES)
    .map((part) => part.replace(/^[\s:,.()]+|[\s:,.()]+$/g, ""))
    .filter((part) => part.length >= MIN_LENGTH);
}

/** Source files with the pieces of each message joined. */
async function* sources(folder: URL): AsyncGenerator<string> {
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) yield* sources(new URL(`${name}/`, folder));
    else yield (await Deno.readTextFile(new URL(name, folder))).replace(/["`] \+\s+["`]/g, "");
  }
}
