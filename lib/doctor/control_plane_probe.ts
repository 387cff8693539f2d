/**
 * Read-only requests to the Control Plane: does it accept this agent and its key, and does it know a connected agent of this id? The probe
 * requests the WebSocket endpoint without an upgrade, so that the Control Plane checks the agent and the key, registers nothing, and
 * disconnects nobody.
 * @module
 */
import { asRecord } from "../common/json.ts";
import { linkPath } from "../control_plane/addresses.ts";
import { type JsonResponse, sendRequest, UPGRADE_REQUIRED_STATUSES } from "../control_plane/http.ts";
import type { ConnectionCredentials } from "../control_plane/credentials.ts";
import type { DatedResponse } from "./connection.ts";
import { type Finding, Findings } from "./report.ts";

/** Whether the Control Plane accepts the agent and its key. */
export type ProbeResult =
  | { readonly kind: "accepted" }
  | { readonly kind: "key-rejected"; readonly status: number }
  /** The agent has never registered. */
  | { readonly kind: "unknown-agent" }
  | { readonly kind: "redirect"; readonly location: string }
  /** A temporary failure. */
  | { readonly kind: "unavailable"; readonly status: number }
  /** Not the response of a Control Plane. */
  | { readonly kind: "unexpected"; readonly status: number };

/** What the Control Plane knows about the agent. */
export interface AgentRecord {
  readonly isConnected: boolean;
  /** The namespace of the last registration; empty if unknown. */
  readonly namespace: string;
}

/** Which agent to probe, where and with which credentials. */
export interface ProbeOptions {
  readonly httpBase: string;
  readonly agentId: string;
  readonly credentials: Pick<ConnectionCredentials, "apiKey" | "client">;
  readonly signal: AbortSignal;
}

interface ProbeResponse extends JsonResponse {
  readonly clock: DatedResponse;
}

const KEY_SETTING = "AGENT_API_KEY or --api-key-file (API_KEY_FILE)";
const URL_SETTING = "--control-plane-url (CONTROL_PLANE_URL)";
const CHECK_BETWEEN = "any proxy or ingress in front of it";

/**
 * Probes whether the Control Plane accepts the agent and its key.
 *
 * @throws {TypeError} when there is no response
 */
export async function probeAgent(
  options: ProbeOptions,
): Promise<{ result: ProbeResult; clock: DatedResponse }> {
  const { status, headers, body, clock } = await get(linkPath(options.agentId), options);
  const result = classifyResponse({ status, location: headers.get("location") ?? "", error: body?.error });
  return { result, clock };
}

/** Fetches what the Control Plane knows about the agent; `undefined` if agents may not read it. */
export async function fetchAgentRecord(options: ProbeOptions): Promise<AgentRecord | undefined> {
  const { status, body } = await get(`/api/v1/agents/${encodeURIComponent(options.agentId)}`, options);
  const agent = asRecord(body?.agent) ?? body;
  if (status < 200 || status > 299 || agent?.agentId !== options.agentId) return undefined;
  const isConnected = typeof agent.connected === "boolean" ? agent.connected : agent.status !== "offline";
  const namespace = asRecord(agent.metadata)?.namespace;
  return { isConnected, namespace: typeof namespace === "string" ? namespace : "" };
}

/** Classifies the response to a probe; `error` is the field of its JSON body. */
export function classifyResponse(
  response: { status: number; location: string; error: unknown },
): ProbeResult {
  const { status, location, error } = response;
  if (location && status >= 300 && status < 400) {
    // The query may contain a token.
    return { kind: "redirect", location: location.replace(/[?#].*$/, "") };
  }
  if (UPGRADE_REQUIRED_STATUSES.includes(status)) return { kind: "accepted" };
  if (status === 401 || status === 403) return { kind: "key-rejected", status };
  if (status === 429 || status >= 500) return { kind: "unavailable", status };
  const isAboutAgent = typeof error === "string" && /\bagent\b/i.test(error);
  return status === 404 && isAboutAgent ? { kind: "unknown-agent" } : { kind: "unexpected", status };
}

/** The finding of `control-plane-key`. */
export function keyFinding(
  result: ProbeResult,
  { agentId, httpBase, key }: {
    agentId: string;
    httpBase: string;
    key: Pick<ConnectionCredentials, "apiKey" | "isIssued">;
  },
): Finding {
  const findings = new Findings("control-plane-key");
  const agent = describeAgent(agentId, key);
  switch (result.kind) {
    case "accepted":
      return findings.ok(`The Control Plane accepts ${agent}`);
    case "key-rejected":
      return findings.fail(
        `The Control Plane rejects ${agent} (status ${result.status})`,
        key.apiKey ? `check ${KEY_SETTING}, and --agent-id (AGENT_ID)` : `set ${KEY_SETTING}`,
      );
    case "unknown-agent":
      return findings.skip(
        "The agent's key was not checked",
        "the Control Plane does not know this agent yet: the agent registers at its first start",
      );
    case "redirect":
      return findings.fail(
        `The Control Plane redirects to ${result.location}`,
        `set ${URL_SETTING} to its new address`,
      );
    case "unavailable":
      return findings.fail(
        `The Control Plane at ${httpBase} is unavailable: it responds with status ${result.status}`,
        `try again in a minute, then check its log and ${CHECK_BETWEEN}`,
      );
    case "unexpected":
      return findings.fail(
        `No Control Plane found at ${httpBase}: the agents' endpoint responds with status ${result.status}`,
        `check ${URL_SETTING}, including its path, and ${CHECK_BETWEEN}`,
      );
  }
}

function describeAgent(
  agentId: string,
  { apiKey, isIssued }: Pick<ConnectionCredentials, "apiKey" | "isIssued">,
): string {
  if (!apiKey) return `agent ${agentId} without a key`;
  return `agent ${agentId} ${isIssued ? "with the key that it issued" : "with its key"}`;
}

async function get(path: string, { httpBase, credentials, signal }: ProbeOptions): Promise<ProbeResponse> {
  const sentAt = Date.now();
  const response = await sendRequest(`${httpBase}${path}`, { credentials, signal });
  const clock = { sentAt, answeredAt: Date.now(), date: response.headers.get("date") ?? undefined };
  return { ...response, clock };
}
