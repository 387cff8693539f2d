/**
 * Answers probes and scrapes over HTTP, on a port of its own: `/healthz`, `/readyz` and `/metrics`, and nothing else. It reads no request's body
 * and shows no setting.
 * @module
 */
import { ConfigError, messageOf } from "../common/errors.ts";
import { log } from "../common/log.ts";
import type { Report } from "./health_report.ts";
import type { ListenAddress } from "../model/settings.ts";
import { formatListenAddress } from "./listen_address.ts";
import { METRICS_TYPE } from "./meter.ts";

/** What is told. */
export interface HealthSources {
  liveness(): Report;
  readiness(): Report;
  /** In Prometheus' text format. */
  scrape(): Promise<string>;
}

/** Where to listen. */
export interface HealthServerOptions {
  readonly address: ListenAddress | "off";
  /** Whether an address in use is an error, as for one that an operator set; otherwise it is a warning. */
  readonly isRequired: boolean;
}

/** Listens until it is disposed. */
export class HealthServer implements AsyncDisposable {
  readonly #sources: HealthSources;
  readonly #closing = new AbortController();
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #answers: Readonly<Record<string, () => Response | Promise<Response>>> = {
    "/healthz": () => reportResponse(this.#sources.liveness()),
    "/readyz": () => reportResponse(this.#sources.readiness()),
    "/metrics": async () => textResponse(200, await this.#scrapeOnce(), { "Content-Type": METRICS_TYPE }),
  };
  #scrape: Promise<string> | undefined;

  private constructor(address: ListenAddress, sources: HealthSources) {
    this.#sources = sources;
    this.#server = this.#listen(address);
    log.info("Health and metrics at {url}", { url: this.url });
  }

  /**
   * Starts a server; `undefined` if it is off, or not required and the address is in use.
   *
   * @throws {ConfigError} when it cannot listen there
   */
  static start(
    { address, isRequired }: HealthServerOptions,
    sources: HealthSources,
  ): HealthServer | undefined {
    if (address === "off") return undefined;
    try {
      return new HealthServer(address, sources);
    } catch (error) {
      const where = formatListenAddress(address);
      const isInUse = error instanceof Deno.errors.AddrInUse;
      if (isInUse && !isRequired) {
        log.warn("Running without health endpoints and metrics: {reason}", {
          reason:
            `${where} is in use by another program, set --health-addr (HEALTH_ADDR) to another address or to off`,
        });
        return undefined;
      }
      const problem = isInUse ? "it is in use by another program, choose another or off" : messageOf(error);
      throw new ConfigError([`--health-addr (HEALTH_ADDR): cannot listen on ${where}: ${problem}`]);
    }
  }

  /** Where it listens. */
  get url(): string {
    return `http://${formatListenAddress(this.#server.addr)}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    await this.#server.finished;
  }

  #listen({ hostname, port }: ListenAddress): Deno.HttpServer<Deno.NetAddr> {
    const serve = (hostname: string) => {
      const options = { hostname, port, signal: this.#closing.signal, onListen: () => {}, onError: failed };
      return Deno.serve(options, (request) => this.#answer(request));
    };
    if (hostname !== "") return serve(hostname);
    try {
      // Takes IPv4, too.
      return serve("::");
    } catch (error) {
      if (error instanceof Deno.errors.AddrInUse) throw error;
      return serve("0.0.0.0");
    }
  }

  async #answer({ method, url }: Request): Promise<Response> {
    // Of the host that a client names, anything can stand there.
    const answer = this.#answers[URL.parse(url)?.pathname ?? ""];
    if (!answer) return textResponse(404, "Not found: there are /healthz, /readyz and /metrics\n");
    if (method !== "GET" && method !== "HEAD") {
      return textResponse(405, "Only GET and HEAD are answered\n", { Allow: "GET, HEAD" });
    }
    return await answer();
  }

  /** However many ask at once, it is written once. */
  #scrapeOnce(): Promise<string> {
    this.#scrape ??= this.#sources.scrape().finally(() => this.#scrape = undefined);
    return this.#scrape;
  }
}

function failed(error: unknown): Response {
  log.error("A request for health or metrics could not be answered: {reason}", { reason: messageOf(error) });
  return textResponse(500, "Internal error, see the log\n");
}

function reportResponse({ ok, checks }: Report): Response {
  const body = JSON.stringify({ status: ok ? "ok" : "failing", checks }, undefined, 2);
  return textResponse(ok ? 200 : 503, `${body}\n`, { "Content-Type": "application/json" });
}

function textResponse(status: number, body: string, headers: Record<string, string> = {}): Response {
  const always = { "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff" };
  return new Response(body, {
    status,
    headers: { "Content-Type": "text/plain; charset=utf-8", ...always, ...headers },
  });
}
