import { assertEquals, assertStringIncludes } from "@std/assert";
import { HealthServer, type HealthSources } from "../../lib/telemetry/health_server.ts";
import { LogCapture } from "../support/log_capture.ts";

const SOURCES: HealthSources = {
  liveness: () => ({ ok: true, checks: {} }),
  readiness: () => ({ ok: true, checks: {} }),
  scrape: () => Promise.resolve("up 1\n"),
};

/** Sends a request as it stands, and gives the first line of the answer. */
async function ask(server: HealthServer, lines: readonly string[]): Promise<string> {
  const { hostname, port } = new URL(server.url);
  using connection = await Deno.connect({ hostname, port: Number(port) });
  await connection.write(new TextEncoder().encode([...lines, "Connection: close", "", ""].join("\r\n")));
  const answer = await new Response(connection.readable).text();
  return answer.split("\r\n", 1).join();
}

Deno.test("a request with a malformed host is answered, and leaves nothing in the log", async () => {
  using logs = new LogCapture();
  await using server = new HealthServer({ hostname: "127.0.0.1", port: 0 }, SOURCES);
  for (const host of ["a b", "[", "%"]) {
    assertEquals(await ask(server, ["GET /healthz HTTP/1.1", `Host: ${host}`]), "HTTP/1.1 404 Not Found");
  }
  assertEquals(logs.lines.filter((line) => !line.includes("Health and metrics at")), []);
});

Deno.test("a source that fails is an answer of 500, and one line in the log", async () => {
  using logs = new LogCapture();
  const scrape = () => Promise.reject(new Error("no metrics"));
  await using server = new HealthServer({ hostname: "127.0.0.1", port: 0 }, { ...SOURCES, scrape });
  const first = await ask(server, ["GET /metrics HTTP/1.1", "Host: a"]);
  assertEquals(first, "HTTP/1.1 500 Internal Server Error");
  assertStringIncludes(
    logs.lines.at(-1) ?? "",
    "ERROR: A request for health or metrics could not be answered: no metrics",
  );
});
