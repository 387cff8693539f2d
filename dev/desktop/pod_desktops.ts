/**
 * Gives the pods of the cluster in memory a desktop: each declared port of a running pod serves RFB on the pod's own loopback address.
 * @module
 */
import type { RunningPod } from "@streamspace/memory-cluster";
import { Desktop } from "./desktop.ts";
import { closeIfOpen, serveRfb } from "./rfb_server.ts";

/** Serves a desktop at the ports of a pod until the signal is aborted. */
export function servePodDesktop({ name, ip, ports }: RunningPod, signal: AbortSignal): void {
  const desktop = new Desktop(name);
  for (const port of new Set(ports)) serveAt({ hostname: ip, port }, { desktop, signal });
}

function serveAt(
  address: { hostname: string; port: number },
  { desktop, signal }: { desktop: Desktop; signal: AbortSignal },
): void {
  const listener = Deno.listen(address);
  const connections = new Set<Deno.Conn>();
  signal.addEventListener("abort", () => {
    listener.close();
    for (const connection of connections) closeIfOpen(connection);
  }, { once: true });
  void (async () => {
    for await (const connection of listener) {
      connections.add(connection);
      void serveRfb(connection, desktop).finally(() => connections.delete(connection));
    }
  })();
}
