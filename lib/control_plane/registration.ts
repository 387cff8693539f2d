/**
 * Registration with the Control Plane over HTTP: one request, and every answer told apart.
 * @module
 */
import { isTimeout, messageOf, RegistrationError } from "../errors.ts";
import { type Answer, readAnswer } from "./answer.ts";
import type { ConnectionCredentials } from "./credentials.ts";
import { asRecord } from "../json.ts";
import { retryAfter } from "../retry.ts";
import { isKey } from "../secret.ts";
import type { Capacity } from "./protocol.ts";

/** What the agent says of itself. */
export interface Registration {
  readonly agentId: string;
  readonly platform: string;
  readonly region: string;
  readonly capacity: Capacity;
  readonly metadata: { readonly namespace: string; readonly kubernetes: true };
}

/** What the Control Plane says to a registration that it did not refuse for good. */
export type RegistrationAnswer =
  | { readonly kind: "registered"; readonly status: string; readonly apiKey: string | undefined }
  /** An administrator has to approve. */
  | { readonly kind: "pending"; readonly message: string; readonly retryAfterMs: number | undefined }
  /** An administrator said no. */
  | { readonly kind: "rejected"; readonly message: string };

/** Header that carries the agent's key. */
export const API_KEY_HEADER = "X-Agent-API-Key";

const TIMEOUT_MS = 15_000;

/** Which setting is wrong, for the refusals that only an operator can mend. */
const REFUSALS: ReadonlyMap<number, string> = new Map([
  [400, "it does not accept what the agent says of itself: check --agent-id, --platform and --region"],
  [401, "it does not accept the API key: check AGENT_API_KEY or --api-key-file"],
  [403, "it does not allow this agent: check --agent-id and its API key"],
  [404, "it does not know the address or the agent: check --control-plane-url and --agent-id"],
]);

/**
 * Registers once.
 *
 * @throws {RegistrationError} when the Control Plane refuses, is overloaded, answers nonsense or does not answer
 */
export async function register(
  registration: Registration,
  options: {
    httpBase: string;
    credentials: Pick<ConnectionCredentials, "apiKey" | "client">;
    signal: AbortSignal;
  },
): Promise<RegistrationAnswer> {
  const url = `${options.httpBase}/api/v1/agents/register`;
  const { response, answer } = await post(url, registration, options);
  const retryAfterMs = retryAfter(response.headers);
  const withoutKeys = (text: string) =>
    hideKeys(text, [options.credentials.apiKey?.reveal(), answer?.apiKey]);
  const said = withoutKeys(words(answer));
  if (response.status === 202) return { kind: "pending", message: said, retryAfterMs };
  if ((response.ok || response.status === 403) && answer?.approvalStatus === "rejected") {
    return { kind: "rejected", message: said };
  }
  if (!response.ok) throw refused(response, { url, said, retryAfterMs, withoutKeys });
  return registered(answer, { url, said, withoutKeys });
}

async function post(
  url: string,
  registration: Registration,
  options: { credentials: Pick<ConnectionCredentials, "apiKey" | "client">; signal: AbortSignal },
): Promise<{ response: Response; answer: Answer }> {
  const headers: Record<string, string> = { "Content-Type": "application/json" };
  const { apiKey, client } = options.credentials;
  if (apiKey) headers[API_KEY_HEADER] = apiKey.reveal();
  try {
    const response = await fetch(url, {
      method: "POST",
      headers,
      body: JSON.stringify(registration),
      ...(client ? { client } : {}),
      // The key goes to the host that the operator named and to no other.
      redirect: "manual",
      signal: AbortSignal.any([options.signal, AbortSignal.timeout(TIMEOUT_MS)]),
    });
    return { response, answer: await readAnswer(response) };
  } catch (error) {
    options.signal.throwIfAborted();
    const reason = isTimeout(error) ? `no answer within ${TIMEOUT_MS / 1000} seconds` : messageOf(error);
    throw new RegistrationError(`The Control Plane did not answer at ${url}: ${reason}`, { cause: error });
  }
}

/** Both shapes of an answer: the agent itself, or the agent beside its approval and key. */
function registered(
  answer: Readonly<Record<string, unknown>> | undefined,
  { url, said, withoutKeys }: { url: string; said: string; withoutKeys: (text: string) => string },
): RegistrationAnswer {
  const agent = asRecord(answer?.agent) ?? answer;
  if (!answer || !agent) {
    throw new RegistrationError(`No Control Plane answers at ${url}: its answer is not JSON`);
  }
  if (answer.approvalStatus === "pending") {
    return { kind: "pending", message: said, retryAfterMs: undefined };
  }
  if (typeof agent.agentId !== "string" && typeof agent.id !== "string") {
    throw new RegistrationError(`No Control Plane answers at ${url}: its answer names no agent`);
  }
  return {
    kind: "registered",
    status: typeof agent.status === "string" ? withoutKeys(agent.status) : "online",
    // What no header can carry is no key: it would make every later request fail.
    apiKey: typeof answer.apiKey === "string" && isKey(answer.apiKey) ? answer.apiKey : undefined,
  };
}

function refused(
  response: Response,
  details: {
    url: string;
    said: string;
    retryAfterMs: number | undefined;
    withoutKeys: (text: string) => string;
  },
): RegistrationError {
  const { url, said, retryAfterMs, withoutKeys } = details;
  const location = response.headers.get("Location");
  const meaning = location && response.status >= 300 && response.status < 400
    ? `it redirects to ${
      withoutKeys(location.replace(/[?#].*$/, ""))
    }: set --control-plane-url to where it is`
    : REFUSALS.get(response.status);
  return new RegistrationError(
    `The Control Plane at ${url} answered ${response.status}${meaning ? `: ${meaning}` : ""}${
      said ? ` (it says: ${said})` : ""
    }`,
    { status: response.status, retryAfterMs },
  );
}

/** The Control Plane's own words. */
function words(answer: Readonly<Record<string, unknown>> | undefined): string {
  return [answer?.message, answer?.error, answer?.details].filter((part) =>
    typeof part === "string" && part !== ""
  ).join(": ");
}

/** A Control Plane may repeat the key that it got, or the one that it gives. */
function hideKeys(text: string, keys: readonly unknown[]): string {
  return keys.filter((key) => typeof key === "string" && key !== "").reduce<string>(
    (shown, key) => shown.replaceAll(String(key), "[redacted]"),
    text,
  );
}
