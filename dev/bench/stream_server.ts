// deno-lint-ignore-file no-console -- a command-line program
/**
 * The other processes of the stream benchmark, so that each has a processor time of its own. Prints one line of JSON when it is ready, and ends
 * with its standard input.
 *
 *     stream_server.ts cluster                     a cluster in memory, whose pods send or echo bytes
 *     stream_server.ts tcp-relay HOST PORT         relays TCP connections
 *     stream_server.ts websocket-relay HOST PORT   relays WebSockets, with messages of 32 KiB
 *
 * @module
 */
import { Cluster, type RunningPod } from "@streamspace/memory-cluster";
import { decongested } from "../../lib/streams/send_queue.ts";

/** First byte of a connection to a pod: the pod sends without end, echoes what follows, or reads no more. */
export const SOURCE = "S".charCodeAt(0);
export const ECHO = "E".charCodeAt(0);
export const STALLED = "T".charCodeAt(0);

const CHUNK_BYTES = 32 * 1024;
const CONGESTED_BYTES = 256 * 1024;

async function main(): Promise<void> {
  const [kind, hostname = "", port] = Deno.args;
  const target = { hostname, port: Number(port) };
  switch (kind) {
    case "cluster":
      return await announce({ kubeconfig: Cluster.start({ podStartMs: 0, servePod }).kubeconfig() });
    case "tcp-relay":
      return await announce({ port: relayTcp(target) });
    case "websocket-relay":
      return await announce({ port: relayWebSockets(target) });
  }
}

async function announce(facts: object): Promise<void> {
  console.log(JSON.stringify(facts));
  await Deno.stdin.read(new Uint8Array(1));
  Deno.exit();
}

function servePod({ ip, ports }: RunningPod): void {
  for (const port of new Set(ports)) listen({ hostname: ip, port }, serve);
}

function listen(address: Deno.ListenOptions, serve: (connection: Deno.TcpConn) => Promise<void>): number {
  const listener = Deno.listen(address);
  void (async () => {
    for await (const connection of listener) {
      connection.setNoDelay(true);
      void serve(connection).catch(() => {}).finally(() => close(connection));
    }
  })();
  return listener.addr.port;
}

async function serve(connection: Deno.TcpConn): Promise<void> {
  const buffer = new Uint8Array(CHUNK_BYTES);
  const first = new Uint8Array(1);
  if (await connection.read(first) === null) return;
  if (first[0] === STALLED) return await new Promise(() => {});
  while (first[0] === SOURCE) await connection.write(buffer);
  for (let count; (count = await connection.read(buffer)) !== null;) {
    await writeAll(connection, buffer.subarray(0, count));
  }
}

function relayTcp(target: Deno.ConnectOptions): number {
  return listen({ hostname: "127.0.0.1", port: 0 }, async (viewer) => {
    const pod = await Deno.connect(target);
    pod.setNoDelay(true);
    await Promise.race([copy(viewer, pod), copy(pod, viewer)]).finally(() => close(pod));
  });
}

async function copy(from: Deno.Conn, to: Deno.Conn): Promise<void> {
  const buffer = new Uint8Array(CHUNK_BYTES);
  for (let count; (count = await from.read(buffer)) !== null;) await writeAll(to, buffer.subarray(0, count));
}

function relayWebSockets(target: Deno.ConnectOptions): number {
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    const { socket, response } = Deno.upgradeWebSocket(request);
    socket.binaryType = "arraybuffer";
    socket.onerror = () => {};
    socket.onopen = () => void relay(socket, target).catch(() => {}).finally(() => socket.close());
    return response;
  });
  return server.addr.port;
}

async function relay(socket: WebSocket, target: Deno.ConnectOptions): Promise<void> {
  const connecting = Deno.connect(target);
  let sent = Promise.resolve();
  socket.onmessage = ({ data }) => {
    sent = sent.then(async () => await writeAll(await connecting, new Uint8Array(data as ArrayBuffer)));
    sent.catch(() => socket.close());
  };
  const pod = await connecting;
  pod.setNoDelay(true);
  socket.onclose = () => close(pod);
  const buffer = new Uint8Array(CHUNK_BYTES);
  for (let count; (count = await pod.read(buffer)) !== null;) {
    await decongested(socket, {
      congestedBytes: CONGESTED_BYTES,
      isClosed: () => socket.readyState !== WebSocket.OPEN,
    });
    socket.send(buffer.slice(0, count));
  }
}

async function writeAll(connection: Deno.Conn, bytes: Uint8Array): Promise<void> {
  let rest = bytes;
  while (rest.length > 0) rest = rest.subarray(await connection.write(rest));
}

function close(connection: Deno.Conn): void {
  try {
    connection.close();
  } catch {
    // Closed before.
  }
}

if (import.meta.main) await main();
