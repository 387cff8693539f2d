/**
 * Registration with the Control Plane over HTTP: one request, with each response mapped to registered, pending, rejected or an error.
 * @module
 */
import { parseRetryAfter } from "../common/backoff.ts";
import { plainReason } from "../common/connection_problem.ts";
import { isTimeout, messageOf, RegistrationError } from "../common/errors.ts";
import { asRecord } from "../common/json.ts";
import { isKey } from "../common/secret.ts";
import type { ConnectionCredentials, Credentials } from "./credentials.ts";
import { describeRejection, type JsonResponse, redactKeys, sendRequest, serverMessage } from "./http.ts";
import type { Capacity } from "./protocol.ts";

/** The agent's description of itself. */
export interface Registration {
  readonly agentId: string;
  readonly platform: string;
  readonly region: string;
  readonly capacity: Capacity;
  /** What this agent supports beside the protocol of the first version. */
  readonly features: readonly string[];
  readonly metadata: {
    readonly namespace: string;
    readonly kubernetes: true;
    /** Names of the built-in templates and those of the setting `templates`; the cluster may have more. */
    readonly templates: readonly string[];
  };
}

/** The Control Plane's decision on a registration. */
export type RegistrationResponse =
  | {
    readonly kind: "registered";
    readonly status: string;
    readonly apiKey: string | undefined;
    /** What the Control Plane supports beside the protocol of the first version. */
    readonly features: readonly string[];
  }
  /** An administrator has to approve the agent. */
  | { readonly kind: "pending"; readonly message: string; readonly retryAfterMs: number | undefined }
  /** An administrator rejected the agent. */
  | { readonly kind: "rejected"; readonly message: string };

/** Options of {@linkcode register}. */
export interface RegisterOptions {
  readonly httpBase: string;
  readonly credentials: Pick<ConnectionCredentials, "apiKey" | "client">;
  readonly signal: AbortSignal;
}

/** Timeout of the request, in milliseconds. */
const TIMEOUT_MS = 15_000;

/**
 * Registers with the issued key or else the configured one, and stores a key that the Control Plane issues.
 *
 * @throws {RegistrationError} see {@linkcode register}
 * @throws {LinkError} if a credential file cannot be used
 */
export async function registerWithKeys(
  registration: Registration,
  options: { httpBase: string; credentials: Credentials; signal: AbortSignal },
): Promise<RegistrationResponse> {
  const { httpBase, credentials, signal } = options;
  await credentials.restore(signal);
  const response = await credentials.tryKeys({
    attempt: (connection) => register(registration, { httpBase, credentials: connection, signal }),
    isAccepted: ({ kind }) => kind === "registered",
  });
  if (response.kind === "registered" && response.apiKey) await credentials.issue(response.apiKey);
  return response;
}

/**
 * Sends one registration.
 *
 * @throws {RegistrationError} if the Control Plane rejects the request, is overloaded, sends an invalid response or none
 */
export async function register(
  registration: Registration,
  options: RegisterOptions,
): Promise<RegistrationResponse> {
  const url = `${options.httpBase}/api/v1/agents/register`;
  const problem = `Cannot register with the Control Plane at ${url}`;
  const response = await post(url, registration, options).catch((error) => {
    options.signal.throwIfAborted();
    const reason = isTimeout(error)
      ? `no response within ${TIMEOUT_MS / 1000} seconds`
      : plainReason(messageOf(error));
    throw new RegistrationError(`${problem}: ${reason}`, { cause: error });
  });
  const { status, headers, body } = response;
  const retryAfterMs = parseRetryAfter(headers);
  const keys = [options.credentials.apiKey?.reveal(), body?.apiKey];
  const message = serverMessage(body, keys);
  const isSuccess = status >= 200 && status < 300;
  if (status === 202) return { kind: "pending", message, retryAfterMs };
  if ((isSuccess || status === 403) && body?.approvalStatus === "rejected") {
    return { kind: "rejected", message };
  }
  if (!isSuccess) {
    throw new RegistrationError(`${problem}: ${describeRejection(response, keys)}`, { status, retryAfterMs });
  }
  if (body?.approvalStatus === "pending") return { kind: "pending", message, retryAfterMs: undefined };
  const accepted = parseAccepted(body, keys);
  if (typeof accepted === "string") {
    throw new RegistrationError(`${problem}: ${accepted}, check --control-plane-url`);
  }
  return accepted;
}

function post(url: string, registration: Registration, options: RegisterOptions): Promise<JsonResponse> {
  const { credentials, signal } = options;
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  return sendRequest(url, { credentials, signal: AbortSignal.any([signal, timeout]), body: registration });
}

/** Reads both forms of a success: the agent itself, or the agent next to its approval and key. Returns the problem if it is neither. */
function parseAccepted(body: JsonResponse["body"], keys: readonly unknown[]): RegistrationResponse | string {
  const agent = asRecord(body?.agent) ?? body;
  if (!body || !agent) return "the response is not JSON";
  if (typeof agent.agentId !== "string" && typeof agent.id !== "string") {
    return "the response does not name an agent";
  }
  return {
    kind: "registered",
    status: typeof agent.status === "string" ? redactKeys(agent.status, keys) : "online",
    features: Array.isArray(body.features) ? body.features.map(String) : [],
    // A key that does not fit into an HTTP header would make every later request fail.
    apiKey: typeof body.apiKey === "string" && isKey(body.apiKey) ? body.apiKey : undefined,
  };
}
