/**
 * What an agent tells of its health over HTTP, for tests.
 * @module
 */
import type { AgentProcess } from "../../dev/agent_process.ts";
import type { Report } from "../../lib/telemetry/health_report.ts";

/** Flags of an agent that has probes, on a port of its own. */
export const HEALTH_ARGS = ["--health-addr=127.0.0.1:0"];

/** Metrics as they were at one moment, by their name and labels, such as `k8s_agent_sessions{state="running"}`. */
export type Scrape = ReadonlyMap<string, number>;

/** Where an agent that was started with {@linkcode HEALTH_ARGS} answers. */
export async function healthUrl(agent: AgentProcess): Promise<string> {
  const line = await agent.line(/Health and metrics at/);
  return line.slice(line.indexOf("http://"));
}

/** Asks for a probe. */
export async function probe(
  agent: AgentProcess,
  path: "/healthz" | "/readyz",
): Promise<{ status: number; report: { status: string; checks: Report["checks"] } }> {
  const response = await fetch(`${await healthUrl(agent)}${path}`);
  return { status: response.status, report: await response.json() };
}

/** The readiness checks that fail, as `name: reason`. */
export async function unready(agent: AgentProcess): Promise<string[]> {
  const { report } = await probe(agent, "/readyz");
  return Object.entries(report.checks).filter(([, { ok }]) => !ok).map(([name, { reason }]) =>
    `${name}: ${reason}`
  );
}

/** Reads all metrics. */
export async function scrape(agent: AgentProcess): Promise<Scrape> {
  const response = await fetch(`${await healthUrl(agent)}/metrics`);
  return parseExposition(await response.text());
}

/** Reads Prometheus' text format. */
export function parseExposition(text: string): Scrape {
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(lines.map((line) => {
    const space = line.lastIndexOf(" ");
    return [line.slice(0, space), Number(line.slice(space + 1))];
  }));
}

/** What counters grew by, and gauges changed by, without what stayed the same. */
export function changes(before: Scrape, after: Scrape): Record<string, number> {
  const grown = [...after].map(([name, value]) => [name, value - (before.get(name) ?? 0)] as const);
  return Object.fromEntries(grown.filter(([, change]) => change !== 0));
}
