import { assert, assertEquals, assertMatch } from "@std/assert";
import denoJson from "../../deno.json" with { type: "json" };
import { OPTIONS, PRINT_FLAGS } from "../../lib/cli/options.ts";
import { PROXY_VARIABLES } from "../../lib/common/proxies.ts";

Deno.test("options include the documented core flags, variables and defaults", () => {
  const documented = OPTIONS.slice(0, 9).map((option) => [
    `--${option.flag}`,
    option.variable,
    option.required,
    option.fallback,
  ]);
  assertEquals(documented, [
    ["--agent-id", "AGENT_ID", true, undefined],
    ["--control-plane-url", "CONTROL_PLANE_URL", true, undefined],
    ["--platform", "PLATFORM", false, "kubernetes"],
    ["--region", "REGION", false, ""],
    ["--namespace", "NAMESPACE", false, "streamspace"],
    ["--kubeconfig", "KUBECONFIG", false, ""],
    ["--max-cpu", "MAX_CPU", false, 100],
    ["--max-memory", "MAX_MEMORY", false, 128],
    ["--max-sessions", "MAX_SESSIONS", false, 100],
  ]);
});

Deno.test("options have unique flags and file keys", () => {
  const flags = [...OPTIONS.map((option) => option.flag), ...PRINT_FLAGS.keys()];
  assertEquals(new Set(flags).size, flags.length);
  const spellings = OPTIONS.map((option) => option.flag.replaceAll("-", ""));
  assertEquals(new Set(spellings).size, spellings.length);
});

for (const option of OPTIONS) {
  Deno.test(`option --${option.flag} has a help text and a default that its parser accepts`, () => {
    assertMatch(option.help, /^[A-Z].{4,80}[^.]$/);
    if (option.required) return;
    assert(option.fallback !== undefined);
    const written = option.fallbackText === "" || option.key === "templates"
      ? option.fallback
      : option.fallbackText;
    const asWritten = written instanceof Map ? Object.fromEntries(written) : written;
    assertEquals(option.parse(asWritten), { ok: true, value: option.fallback });
  });
}

Deno.test("deno.json allows only the variables of the options, the API key, proxies and the cluster", () => {
  const cluster = ["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"];
  const others = ["AGENT_API_KEY", ...cluster, ...PROXY_VARIABLES];
  const { allow } = denoJson.permissions.default.env;
  assertEquals(allow.toSorted(), [...OPTIONS.map((option) => option.variable), ...others].sort());
});
