/**
 * Values that the Helm chart rejects, by its schema or by its own checks, and some that it accepts.
 * @module
 */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { OPTIONS } from "../../lib/cli/options.ts";
import { HELM, helm } from "../support/rendering.ts";

const REQUIRED = { agentId: "k8s-prod-us-east-1", controlPlaneUrl: "wss://control.example.com" };

for (
  const [what, values, words] of [
    ["without an agent id", { agentId: "" }, "Set agentId to the agent's id, such as k8s-prod-us-east-1"],
    [
      "without a Control Plane URL",
      { controlPlaneUrl: "" },
      "Set controlPlaneUrl to the Control Plane's address, such as wss://control.example.com",
    ],
    ["with an invalid Control Plane URL", { controlPlaneUrl: "control.example.com" }, "/controlPlaneUrl"],
    ["with an unknown setting", { settings: { MAX_SESSION: 1 } }, "MAX_SESSION"],
    ["with a setting of the wrong type", { settings: { MAX_SESSIONS: [1] } }, "/settings/MAX_SESSIONS"],
    ["with an unknown value", { replica: 3 }, "replica"],
    ["with an API key instead of the name of its Secret", { apiKey: { value: "k" } }, "value"],
    [
      "with a Secret that templates can refer to",
      { apiKey: { existingSecret: "streamspace-key" } },
      "/apiKey/existingSecret",
    ],
    ["with unknown probes", { probes: "tcp" }, "/probes"],
    ["with a PriorityClass without a name", { priorityClass: { create: true } }, "Set priorityClass.name"],
    [
      "with HTTP probes but no health server",
      { probes: "http", settings: { HEALTH_ADDR: "off" } },
      "Leave settings.HEALTH_ADDR at :8080, which probes: http requires",
    ],
    [
      "with a PodMonitor for another port",
      { monitoring: { enabled: true }, settings: { HEALTH_ADDR: ":9090" } },
      "Leave settings.HEALTH_ADDR at :8080, which monitoring.enabled requires",
    ],
    ...["35s", "60", 60, "1m", "1h"].map((time) =>
      [
        `with a DRAIN_TIMEOUT of ${JSON.stringify(time)} beyond the grace period`,
        { settings: { DRAIN_TIMEOUT: time } },
        `Set terminationGracePeriodSeconds to more than settings.DRAIN_TIMEOUT, which is ${time}`,
      ] as const
    ),
    [
      "with a grace period below the default DRAIN_TIMEOUT",
      { terminationGracePeriodSeconds: fallbackSeconds("DRAIN_TIMEOUT") },
      "Set terminationGracePeriodSeconds to more than settings.DRAIN_TIMEOUT",
    ],
    [
      "with a variable that the chart sets itself",
      { env: [{ name: "LEADER_ELECTION", value: "false" }] },
      "/env/0/name",
    ],
  ] as const
) {
  chartTest(`chart is rejected ${what}`, async () => {
    const { code, stderr } = await helm(["template", "agent"], { values: { ...REQUIRED, ...values } });
    assertEquals(code, 1);
    assertStringIncludes(stderr, words);
  });
}

for (
  const [what, values] of [
    ["an explicit default address with HTTP probes", {
      probes: "http",
      settings: { HEALTH_ADDR: ":8080" },
    }],
    ["no health server without probes and monitor", { settings: { HEALTH_ADDR: "off" } }],
    ["an empty timeout and address, which stand for the defaults", {
      probes: "http",
      settings: { HEALTH_ADDR: "", DRAIN_TIMEOUT: "" },
    }],
    ["a DRAIN_TIMEOUT within the grace period", { settings: { DRAIN_TIMEOUT: "34s" } }],
    ["a DRAIN_TIMEOUT of 0", { terminationGracePeriodSeconds: 1, settings: { DRAIN_TIMEOUT: 0 } }],
  ] as const
) {
  chartTest(`chart accepts ${what}`, async () => {
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
