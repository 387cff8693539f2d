/**
 * What a running agent tells of the doctor's findings: a line for each thing that is missing, and nothing where all is well.
 * @module
 */
import { abortable, delay } from "@std/async";
import type { Transport } from "../kubernetes/transport.ts";
import { log } from "../common/log.ts";
import type { Config } from "../cli/options.ts";
import { ClusterView } from "./cluster_view.ts";
import { checkAtStart } from "./kubernetes_checks.ts";
import { sentence } from "./report.ts";

/** By then the agent has registered, if it can: the checks' requests come after those that it works by, in milliseconds. */
const LATER_MS = 2000;

/** Makes the cheap checks once, in the background; ends early when the signal is aborted. */
export async function checkLater(transport: Transport, config: Config, signal: AbortSignal): Promise<void> {
  const view = new ClusterView(transport, config.namespace);
  const findings = await delay(LATER_MS, { signal })
    .then(() => abortable(checkAtStart(view, config), signal))
    // Told to stop: nobody waits for it any more.
    .catch(() => []);
  for (const finding of findings.filter(({ status }) => status === "fail")) {
    log.warn("{finding} (k8s-agent doctor tells more)", { finding: sentence(finding) });
  }
}
