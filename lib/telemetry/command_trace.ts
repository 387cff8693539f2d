/**
 * One command as a span of OpenTelemetry, and its phases as spans within it. Deno exports them where `OTEL_DENO` is set; otherwise each call
 * here does nothing. The only file that knows the API.
 * Source: https://docs.deno.com/runtime/fundamentals/open_telemetry/
 * @module
 */
import { context, ROOT_CONTEXT, type Span, SpanStatusCode, trace } from "@opentelemetry/api";
import { messageOf } from "../common/errors.ts";
import { shown } from "../common/log.ts";

const NAME = "k8s-agent";
/** Ids come from outside. */
const ID_LENGTH = 253;

/** The trace of one command. */
export class CommandTrace {
  readonly #span: Span;
  #phase: Span | undefined;

  /** @param options.receivedAt milliseconds since 1970 */
  constructor(action: string, options: { commandId: string; receivedAt: number }) {
    this.#span = trace.getTracer(NAME).startSpan(action, {
      root: true,
      startTime: options.receivedAt,
      attributes: {
        "streamspace.command.action": action,
        "streamspace.command.id": bounded(options.commandId),
      },
    });
  }

  /** Whose command it is. */
  session(sessionId: string): void {
    this.#span.setAttribute("streamspace.session.id", bounded(sessionId));
  }

  /** Does something so that its requests are part of the trace. */
  within<T>(work: () => T): T {
    return context.with(this.#context(), work);
  }

  /** A phase begins, and the one before it ends. */
  phase(name: string): void {
    this.#phase?.end();
    this.#phase = trace.getTracer(NAME).startSpan(name, {}, this.#context());
  }

  /** The last phase ends before the command does. */
  endPhase(): void {
    this.#phase?.end();
    this.#phase = undefined;
  }

  /** @param failure why it failed: a word for programs, and the error */
  end(outcome: string, failure?: { reason: string; error: unknown }): void {
    this.endPhase();
    this.#span.setAttribute("streamspace.command.outcome", outcome);
    if (failure) {
      const message = shown(messageOf(failure.error));
      this.#span.setAttribute("error.type", failure.reason);
      this.#span.recordException({ name: failure.reason, message });
      this.#span.setStatus({ code: SpanStatusCode.ERROR, message });
    }
    this.#span.end();
  }

  #context() {
    return trace.setSpan(ROOT_CONTEXT, this.#span);
  }
}

function bounded(id: string): string {
  return shown(id).slice(0, ID_LENGTH);
}
