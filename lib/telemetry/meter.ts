/**
 * Counts and measures by the table of metrics, and writes what came of it in Prometheus' text format. The only file that knows the library.
 * @module
 */
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import { type KeyOf, type LabelsOf, type Metric, type MetricKey, METRICS } from "./metrics.ts";

/** Content type of {@linkcode Meter.text}. */
export const METRICS_TYPE = Registry.PROMETHEUS_CONTENT_TYPE;

/** All metrics of one agent. */
export class Meter {
  readonly #registry = new Registry();
  readonly #counters = new Map<MetricKey, Counter>();
  readonly #gauges = new Map<MetricKey, Gauge>();
  readonly #histograms = new Map<MetricKey, Histogram>();

  constructor() {
    for (const [key, metric] of Object.entries(METRICS) as [MetricKey, Metric][]) this.#add(key, metric);
  }

  /**
   * Counts from zero what is to be counted by each combination of these labels: how much a series grew by that begins with its first count,
   * nobody sees.
   * Source: https://prometheus.io/docs/practices/instrumentation/#avoid-missing-metrics
   */
  begin<K extends KeyOf<"counter">>(
    key: K,
    values: Readonly<Record<keyof LabelsOf<K>, readonly string[]>>,
  ): void {
    for (const labels of combinations(values)) this.#counters.get(key)?.inc(labels, 0);
  }

  /** Counts one more. */
  count<K extends KeyOf<"counter">>(key: K, labels: LabelsOf<K>): void {
    this.#counters.get(key)?.inc(labels);
  }

  /** Measures one more duration. */
  observe<K extends KeyOf<"histogram">>(key: K, labels: LabelsOf<K>, options: { seconds: number }): void {
    this.#histograms.get(key)?.observe(labels, options.seconds);
  }

  /** Tells how something stands now. */
  set<K extends KeyOf<"gauge">>(key: K, labels: LabelsOf<K>, options: { to: number | boolean }): void {
    this.#gauges.get(key)?.set(labels, Number(options.to));
  }

  /** Everything, for a scrape. */
  async text(): Promise<string> {
    return await this.#registry.metrics();
  }

  #add(key: MetricKey, { kind, name, help, labels, buckets }: Metric): void {
    const common = { name, help, labelNames: [...labels], registers: [this.#registry] };
    switch (kind) {
      case "counter":
        this.#counters.set(key, new Counter(common));
        return;
      case "gauge":
        this.#gauges.set(key, new Gauge(common));
        return;
      case "histogram":
        this.#histograms.set(key, new Histogram({ ...common, buckets: [...buckets ?? []] }));
    }
  }
}

/** Each choice of one value a label. */
function combinations(values: Readonly<Record<string, readonly string[]>>): Array<Record<string, string>> {
  return Object.entries(values).reduce<Array<Record<string, string>>>(
    (chosen, [label, words]) =>
      chosen.flatMap((labels) => words.map((word) => ({ ...labels, [label]: word }))),
    [{}],
  );
}
