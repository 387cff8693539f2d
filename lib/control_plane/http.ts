/**
 * HTTP requests to the Control Plane: sends one with the agent's key, reads a JSON response of limited size, and describes rejections in a way
 * that names the setting to check. Keys never appear in a description.
 * @module
 */
import denoJson from "../../deno.json" with { type: "json" };
import { parseRecord } from "../common/json.ts";
import type { ConnectionCredentials } from "./credentials.ts";

/** Header that carries the agent's API key. */
export const API_KEY_HEADER = "X-Agent-API-Key";

/** Responses are a few hundred bytes; a longer one is not from a Control Plane. */
const MAX_BODY_LENGTH = 64 * 1024;
/** Longest part of a message from the Control Plane that is logged, in characters. */
const MAX_MESSAGE_LENGTH = 500;

/** Statuses of servers that miss only the upgrade in a request for a WebSocket: RFC 9110, and Go's usual WebSocket libraries. */
export const UPGRADE_REQUIRED_STATUSES: readonly number[] = [400, 426];

/** Reason and advice for the statuses that only an operator can resolve. */
const ADVICE: ReadonlyMap<number, string> = new Map([
  [400, "the request is not accepted, check --agent-id, --platform and --region"],
  [401, "the API key is not accepted, check AGENT_API_KEY or --api-key-file"],
  [403, "the agent is not allowed, check --agent-id and its API key"],
  [404, "the address or the agent is unknown, check --control-plane-url and --agent-id"],
]);

/** Options of {@linkcode sendRequest}. */
export interface RequestOptions {
  readonly credentials: Pick<ConnectionCredentials, "apiKey" | "client">;
  readonly signal: AbortSignal;
  /** Sent as JSON by POST; without it the request is a GET. */
  readonly body?: unknown;
}

/** A response of the Control Plane. */
export interface JsonResponse {
  readonly status: number;
  readonly headers: Headers;
  /** `undefined` if the body is not a JSON object or too long. */
  readonly body: Readonly<Record<string, unknown>> | undefined;
  /** Whether the request was not encrypted. @default {false} */
  readonly isUnencrypted?: boolean;
}

/**
 * Sends a request without retries.
 *
 * @throws {TypeError} if there is no response, or the signal's reason
 */
export async function sendRequest(
  url: string,
  { credentials: { apiKey, client }, signal, body }: RequestOptions,
): Promise<JsonResponse> {
  const response = await fetch(url, {
    ...(body === undefined ? {} : { method: "POST", body: JSON.stringify(body) }),
    headers: {
      "User-Agent": `k8s-agent/${denoJson.version}`,
      ...(body === undefined ? {} : { "Content-Type": "application/json" }),
      ...(apiKey ? { [API_KEY_HEADER]: apiKey.reveal() } : {}),
    },
    ...(client ? { client } : {}),
    // Following a redirect would send the key to a host that the operator did not configure.
    redirect: "manual",
    signal,
  });
  const { status, headers } = response;
  // Servers close the connection after a rejection, perhaps before its body has arrived.
  const json = await readBody(response).catch((error) => {
    if (response.ok || signal.aborted) throw error;
    return undefined;
  });
  return { status, headers, body: json, isUnencrypted: url.startsWith("http:") };
}

async function readBody(response: Response): Promise<JsonResponse["body"]> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length > MAX_BODY_LENGTH) return undefined;
  }
  return parseRecord(text);
}

/**
 * Describes a response that is not a success, such as `HTTP 429 (message: slow down)`.
 *
 * @param keys redacted from everything that the Control Plane sent
 */
export function describeRejection(
  { status, headers, body, isUnencrypted }: JsonResponse,
  keys: readonly unknown[],
): string {
  // TLS servers answer an unencrypted request with this status and a text, a Control Plane with JSON.
  if (status === 400 && isUnencrypted && !body) {
    return "HTTP 400: the server expects TLS, use wss:// in --control-plane-url";
  }
  const location = status >= 300 && status < 400 ? headers.get("Location") : null;
  const advice = location
    ? `redirected to ${
      redactKeys(location.replace(/[?#].*$/, ""), keys)
    }, set --control-plane-url to the new address`
    : ADVICE.get(status);
  const message = serverMessage(body, keys);
  return `HTTP ${status}${advice ? `: ${advice}` : ""}${message ? ` (message: ${message})` : ""}`;
}

/** The message and error of a response, without keys, 500 characters at most. */
export function serverMessage(body: JsonResponse["body"], keys: readonly unknown[]): string {
  const parts = [body?.message, body?.error, body?.details].filter((part) =>
    typeof part === "string" && part !== ""
  );
  return redactKeys(parts.join(": "), keys).slice(0, MAX_MESSAGE_LENGTH);
}

/** Removes keys from a text: a Control Plane may repeat the key it received or the one it issued. */
export function redactKeys(text: string, keys: readonly unknown[]): string {
  return keys.filter((key) => typeof key === "string" && key !== "").reduce<string>(
    (redacted, key) => redacted.replaceAll(String(key), "[redacted]"),
    text,
  );
}
