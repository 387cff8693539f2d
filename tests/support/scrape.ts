/**
 * Probes and scrapes of an agent, for tests.
 * @module
 */
import type { HealthReport } from "../../lib/telemetry/health.ts";

/** Flags of an agent that serves probes on a free port. */
export const HEALTH_ARGS = ["--health-addr=127.0.0.1:0"];

/** Values of all metrics at one time, by name and labels, such as `k8s_agent_sessions{state="running"}`. */
export type Scrape = ReadonlyMap<string, number>;

/** An agent in either mode. */
interface LoggingAgent {
  line(pattern: RegExp): Promise<string>;
}

/** URL of the probes of an agent that was started with {@linkcode HEALTH_ARGS}. */
export async function healthUrl(agent: LoggingAgent): Promise<string> {
  const line = await agent.line(/Health and metrics at/);
  return line.slice(line.indexOf("http://"));
}

/** Requests a probe. */
export async function probe(
  agent: LoggingAgent,
  path: "/healthz" | "/readyz",
): Promise<{ status: number; report: { status: string; checks: HealthReport["checks"] } }> {
  const response = await fetch(`${await healthUrl(agent)}${path}`);
  return { status: response.status, report: await response.json() };
}

/** Failing readiness checks, as `name: reason`. */
export async function unready(agent: LoggingAgent): Promise<string[]> {
  const { report } = await probe(agent, "/readyz");
  return Object.entries(report.checks).filter(([, { ok }]) => !ok).map(([name, { reason }]) =>
    `${name}: ${reason}`
  );
}

/** Reads all metrics. */
export async function scrape(agent: LoggingAgent): Promise<Scrape> {
  const response = await fetch(`${await healthUrl(agent)}/metrics`);
  return parseExposition(await response.text());
}

/** Parses the Prometheus text format. */
export function parseExposition(text: string): Scrape {
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(lines.map((line) => {
    const space = line.lastIndexOf(" ");
    return [line.slice(0, space), Number(line.slice(space + 1))];
  }));
}

/** Differences of all values that changed. */
export function changes(before: Scrape, after: Scrape): Record<string, number> {
  const grown = [...after].map(([name, value]) => [name, value - (before.get(name) ?? 0)] as const);
  return Object.fromEntries(grown.filter(([, change]) => change !== 0));
}
