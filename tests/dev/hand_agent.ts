/**
 * A scripted agent for the tests of the Control Plane: it registers, opens a WebSocket, and sends the given messages.
 * @module
 */

/** Sends a registration. */
export function register(
  url: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<Response> {
  return fetch(`${url}/api/v1/agents/register`, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
}

/** One connection of an agent. */
export class HandAgent implements AsyncDisposable {
  readonly #socket: WebSocket;
  readonly #frames: string[] = [];
  readonly #readers: ((frame: string) => void)[] = [];
  /** Resolves with the close code when the connection has ended, with 0 if it was never established. */
  readonly closed: Promise<number>;

  constructor(url: string, agentId: string, headers: Record<string, string> = {}) {
    const address = `${url.replace(/^http/, "ws")}/api/v1/agents/connect?agent_id=${
      encodeURIComponent(agentId)
    }`;
    this.#socket = new WebSocket(address, { headers });
    const { promise, resolve } = Promise.withResolvers<number>();
    this.closed = promise;
    this.#socket.onerror = (event) => event.preventDefault();
    this.#socket.onclose = ({ code }) => resolve(code);
    this.#socket.onmessage = ({ data }) => {
      const reader = this.#readers.shift();
      if (reader === undefined) this.#frames.push(data);
      else reader(data);
    };
  }

  /** Registers the agent and connects it; resolves when its connection is open. */
  static async join(url: string, agentId = "a1", headers: Record<string, string> = {}): Promise<HandAgent> {
    const answer = await register(url, { agentId, platform: "kubernetes" }, headers);
    await answer.body?.cancel();
    const agent = new HandAgent(url, agentId, headers);
    const { promise, resolve } = Promise.withResolvers<void>();
    agent.#socket.onopen = () => resolve();
    await Promise.race([
      promise,
      agent.closed.then((code) => Promise.reject(new Error(`Closed with ${code}`))),
    ]);
    return agent;
  }

  /** The next frame that was received. */
  frame(): Promise<string> {
    const frame = this.#frames.shift();
    if (frame !== undefined) return Promise.resolve(frame);
    const { promise, resolve } = Promise.withResolvers<string>();
    this.#readers.push(resolve);
    return promise;
  }

  /** Sends a message with the current time as its timestamp. */
  send(type: string, payload: unknown): void {
    this.sendFrame(JSON.stringify({ type, timestamp: new Date().toISOString(), payload }));
  }

  sendFrame(frame: string | Uint8Array<ArrayBuffer>): void {
    this.#socket.send(frame);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.close();
    await this.closed;
  }
}
