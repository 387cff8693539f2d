/**
 * Registration with the Control Plane over HTTP: one request, and every answer told apart.
 * @module
 */
import { isTimeout, messageOf, RegistrationError } from "../common/errors.ts";
import type { Answer } from "./answer.ts";
import { ask } from "./ask.ts";
import type { ConnectionCredentials } from "./credentials.ts";
import { asRecord } from "../common/json.ts";
import { parseRetryAfter } from "../common/backoff.ts";
import { isKey } from "../common/secret.ts";
import type { Capacity } from "./protocol.ts";
import { describeRefusal, hideKeys, ownWords } from "./refusal.ts";

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

const TIMEOUT_MS = 15_000;

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
  const retryAfterMs = parseRetryAfter(response.headers);
  const keys = [options.credentials.apiKey?.reveal(), answer?.apiKey];
  const said = ownWords(answer, keys);
  if (response.status === 202) return { kind: "pending", message: said, retryAfterMs };
  if ((response.ok || response.status === 403) && answer?.approvalStatus === "rejected") {
    return { kind: "rejected", message: said };
  }
  if (!response.ok) {
    throw new RegistrationError(
      `The Control Plane at ${url} ${describeRefusal(response, { answer, keys })}`,
      { status: response.status, retryAfterMs },
    );
  }
  return registered(answer, { url, said, keys });
}

async function post(
  url: string,
  registration: Registration,
  options: { credentials: Pick<ConnectionCredentials, "apiKey" | "client">; signal: AbortSignal },
): Promise<{ response: Response; answer: Answer }> {
  const { credentials, signal } = options;
  try {
    return await ask(url, {
      credentials,
      signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
      post: registration,
    });
  } catch (error) {
    signal.throwIfAborted();
    const reason = isTimeout(error) ? `no answer within ${TIMEOUT_MS / 1000} seconds` : messageOf(error);
    throw new RegistrationError(`The Control Plane did not answer at ${url}: ${reason}`, { cause: error });
  }
}

/** Both shapes of an answer: the agent itself, or the agent beside its approval and key. */
function registered(
  answer: Answer,
  { url, said, keys }: { url: string; said: string; keys: readonly unknown[] },
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
    status: typeof agent.status === "string" ? hideKeys(agent.status, keys) : "online",
    // What no header can carry is no key: it would make every later request fail.
    apiKey: typeof answer.apiKey === "string" && isKey(answer.apiKey) ? answer.apiKey : undefined,
  };
}
