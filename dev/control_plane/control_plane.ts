/**
 * A Control Plane for development and tests: agents register and connect over the real protocol, people send commands with
 * curl, and tests read the received messages and script answers and faults. It keeps everything in memory and checks each
 * message against the protocol.
 * @module
 */
import { delay } from "@std/async";
import type { Hono } from "hono";
import type { OpenedStream } from "../../lib/streams/tunnel_connection.ts";
import { addAgentRoutes, type Registration } from "./agent_api.ts";
import { type Command, encodeCommands, encodeMessage } from "./command_frame.ts";
import { CommandLog } from "./command_log.ts";
import { type OpenDisplay, sessionOfHost } from "./display.ts";
import { DisplayProxy } from "./display_proxy.ts";
import { Feed } from "./feed.ts";
import { type Connection, Links } from "./links.ts";
import { type CommandResult, MessageLog, type Received, type WaitOptions } from "./message_log.ts";
import { type Message, readFrame } from "./messages.ts";
import { addPageRoutes, rejectForeign } from "./page_routes.ts";
import { Registry } from "./registry.ts";
import type { Quirk, Quirks } from "./quirks.ts";
import { createApp } from "./router.ts";
import { Script, type ScriptedAnswer } from "./script.ts";
import { SessionLog } from "./session_log.ts";
import { StateEvents } from "./state_events.ts";
import { StreamResetError } from "../../lib/streams/tunnel_messages.ts";
import { Tunnels } from "./tunnels.ts";
import { addUserRoutes } from "./user_api.ts";

/** Options of {@linkcode ControlPlane.start}. */
export interface ControlPlaneOptions {
  /** 0 chooses a free port. @default {0} */
  port?: number;
  /** @default {"127.0.0.1"} */
  hostname?: string;
  /** Prefix of every path, for example "/streamspace". @default {""} */
  prefix?: string;
  /** Required value of X-Agent-API-Key; without it no key is required. */
  apiKey?: string;
  /** Closes the connection of an agent that sends nothing for this many milliseconds. @default {45000} */
  silenceLimitMs?: number;
  /** Quirks of real Control Planes to imitate. @default {[]} */
  quirks?: Iterable<Quirk>;
  /** Called with one line for each registration, connection, message and problem. */
  onEvent?: (line: string) => void;
}

/** When a command is marked as sent with the quirk `late-sent`, in milliseconds after it was sent. */
const LATE_SENT_MS = 100;
/** A running Control Plane. */
export class ControlPlane implements AsyncDisposable {
  readonly #registrations: Registration[] = [];
  readonly #connections = new Feed<Connection>();
  readonly #messages = new MessageLog();
  readonly #problems: string[] = [];
  readonly #registry = new Registry();
  readonly #commands = new CommandLog();
  readonly #sessions = new SessionLog();
  readonly #events = new StateEvents(() => this.#state());
  readonly #openDisplay: OpenDisplay = (sessionId, signal) => this.#open(sessionId, signal);
  readonly #displays = new DisplayProxy(this.#openDisplay);
  readonly #registrationScript = new Script<ScriptedAnswer>();
  readonly #connectScript = new Script<ScriptedAnswer | "hang">();
  readonly #closing = new AbortController();
  readonly #quirks: Quirks;
  readonly #log: (line: string) => void;
  readonly #links: Links;
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  /** The tunnels of the agents. */
  readonly tunnels: Tunnels;

  /** The address for agents, including the prefix: `http://127.0.0.1:PORT`. */
  readonly url: string;

  /** Starts listening. Throws `Deno.errors.AddrInUse` when the port is in use. */
  static start(options: ControlPlaneOptions = {}): ControlPlane {
    return new ControlPlane(options);
  }

  private constructor(options: ControlPlaneOptions) {
    const { port = 0, hostname = "127.0.0.1", prefix = "", silenceLimitMs = 45_000 } = options;
    this.#log = options.onEvent ?? (() => {});
    this.#quirks = new Set(options.quirks);
    this.#links = this.#createLinks(silenceLimitMs);
    this.tunnels = new Tunnels(this.#log);
    const app = createApp(prefix, (app) => {
      this.#addAgentRoutes(app, options.apiKey);
      this.#addUserRoutes(app);
      addPageRoutes(app, { events: this.#events, openDisplay: this.#openDisplay });
    });
    const isLoopback = /^(127\.|localhost$|::1$)/.test(hostname);
    this.#server = Deno.serve({ port, hostname, onListen: () => {} }, (request) => {
      const sessionId = sessionOfHost(new URL(request.url).hostname);
      return rejectForeign(request, isLoopback) ??
        (sessionId === undefined ? app.fetch(request) : this.#displays.forward(request, sessionId));
    });
    const host = hostname.includes(":") ? `[${hostname}]` : hostname;
    this.url = `http://${host}:${this.#server.addr.port}${prefix}`;
  }

  /** All registration requests, including rejected ones. */
  get registrations(): readonly Registration[] {
    return this.#registrations;
  }

  /** All connections, open and closed. */
  get connections(): readonly Connection[] {
    return this.#connections.items;
  }

  /** All messages of all agents, in order, but only the first 64 MiB of VNC messages. */
  get messages(): readonly Received[] {
    return this.#messages.items;
  }

  /** Protocol violations of agents, one sentence each. */
  get problems(): readonly string[] {
    return this.#problems;
  }

  /** Answers the next `times` (default 1) registrations with this; 200 and 201 still register the agent. */
  answerRegistration({ times, ...answer }: ScriptedAnswer & { times?: number }): void {
    this.#registrationScript.add(answer, times);
  }

  /** Answers the next `times` (default 1) requests to connect with this instead of a WebSocket. */
  answerConnect({ times, ...answer }: ScriptedAnswer & { times?: number }): void {
    this.#connectScript.add(answer, times);
  }

  /** Leaves the next request to connect unanswered until this Control Plane is closed. */
  hangConnect(): void {
    this.#connectScript.add("hang");
  }

  /** Sends one well-formed message. Throws when the agent is not connected. */
  send(agentId: string, message: { type: string; payload?: unknown }): void {
    this.sendFrame(agentId, encodeMessage(message.type, message.payload ?? {}));
  }

  /** Sends a frame unchanged. Throws when the agent is not connected. */
  sendFrame(agentId: string, frame: string | Uint8Array): void {
    if (!this.#links.isConnected(agentId)) {
      throw new Error(`Cannot send to agent "${agentId}": it is not connected`);
    }
    const commands = typeof frame === "string" ? this.#commands.prepare(agentId, frame) : [];
    this.#links.send(agentId, frame);
    this.#commands.sent(commands);
    this.#events.changed();
    if (this.#quirks.has("late-sent")) {
      void delay(LATE_SENT_MS, { signal: this.#closing.signal }).then(
        () => this.#commands.sentLate(commands),
        () => {},
      );
    }
    this.#log(`to ${agentId}: ${typeof frame === "string" ? clip(frame) : `${frame.length} bytes`}`);
  }

  /** Sends a command and returns its id. Throws when the agent is not connected. */
  command(agentId: string, command: Command): string {
    const [id = ""] = this.commandFrame(agentId, [command]);
    return id;
  }

  /** Sends commands joined in one frame and returns their ids. Throws when the agent is not connected. */
  commandFrame(agentId: string, commands: readonly Command[]): string[] {
    const { frame, commandIds } = encodeCommands(commands);
    this.sendFrame(agentId, frame);
    for (const command of commands) this.#sessions.sent(agentId, command);
    return commandIds;
  }

  /** Resolves with the first message, past or future, of any agent that the predicate accepts. */
  async waitFor(predicate: (message: Message) => boolean, options: WaitOptions = {}): Promise<Message> {
    return await this.#messages.waitFor(predicate, options);
  }

  /** Resolves with the first result of the command. */
  async result(commandId: string, options: WaitOptions = {}): Promise<CommandResult> {
    return await this.#messages.result(commandId, options);
  }

  /** Resolves when the agent is connected; with `after`, when it has connected more often than that. */
  async waitForConnection(agentId: string, options: WaitOptions & { after?: number } = {}): Promise<void> {
    const { after, signal } = options;
    let seen = 0;
    await this.#connections.waitFor((connection) => {
      if (connection.agentId !== agentId) return false;
      seen++;
      return after === undefined ? connection.closed === undefined : seen > after;
    }, {
      signal,
      what: `a connection of agent "${agentId}"`,
      soFar: () => `${seen} of its connections, ${this.registrations.length} registrations`,
    });
  }

  /** Closes the agent's connection, with an empty close frame (1005) when no code is given. Throws when there is none. */
  disconnect(agentId: string, code?: number): void {
    this.#links.disconnect(agentId, code);
  }

  /** Closes all connections (1001), answers pending requests and stops listening. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    this.#events.close();
    this.#displays.close();
    await Promise.all([this.#links.close(), this.tunnels.close()]);
    await this.#server.shutdown();
    for (const feed of [this.#connections, this.#messages]) feed.close();
  }

  #createLinks(silenceLimitMs: number): Links {
    return new Links({ silenceLimitMs, quirks: this.#quirks }, {
      opened: (connection) => {
        this.#log(`connected ${connection.agentId}`);
        this.#connections.push(connection);
        this.#events.changed();
      },
      frame: (agentId, data) => this.#receive(agentId, data),
      closed: ({ agentId, closed }, isLast) => {
        if (isLast) this.#registry.disconnected(agentId);
        this.#events.changed();
        this.#log(`disconnected ${agentId} (code ${closed?.code})`);
      },
      violated: (agentId, reason) => this.#report(`Agent "${agentId}": ${reason}`),
    });
  }

  #addAgentRoutes(app: Hono, apiKey: string | undefined): void {
    addAgentRoutes(app, {
      apiKey,
      quirks: this.#quirks,
      registry: this.#registry,
      links: this.#links,
      tunnels: this.tunnels,
      registrationScript: this.#registrationScript,
      connectScript: this.#connectScript,
      closing: this.#closing.signal,
      onRegistration: (registration) => {
        this.#registrations.push(registration);
        this.#events.changed();
      },
      log: this.#log,
      report: (problem) => this.#report(problem),
    });
  }

  #addUserRoutes(app: Hono): void {
    addUserRoutes(app, {
      quirks: this.#quirks,
      registry: this.#registry,
      commands: this.#commands,
      sessions: this.#sessions,
      isConnected: (agentId) => this.#links.isConnected(agentId),
      command: (agentId, command) => this.command(agentId, command),
      lastStatus: (sessionId) => this.#messages.lastStatus(sessionId),
    });
  }

  #receive(agentId: string, data: unknown): void {
    const { message, problems } = readFrame(data);
    for (const problem of problems) this.#report(`Agent "${agentId}": ${problem}`);
    if (message === undefined) return;
    for (const problem of this.#commands.receive(agentId, message)) this.#report(problem);
    if (message.type === "status") this.#sessions.reported(agentId, message);
    this.#events.changed();
    if (message.type === "heartbeat") this.#registry.heartbeat(agentId, message);
    this.#log(`from ${agentId}: ${message.type} ${clip(JSON.stringify(message.payload))}`);
    this.#messages.add({ at: Date.now(), agentId, message });
  }

  /** What the page shows. */
  #state(): object {
    const agents = this.#registry.list().map((agent) => ({
      ...agent,
      connected: this.#links.isConnected(agent.agentId),
      hasTunnel: this.tunnels.has(agent.agentId),
    }));
    return { agents, sessions: this.#sessions.list(), commands: this.#commands.latest() };
  }

  async #open(sessionId: string, signal: AbortSignal): Promise<OpenedStream> {
    const session = this.#sessions.get(sessionId);
    if (!session) {
      throw new StreamResetError("unknown-session", `no agent reported on session "${sessionId}"`);
    }
    return await this.tunnels.open(session.agentId, { sessionId }, signal);
  }

  #report(problem: string): void {
    this.#problems.push(problem);
    this.#log(`PROBLEM ${problem}`);
  }
}

/** Shortens text to one log line. */
function clip(text: string): string {
  return text.length > 240 ? `${text.slice(0, 240)}…` : text;
}
