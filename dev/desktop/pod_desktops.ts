/**
 * Gives the pods of the cluster in memory a desktop: each declared port of a running pod serves RFB on the pod's own loopback address.
 * @module
 */
import type { RunningPod } from "@streamspace/memory-cluster";
import { messageOf } from "../../lib/common/errors.ts";
import { Desktop } from "./desktop.ts";
import { closeIfOpen, serveRfb } from "./rfb_server.ts";

/** Serves a desktop at the ports of a pod until the signal is aborted. Ports that cannot be opened are reported by `warn`. */
export function servePodDesktop(
  { name, ip, ports }: RunningPod,
  signal: AbortSignal,
  // deno-lint-ignore no-console -- for the person who started the cluster
  warn: (warning: string) => void = console.warn,
): void {
  const desktop = new Desktop(name);
  for (const port of new Set(ports)) {
    try {
      listen({ hostname: ip, port }, { serve: (connection) => serveRfb(connection, desktop), signal });
    } catch (error) {
      // Ports below 1024 need rights on most systems, and macOS has only the loopback address 127.0.0.1.
      warn(`Pod ${name} has no desktop: cannot listen on ${ip}:${port}: ${messageOf(error)}`);
    }
  }
}

/** Serves each connection to an address until the signal is aborted, and closes it afterwards. */
export function listen(
  address: { readonly hostname: string; readonly port: number },
  { serve, signal }: {
    readonly serve: (connection: Deno.TcpConn) => Promise<void>;
    readonly signal: AbortSignal;
  },
): void {
  const listener = Deno.listen(address);
  const connections = new Set<Deno.TcpConn>();
  signal.addEventListener("abort", () => {
    listener.close();
    for (const connection of connections) closeIfOpen(connection);
  }, { once: true });
  void (async () => {
    for await (const connection of listener) {
      connections.add(connection);
      void serve(connection).finally(() => {
        connections.delete(connection);
        closeIfOpen(connection);
      });
    }
  })();
}
