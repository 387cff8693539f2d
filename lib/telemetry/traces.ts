/**
 * Traces: OpenTelemetry spans that Deno exports if `OTEL_DENO` is set; otherwise they are no-ops.
 * Source: https://docs.deno.com/runtime/fundamentals/open_telemetry/
 * @module
 */
import { context, ROOT_CONTEXT, type Span, SpanStatusCode, trace } from "@opentelemetry/api";
import { messageOf } from "../common/errors.ts";
import { printable } from "../common/log.ts";

const TRACER_NAME = "k8s-agent";
/** Limit for ids in attributes, as they come from a payload. */
const MAX_ID_LENGTH = 253;

/** One command as a span, with its phases as child spans. */
export class CommandTrace {
  readonly #span: Span;
  #phase: Span | undefined;

  /** @param options.receivedAt milliseconds since 1970 */
  constructor(action: string, options: { commandId: string; receivedAt: number }) {
    this.#span = trace.getTracer(TRACER_NAME).startSpan(action, {
      root: true,
      startTime: options.receivedAt,
      attributes: {
        "streamspace.command.action": action,
        "streamspace.command.id": idAttribute(options.commandId),
      },
    });
  }

  setSession(sessionId: string): void {
    this.#span.setAttribute("streamspace.session.id", idAttribute(sessionId));
  }

  within<T>(work: () => T): T {
    return context.with(this.#context(), work);
  }

  /** Ends the current phase and starts another one. */
  startPhase(name: string): void {
    this.#phase?.end();
    this.#phase = trace.getTracer(TRACER_NAME).startSpan(name, {}, this.#context());
  }

  /** Ends the current phase while the command goes on. */
  endPhase(): void {
    this.#phase?.end();
    this.#phase = undefined;
  }

  /** @param failure machine-readable reason and error of a failed command */
  end(outcome: string, failure?: { reason: string; error: unknown }): void {
    this.endPhase();
    this.#span.setAttribute("streamspace.command.outcome", outcome);
    if (failure) setError(this.#span, { type: failure.reason, message: messageOf(failure.error) });
    this.#span.end();
  }

  #context() {
    return trace.setSpan(ROOT_CONTEXT, this.#span);
  }
}

/** One stream as a span, from its request to its end. */
export class StreamTrace {
  readonly #span: Span;

  constructor({ sessionId, dial }: { readonly sessionId: string; readonly dial: string }) {
    this.#span = trace.getTracer(TRACER_NAME).startSpan("stream", {
      root: true,
      attributes: {
        "streamspace.session.id": idAttribute(sessionId),
        "streamspace.stream.dial": dial,
      },
    });
  }

  /** The stream is connected. */
  opened(port: number): void {
    this.#span.setAttribute("streamspace.stream.port", port);
    this.#span.addEvent("opened");
  }

  /** @param carried absent for a stream that was not connected, which is an error */
  end(
    { code, message }: { readonly code: string; readonly message: string },
    carried?: { readonly bytesIn: number; readonly bytesOut: number },
  ): void {
    this.#span.setAttributes({
      "streamspace.stream.code": code,
      "streamspace.stream.bytes_to_session": carried?.bytesIn ?? 0,
      "streamspace.stream.bytes_from_session": carried?.bytesOut ?? 0,
    });
    if (!carried || STREAM_ERRORS.includes(code)) setError(this.#span, { type: code, message });
    this.#span.end();
  }
}

/** Codes with which a connected stream fails; the others end it because somebody wanted that. */
const STREAM_ERRORS: readonly string[] = ["flow-control", "protocol", "unreachable", "timeout"];

function setError(span: Span, { type, message: text }: { type: string; message: string }): void {
  const message = printable(text);
  span.setAttribute("error.type", type);
  span.recordException({ name: type, message });
  span.setStatus({ code: SpanStatusCode.ERROR, message });
}

function idAttribute(id: string): string {
  return printable(id).slice(0, MAX_ID_LENGTH);
}
