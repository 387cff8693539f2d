import { assertEquals } from "@std/assert";
import { COMMAND_FAILURES } from "../../lib/common/errors.ts";
import { CAUSES } from "../../lib/status/causes.ts";
import { WATCHED_RESOURCES } from "../../lib/kubernetes/session_watch.ts";
import { ACTIONS } from "../../lib/model/requests.ts";
import { Telemetry } from "../../lib/telemetry/telemetry.ts";
import { parseExposition, type Scrape } from "../support/scrape.ts";

const SETTINGS = { agentId: "a1", leaderElection: true, maxSessions: 10, maxCpu: 10, maxMemory: 10 };

async function scrapeOf(telemetry: Telemetry): Promise<Scrape> {
  return parseExposition(await telemetry.scrape());
}

const ALL_ACTIONS = [...ACTIONS, "unknown"];
const ZEROS = {
  commands_received_total: ALL_ACTIONS.map((action) => `action="${action}"`),
  commands_total: ALL_ACTIONS.flatMap((action) =>
    ["complete", "failed", "handed_over"].map((outcome) => `action="${action}",outcome="${outcome}"`)
  ),
  command_failures_total: ALL_ACTIONS.flatMap((action) =>
    [...Object.keys(CAUSES), ...COMMAND_FAILURES, "internal"].map((reason) =>
      `action="${action}",reason="${reason}"`
    )
  ),
  messages_ignored_total: ["malformed", "unknown", "binary"].map((reason) => `reason="${reason}"`),
  watch_restarts_total: WATCHED_RESOURCES.flatMap((resource) =>
    ["failed", "expired"].map((reason) => `resource="${resource}",reason="${reason}"`)
  ),
};

for (const [name, labels] of Object.entries(ZEROS)) {
  Deno.test(`Telemetry exports each series of ${name} at zero from the first scrape on`, async () => {
    const all = [...await scrapeOf(new Telemetry(SETTINGS))];
    assertEquals(
      all.filter(([series]) => series.startsWith(`k8s_agent_${name}{`)),
      labels.map((one) => [`k8s_agent_${name}{${one}}`, 0]),
    );
  });
}

Deno.test("Telemetry exports the lag of heartbeats while the link is up", async () => {
  const telemetry = new Telemetry(SETTINGS);
  const lag = async () => (await scrapeOf(telemetry)).get("k8s_agent_heartbeat_lag_seconds");
  telemetry.link("up");
  telemetry.beat(7000);
  assertEquals(await lag(), 7);
  telemetry.link("waiting");
  assertEquals(await lag(), 0);
});

Deno.test("Telemetry counts ignored messages by reason", async () => {
  const telemetry = new Telemetry(SETTINGS);
  for (const reason of ["malformed", "unknown", "malformed"] as const) telemetry.ignored(reason);
  const counts = await scrapeOf(telemetry);
  assertEquals(
    ["malformed", "unknown", "binary"].map((reason) =>
      counts.get(`k8s_agent_messages_ignored_total{reason="${reason}"}`)
    ),
    [2, 1, 0],
  );
});
