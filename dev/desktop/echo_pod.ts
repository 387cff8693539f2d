/**
 * Gives the pods of the cluster in memory what those of the real test cluster have: each port greets as an RFB server does, and then echoes.
 * @module
 */
import { listen } from "./pod_desktops.ts";
import type { RunningPod } from "@streamspace/memory-cluster";

/** What each port sends first. */
export const GREETING = "RFB 003.008\n";

/** Serves the ports of a pod until the signal is aborted. */
export function serveEcho({ ip, ports }: RunningPod, signal: AbortSignal): void {
  for (const port of new Set(ports)) {
    listen({ hostname: ip, port }, { serve: echo, signal });
  }
}

async function echo(connection: Deno.TcpConn): Promise<void> {
  const buffer = new Uint8Array(64 * 1024);
  try {
    await writeAll(connection, new TextEncoder().encode(GREETING));
    for (let count; (count = await connection.read(buffer)) !== null;) {
      await writeAll(connection, buffer.subarray(0, count));
    }
    await connection.closeWrite();
  } catch {
    // The peer or the pod has ended.
  }
}

async function writeAll(connection: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  let rest = bytes;
  while (rest.length > 0) rest = rest.subarray(await connection.write(rest));
}
