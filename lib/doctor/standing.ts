/**
 * How a Control Plane stands to an agent and its key, by how it answers at the link's address without an upgrade. Pure.
 * @module
 */
import type { ConnectionCredentials } from "../control_plane/credentials.ts";
import { UPGRADE_MISSING } from "../control_plane/refusal.ts";
import { type Finding, Findings } from "./finding.ts";

/** How the Control Plane stands to the agent and its key. */
export type Standing =
  | { readonly kind: "accepted" }
  | { readonly kind: "key-refused"; readonly status: number }
  /** It never registered. */
  | { readonly kind: "unknown-agent" }
  | { readonly kind: "elsewhere"; readonly location: string }
  /** It cannot say now. */
  | { readonly kind: "trouble"; readonly status: number }
  | { readonly kind: "strange"; readonly status: number };

const KEY_SETTING = "AGENT_API_KEY or --api-key-file (API_KEY_FILE)";
const URL_SETTING = "--control-plane-url (CONTROL_PLANE_URL)";

/** Judges an answer; `error` is that of its JSON, if there is one. */
export function standingOf(answer: { status: number; location: string; error: unknown }): Standing {
  const { status, location, error } = answer;
  if (location && status >= 300 && status < 400) {
    return { kind: "elsewhere", location: location.replace(/[?#].*$/, "") };
  }
  if (UPGRADE_MISSING.includes(status)) return { kind: "accepted" };
  if (status === 401 || status === 403) return { kind: "key-refused", status };
  if (status === 429 || status >= 500) return { kind: "trouble", status };
  const isAboutAgent = typeof error === "string" && /\bagent\b/i.test(error);
  return status === 404 && isAboutAgent ? { kind: "unknown-agent" } : { kind: "strange", status };
}

/** The finding of `control-plane-key`. */
export function describeStanding(
  standing: Standing,
  { agentId, httpBase, key }: {
    agentId: string;
    httpBase: string;
    key: Pick<ConnectionCredentials, "apiKey" | "isIssued">;
  },
): Finding {
  const findings = new Findings("control-plane-key");
  const whose = !key.apiKey ? "without a key" : key.isIssued ? "and the key that it issued" : "and its key";
  switch (standing.kind) {
    case "accepted":
      return findings.ok(`The Control Plane accepts agent ${agentId} ${whose}`);
    case "key-refused":
      return findings.fail(
        `The Control Plane does not accept agent ${agentId} ${whose} (status ${standing.status})`,
        key.apiKey ? `check ${KEY_SETTING}, and --agent-id (AGENT_ID)` : `set ${KEY_SETTING}`,
      );
    case "unknown-agent":
      return findings.skip(
        "Whether the Control Plane accepts the agent's key is not known",
        "it does not know this agent: its first start registers it, and tells",
      );
    case "elsewhere":
      return findings.fail(
        `The Control Plane redirects to ${standing.location}`,
        `set ${URL_SETTING} to where it is`,
      );
    case "trouble":
      return findings.fail(
        `The Control Plane at ${httpBase} is in trouble: it answers with status ${standing.status}`,
        "try again in a minute, then look at its log and at what stands between",
      );
    case "strange":
      return findings.fail(
        `No Control Plane answers at ${httpBase}: the link's address has status ${standing.status}`,
        `check ${URL_SETTING}, its path included, and what stands between`,
      );
  }
}
