/**
 * The doctor's report on a Control Plane and a cluster of a test, as lines.
 * @module
 */
import type { ControlPlane } from "../../dev/control_plane/control_plane.ts";
import { loadConfig } from "../../lib/cli/config.ts";
import { diagnose } from "../../lib/doctor/doctor.ts";
import type { CheckName } from "../../lib/doctor/finding.ts";
import { formatReport } from "../../lib/doctor/report.ts";
import type { TestCluster } from "./clusters.ts";

/** Id of the agent whose settings are looked at. */
export const PATIENT = "k8s-patient";

/** What a test sets. */
export interface Patient {
  readonly cluster: Pick<TestCluster, "kubeconfig" | "namespace">;
  readonly controlPlaneUrl: string;
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** A report; its lines are those of the text. */
export class Diagnosis {
  readonly lines: readonly string[];
  readonly #checks: ReadonlyArray<{ readonly check: CheckName; readonly line: string }>;

  private constructor(lines: readonly string[], checks: readonly CheckName[]) {
    this.lines = lines;
    this.#checks = checks.map((check, i) => ({ check, line: lines[i] ?? "" }));
  }

  /** Lets the doctor look. */
  static async of({ cluster, controlPlaneUrl, args = [], env = {} }: Patient): Promise<Diagnosis> {
    const invocation = loadConfig({
      args: [
        "doctor",
        `--agent-id=${PATIENT}`,
        `--control-plane-url=${controlPlaneUrl}`,
        `--kubeconfig=${cluster.kubeconfig}`,
        `--namespace=${cluster.namespace}`,
        ...args,
      ],
      env: (name) => env[name],
      readFile: (path) => Deno.readTextFileSync(path),
    });
    if (invocation.kind !== "doctor") throw new Error(`This is no doctor: ${invocation.kind}`);
    const findings = await diagnose(invocation.config);
    const json = JSON.parse(formatReport(findings, "json")) as { checks: Array<{ check: CheckName }> };
    return new Diagnosis(formatReport(findings, "text").split("\n"), json.checks.map(({ check }) => check));
  }

  /** The lines of some checks. */
  readonly about = (...checks: readonly CheckName[]): string[] =>
    this.#checks.filter(({ check }) => checks.includes(check)).map(({ line }) => line);

  /** The lines of all that failed. */
  get failures(): string[] {
    return this.lines.filter((line) => line.startsWith("FAIL"));
  }
}

/** Makes an agent known to a Control Plane, and leaves it without a connection. */
export async function makeKnown(
  controlPlane: ControlPlane,
  { key, namespace }: { key?: string; namespace?: string } = {},
): Promise<void> {
  const response = await fetch(`${controlPlane.url}/api/v1/agents/register`, {
    method: "POST",
    headers: { "content-type": "application/json", ...(key ? { "x-agent-api-key": key } : {}) },
    body: JSON.stringify({ agentId: PATIENT, platform: "kubernetes", metadata: { namespace } }),
  });
  await response.body?.cancel();
  if (!response.ok) throw new Error(`The Control Plane does not register: ${response.status}`);
}
