/**
 * Runs the doctor in the test's own process and gives its report as lines.
 * @module
 */
import type { ControlPlane } from "../../dev/control_plane/control_plane.ts";
import { loadConfig } from "../../lib/cli/config.ts";
import { diagnose } from "../../lib/doctor/doctor.ts";
import { CHECK_TIMEOUT_MS, type CheckName, formatReport } from "../../lib/doctor/report.ts";
import { temporaryFile, type TestCluster } from "./clusters.ts";

/** Id of the agent in the settings that are checked. */
export const AGENT_ID = "k8s-checked";

/** What a test sets. */
export interface DiagnosisOptions {
  readonly cluster: Pick<TestCluster, "kubeconfig" | "namespace">;
  readonly controlPlaneUrl: string;
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Timeout of each check. @default that of the program */
  readonly timeoutMs?: number;
}

/** A report; `lines` are those of the text format. */
export class Diagnosis {
  readonly lines: readonly string[];
  readonly #checks: ReadonlyArray<{ readonly check: CheckName; readonly line: string }>;

  private constructor(lines: readonly string[], checks: readonly CheckName[]) {
    this.lines = lines;
    this.#checks = checks.map((check, i) => ({ check, line: lines[i] ?? "" }));
  }

  /** Runs all checks. */
  static async run(
    { cluster, controlPlaneUrl, args = [], env = {}, timeoutMs = CHECK_TIMEOUT_MS }: DiagnosisOptions,
  ): Promise<Diagnosis> {
    const invocation = loadConfig({
      args: [
        "doctor",
        `--agent-id=${AGENT_ID}`,
        `--control-plane-url=${controlPlaneUrl}`,
        `--kubeconfig=${cluster.kubeconfig}`,
        `--namespace=${cluster.namespace}`,
        ...args,
      ],
      env: (name) => env[name],
      readFile: (path) => Deno.readTextFileSync(path),
    });
    if (invocation.kind !== "doctor") throw new Error(`Cannot run the doctor: command is ${invocation.kind}`);
    const findings = await diagnose(invocation.config, { timeoutMs });
    const json = JSON.parse(formatReport(findings, "json")) as { checks: Array<{ check: CheckName }> };
    return new Diagnosis(formatReport(findings, "text").split("\n"), json.checks.map(({ check }) => check));
  }

  /** The lines of some checks. */
  readonly about = (...checks: readonly CheckName[]): string[] =>
    this.#checks.filter(({ check }) => checks.includes(check)).map(({ line }) => line);

  /** The lines of all failed checks. */
  get failures(): string[] {
    return this.lines.filter((line) => line.startsWith("FAIL"));
  }
}

/** Registers the agent with a Control Plane without connecting it. */
export async function registerAgent(
  controlPlane: ControlPlane,
  { key, namespace }: { key?: string; namespace?: string } = {},
): Promise<void> {
  const response = await fetch(`${controlPlane.url}/api/v1/agents/register`, {
    method: "POST",
    headers: { "content-type": "application/json", ...(key ? { "x-agent-api-key": key } : {}) },
    body: JSON.stringify({ agentId: AGENT_ID, platform: "kubernetes", metadata: { namespace } }),
  });
  await response.body?.cancel();
  if (!response.ok) throw new Error(`Cannot register the agent: status ${response.status}`);
}

/** Writes a kubeconfig for a server, with a token if there is one; dispose it to delete the file. */
export async function kubeconfigFor(
  { server, token, authority = {} }: {
    server: string;
    token?: string;
    authority?: Readonly<Record<string, string | undefined>>;
  },
): Promise<AsyncDisposable & { path: string }> {
  const path = await temporaryFile(JSON.stringify({
    clusters: [{ name: "one", cluster: { server, ...authority } }],
    users: [{ name: "one", user: token === undefined ? {} : { token } }],
    contexts: [{ name: "one", context: { cluster: "one", user: "one" } }],
    "current-context": "one",
  }));
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path) };
}
