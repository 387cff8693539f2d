/**
 * Metrics of streams to sessions.
 * @module
 */
import type { StreamObserver } from "../streams/session_streams.ts";
import { RESET_CODES } from "../streams/tunnel_messages.ts";
import type { Meter } from "./metrics.ts";

/** Codes of the metric; a Control Plane could send any other. */
const CODES = ["finished", ...RESET_CODES] as const;

/** Counts streams, their bytes and how they end. */
export class StreamTelemetry implements StreamObserver {
  readonly #meter: Meter;
  #open = 0;

  constructor(meter: Meter) {
    this.#meter = meter;
    meter.initialize("streamsEnded", { code: CODES });
    meter.initialize("streamBytes", { direction: ["to_session", "from_session"] });
  }

  opened(connectMs: number): void {
    this.#meter.set("streamsOpen", {}, { to: ++this.#open });
    this.#meter.count("streamsOpened", {});
    this.#meter.observe("streamSeconds", {}, { seconds: connectMs / 1000 });
  }

  rejected(code: string): void {
    this.#meter.count("streamsEnded", { code: known(code) });
  }

  ended(code: string, counts: { bytesIn: number; bytesOut: number; stalls: number }): void {
    this.#meter.set("streamsOpen", {}, { to: --this.#open });
    this.#meter.count("streamsEnded", { code: known(code) });
    this.#meter.count("streamBytes", { direction: "to_session" }, counts.bytesIn);
    this.#meter.count("streamBytes", { direction: "from_session" }, counts.bytesOut);
    this.#meter.count("streamStalls", {}, counts.stalls);
  }
}

function known(code: string): string {
  return CODES.find((one) => one === code) ?? "cancelled";
}
