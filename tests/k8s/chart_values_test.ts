/**
 * Values that the Helm chart refuses, by its schema or in words of its own, and some that it takes.
 * @module
 */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { OPTIONS } from "../../lib/cli/options.ts";
import { HELM, helm } from "../support/rendering.ts";

const REQUIRED = { agentId: "k8s-prod-us-east-1", controlPlaneUrl: "wss://control.example.com" };

for (
  const [what, values, words] of [
    ["without an agent's id", { agentId: "" }, "Set agentId to the agent's id, such as k8s-prod-us-east-1"],
    [
      "without an address",
      { controlPlaneUrl: "" },
      "Set controlPlaneUrl to the Control Plane's address, such as wss://control.example.com",
    ],
    ["with an address that is none", { controlPlaneUrl: "control.example.com" }, "/controlPlaneUrl"],
    ["with a setting that the agent has not", { settings: { MAX_SESSION: 1 } }, "MAX_SESSION"],
    ["with a setting of another kind", { settings: { MAX_SESSIONS: [1] } }, "/settings/MAX_SESSIONS"],
    ["with a value that it has not", { replica: 3 }, "replica"],
    ["with an API key in place of its Secret's name", { apiKey: { value: "k" } }, "value"],
    [
      "with a key's Secret that templates could read",
      { apiKey: { existingSecret: "streamspace-key" } },
      "/apiKey/existingSecret",
    ],
    ["with probes that the agent has not", { probes: "tcp" }, "/probes"],
    ["with a PriorityClass that has no name", { priorityClass: { create: true } }, "Set priorityClass.name"],
    [
      "with probes where nothing answers",
      { probes: "http", settings: { HEALTH_ADDR: "off" } },
      "Leave settings.HEALTH_ADDR at :8080, which probes: http needs",
    ],
    [
      "with a monitor of another port",
      { monitoring: { enabled: true }, settings: { HEALTH_ADDR: ":9090" } },
      "Leave settings.HEALTH_ADDR at :8080, which monitoring.enabled needs",
    ],
    ...["35s", "60", 60, "1m", "1h"].map((time) =>
      [
        `with a DRAIN_TIMEOUT of ${JSON.stringify(time)}, and a kill before it is over`,
        { settings: { DRAIN_TIMEOUT: time } },
        `Set terminationGracePeriodSeconds to more than settings.DRAIN_TIMEOUT, which is ${time}`,
      ] as const
    ),
    [
      "with a kill before the default DRAIN_TIMEOUT is over",
      { terminationGracePeriodSeconds: fallbackSeconds("DRAIN_TIMEOUT") },
      "Set terminationGracePeriodSeconds to more than settings.DRAIN_TIMEOUT",
    ],
    [
      "with a variable that it sets itself",
      { env: [{ name: "LEADER_ELECTION", value: "false" }] },
      "/env/0/name",
    ],
  ] as const
) {
  chartTest(`chart is refused ${what}`, async () => {
    const { code, stderr } = await helm(["template", "agent"], { values: { ...REQUIRED, ...values } });
    assertEquals(code, 1);
    assertStringIncludes(stderr, words);
  });
}

for (
  const [what, values] of [
    ["an address of all that is written out as the default", {
      probes: "http",
      settings: { HEALTH_ADDR: ":8080" },
    }],
    ["no address where nobody asks", { settings: { HEALTH_ADDR: "off" } }],
    ["an empty time and address, which stand for the defaults", {
      probes: "http",
      settings: { HEALTH_ADDR: "", DRAIN_TIMEOUT: "" },
    }],
    ["a DRAIN_TIMEOUT that is over before the kill", { settings: { DRAIN_TIMEOUT: "34s" } }],
    ["no DRAIN_TIMEOUT at all", { terminationGracePeriodSeconds: 1, settings: { DRAIN_TIMEOUT: 0 } }],
  ] as const
) {
  chartTest(`chart takes ${what}`, async () => {
    const { code, stderr } = await helm(["template", "agent"], { values: { ...REQUIRED, ...values } });
    assertEquals(code, 0, stderr);
  });
}

function chartTest(name: string, fn: () => Promise<void>): void {
  Deno.test({ name: `${name}${HELM.hint}`, ignore: HELM.isMissing, fn });
}

function fallbackSeconds(variable: string): number {
  return Number(OPTIONS.find((option) => option.variable === variable)?.fallback) / 1000;
}
