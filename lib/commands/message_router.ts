/**
 * Routes each message of the Control Plane to the component that handles it: commands to the dispatcher, pings to the reporter, a shutdown
 * request to the process. Messages that cannot be handled are logged and counted, and never end the link.
 * @module
 */
import { type Command, type Inbound, parseFrame } from "../control_plane/protocol.ts";
import { log } from "../common/log.ts";

/** Where the router sends messages. */
export interface MessageRouterOptions {
  readonly dispatcher: { receive(command: Command): void };
  readonly reporter: { pong(): void };
  /** Absent without `--vnc-messages`. */
  readonly vncMessages?:
    | { receive(sessionId: string, bytes: Uint8Array): void; close(sessionId: string): void }
    | undefined;
  /** Called when the Control Plane requests a graceful shutdown. */
  readonly onShutdown: () => void;
  /** Counts the messages that are ignored. */
  readonly observer?: MessageObserver;
}

/** Sees the messages that are ignored. */
export interface MessageObserver {
  ignored(reason: "malformed" | "unknown" | "binary"): void;
}

/** Handles the frames of a link. */
export class MessageRouter {
  readonly #options: MessageRouterOptions;

  constructor(options: MessageRouterOptions) {
    this.#options = options;
  }

  /** Handles all messages of a frame; returns before any command has run. */
  receive(frame: string | Uint8Array): void {
    if (typeof frame === "string") {
      for (const message of parseFrame(frame)) this.#handle(message);
      return;
    }
    this.#options.observer?.ignored("binary");
    log.warn("Ignored a binary frame of {bytes} bytes", { bytes: frame.length });
  }

  #handle(message: Inbound): void {
    const { dispatcher, reporter, vncMessages, onShutdown } = this.#options;
    switch (message.type) {
      case "command":
        return dispatcher.receive(message.command);
      case "ping":
        return reporter.pong();
      case "shutdown":
        log.info("The Control Plane requested a shutdown: {reason}", { reason: message.reason });
        return onShutdown();
      case "vnc_data":
        if (!vncMessages) return this.#ignore(message.type);
        return vncMessages.receive(message.sessionId, message.bytes);
      case "vnc_close":
        if (!vncMessages) return this.#ignore(message.type);
        return vncMessages.close(message.sessionId);
      case "unknown":
        return this.#ignore(message.name);
      case "malformed":
        this.#options.observer?.ignored("malformed");
        return log.warn("Ignored a malformed message: {problem}: {excerpt}", {
          problem: message.problem,
          excerpt: message.excerpt,
        });
      default:
        return message satisfies never;
    }
  }

  #ignore(type: string): void {
    this.#options.observer?.ignored("unknown");
    log.debug("Ignored a message of unknown type {type}", { type });
  }
}
