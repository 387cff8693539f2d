import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { helpText } from "../../lib/cli/command_line.ts";
import { OPTIONS, PRINT_FLAGS } from "../../lib/cli/options.ts";

Deno.test("helpText() has one line per flag, in the order of the option table", () => {
  const flags = helpText().split("\n").flatMap((line) => /^ {2}--([a-z-]+)/.exec(line)?.[1] ?? []);
  assertEquals(flags, [...OPTIONS.map((option) => option.flag), ...PRINT_FLAGS.keys()]);
});

Deno.test("helpText() shows values, defaults and switches", () => {
  const lines = helpText().split("\n").map((line) => line.trim().replace(/ +/g, " "));
  for (
    const line of [
      "--agent-id=VALUE Unique agent identifier, such as k8s-prod-us-east-1",
      "--namespace=VALUE Kubernetes namespace for sessions (default: streamspace)",
      "--region=VALUE Deployment region",
      "--max-memory=VALUE Maximum memory in GB (default: 128)",
      "--heartbeat-interval=VALUE Time between heartbeats, at most 20s (default: 10s)",
      "--check-config Validate the settings, print them and exit",
      "--version Print the version and exit",
    ]
  ) assert(lines.includes(line), line);
});

Deno.test("helpText() aligns the descriptions in one column", () => {
  const entries = helpText().split("\n").filter((line) => line.startsWith("  "));
  assertEquals(new Set(entries.map((line) => /^ {2}\S+ +/.exec(line)?.[0].length)).size, 1);
});

Deno.test("helpText() documents the API key and the exit codes", () => {
  assertStringIncludes(helpText(), "AGENT_API_KEY");
  assertStringIncludes(helpText(), "Exit codes: 0 ");
});

Deno.test("helpText() fits a terminal of 160 columns", () => {
  for (const line of helpText().split("\n")) assert(line.length <= 160, line);
});
