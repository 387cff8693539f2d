/**
 * Metrics and traces of streams to sessions.
 * @module
 */
import type { DialMode } from "../model/settings.ts";
import type { StreamCounts, StreamObservation, StreamObserver } from "../streams/session_streams.ts";
import { RESET_CODES } from "../streams/tunnel_messages.ts";
import type { Meter } from "./metrics.ts";
import { StreamTrace } from "./traces.ts";

/** Codes of the metric; a Control Plane could send any other. */
const CODES = ["finished", ...RESET_CODES] as const;

const NOTHING: StreamCounts = { bytesIn: 0, bytesOut: 0, stalls: 0 };

/** Counts streams, their bytes and how they end. */
export class StreamTelemetry implements StreamObserver {
  readonly #meter: Meter;
  /** The open streams, with what is counted of each so far. */
  readonly #open = new Map<StreamCounts, StreamCounts>();

  constructor(meter: Meter) {
    this.#meter = meter;
    meter.initialize("streamsEnded", { code: CODES });
    meter.initialize("streamBytes", { direction: ["to_session", "from_session"] });
  }

  requested(request: { readonly sessionId: string; readonly dial: DialMode }): StreamObservation {
    const startedAt = performance.now();
    const trace = new StreamTrace(request);
    let stream: StreamCounts | undefined;
    return {
      opened: (opened, { port }) => {
        stream = opened;
        this.#open.set(opened, NOTHING);
        this.#meter.count("streamsOpened", {});
        this.#meter.observe("streamSeconds", {}, { seconds: (performance.now() - startedAt) / 1000 });
        trace.opened(port);
      },
      rejected: (code, message) => {
        this.#meter.count("streamsEnded", { code: known(code) });
        trace.end({ code, message });
      },
      ended: (end) => {
        if (stream) this.#count(stream);
        if (stream) this.#open.delete(stream);
        this.#meter.count("streamsEnded", { code: known(end.code) });
        trace.end(end, stream);
      },
    };
  }

  /** Updates the metrics of open streams, before they are exported. */
  update(): void {
    this.#meter.set("streamsOpen", {}, { to: this.#open.size });
    for (const stream of this.#open.keys()) this.#count(stream);
  }

  /** Counts what a stream carried since it was counted last. */
  #count(stream: StreamCounts): void {
    const { bytesIn, bytesOut, stalls } = stream;
    const counted = this.#open.get(stream) ?? NOTHING;
    this.#open.set(stream, { bytesIn, bytesOut, stalls });
    this.#meter.count("streamBytes", { direction: "to_session" }, bytesIn - counted.bytesIn);
    this.#meter.count("streamBytes", { direction: "from_session" }, bytesOut - counted.bytesOut);
    this.#meter.count("streamStalls", {}, stalls - counted.stalls);
  }
}

function known(code: string): string {
  return CODES.find((one) => one === code) ?? "cancelled";
}
