/**
 * Takes the spans that an agent exports by OTLP over HTTP as JSON.
 * Source: https://opentelemetry.io/docs/specs/otlp/
 * @module
 */

/** A span as a test looks at it. */
export interface CollectedSpan {
  readonly id: string;
  readonly parentId: string;
  readonly name: string;
  readonly startedAt: bigint;
  readonly attributes: Readonly<Record<string, unknown>>;
  /** Why it failed. */
  readonly error: string | undefined;
  /** Attributes of the exceptions that were recorded. */
  readonly exceptions: ReadonlyArray<Readonly<Record<string, unknown>>>;
}

interface WireAttribute {
  readonly key: string;
  readonly value: Readonly<Record<string, unknown>>;
}

interface WireSpan {
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly name: string;
  readonly startTimeUnixNano: string;
  readonly attributes: readonly WireAttribute[];
  readonly events: ReadonlyArray<{ readonly name: string; readonly attributes: readonly WireAttribute[] }>;
  readonly status: { readonly code: number; readonly message: string };
}

const ERROR = 2;

/** Listens until it is disposed. */
export class TraceCollector implements AsyncDisposable {
  readonly #spans: CollectedSpan[] = [];
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  #texts: string[] = [];
  #wake: () => void = () => {};

  private constructor() {
    const options = { hostname: "127.0.0.1", port: 0, onListen: () => {} };
    this.#server = Deno.serve(options, async (request) => {
      const text = await request.text();
      this.#texts.push(text);
      if (new URL(request.url).pathname === "/v1/traces") this.#take(JSON.parse(text));
      return Response.json({});
    });
  }

  /** Starts to listen on any free port. */
  static start(): TraceCollector {
    return new TraceCollector();
  }

  /** Where it listens. */
  get url(): string {
    return `http://127.0.0.1:${this.#server.addr.port}`;
  }

  /** All that came, as it came. */
  get text(): string {
    return this.#texts.join("\n");
  }

  /** Waits for a span of a name, and with a property. */
  async span(
    name: string,
    has: (span: CollectedSpan) => boolean = () => true,
  ): Promise<CollectedSpan> {
    while (true) {
      const span = this.#spans.find((one) => one.name === name && has(one));
      if (span) return span;
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  /** The spans within one, in the order in which they began. */
  childrenOf({ id }: CollectedSpan): CollectedSpan[] {
    const children = this.#spans.filter(({ parentId }) => parentId === id);
    return children.sort((a, b) => Number(a.startedAt - b.startedAt));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }

  #take(message: { resourceSpans: Array<{ scopeSpans: Array<{ spans: WireSpan[] }> }> }): void {
    const spans = message.resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans));
    this.#spans.push(...spans.map(collected));
    this.#wake();
  }
}

function collected(span: WireSpan): CollectedSpan {
  return {
    id: span.spanId,
    parentId: span.parentSpanId,
    name: span.name,
    startedAt: BigInt(span.startTimeUnixNano),
    attributes: valuesOf(span.attributes),
    error: span.status.code === ERROR ? span.status.message : undefined,
    exceptions: span.events.filter(({ name }) => name === "exception").map((one) => valuesOf(one.attributes)),
  };
}

function valuesOf(attributes: readonly WireAttribute[]): Record<string, unknown> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]));
}
