/**
 * Port forwarding: the subresource `pods/portforward` over a WebSocket, as API server and kubelet serve it together. Each message is a channel byte
 * and bytes: channel 0 has data, channel 1 errors; both begin with the port. One port per connection.
 * @module
 */
import { delay } from "@std/async";
import { ApiError, badRequest } from "./api_error.ts";
import type { Pod } from "./api_objects.ts";

const PROTOCOL = "v4.channel.k8s.io";
const DATA = 0;
const ERROR = 1;
/** The pod is not read while more bytes than this wait to be sent. */
const CONGESTED_BYTES = 256 * 1024;
const CONGESTION_POLL_MS = 1;

/**
 * Connects a client with a port of a pod.
 * @throws {ApiError} when the request is refused
 */
export function forwardPort(pod: Pod, query: URLSearchParams, request: Request): Response {
  const port = portOf(query);
  if (!pod.spec.nodeName) throw badRequest(`pod ${pod.metadata.name} does not have a host assigned`);
  if (request.headers.get("upgrade")?.toLowerCase() !== "websocket") {
    throw badRequest("Upgrade request required");
  }
  const protocols = request.headers.get("sec-websocket-protocol")?.split(",").map((one) => one.trim());
  if (!protocols?.includes(PROTOCOL)) {
    throw new ApiError(403, "Forbidden", { message: `the subprotocol must be ${PROTOCOL}` });
  }
  const { socket, response } = Deno.upgradeWebSocket(request, { protocol: PROTOCOL });
  socket.binaryType = "arraybuffer";
  socket.onerror = () => {};
  socket.onopen = () => void forward(socket, { pod, port });
  return response;
}

function portOf(query: URLSearchParams): number {
  const ports = query.getAll("ports");
  if (ports.length === 0) throw badRequest('query parameter "port" is required');
  if (ports.length > 1) throw badRequest("this cluster forwards one port per connection");
  const port = Number(ports[0]);
  if (!(Number.isInteger(port) && port > 0 && port < 65_536)) {
    throw badRequest(`port ${JSON.stringify(ports[0])} must be > 0`);
  }
  return port;
}

/** Copies in both directions until one side ends. */
async function forward(socket: WebSocket, { pod, port }: { pod: Pod; port: number }): Promise<void> {
  const preface = new Uint8Array([port & 0xff, port >> 8]);
  send(socket, DATA, preface);
  send(socket, ERROR, preface);
  const connecting = connect(pod, port);
  let last: Promise<void> = Promise.resolve();
  socket.onmessage = ({ data }) => {
    if (!(data instanceof ArrayBuffer) || new Uint8Array(data)[0] !== DATA) return;
    // In order. The client is not slowed down, because the WebSocket API has no back-pressure.
    last = last.then(async () => await writeAll(await connecting, new Uint8Array(data, 1)));
    last.catch(() => socket.close());
  };
  socket.onclose = () => {
    // What the client sent before its end still reaches the pod.
    void last.then(() => connecting).then(closeIfOpen, () => connecting.then(closeIfOpen, () => {}));
  };
  try {
    await copy(await connecting, socket);
  } catch (error) {
    const { name, namespace, uid } = pod.metadata;
    const reason = error instanceof Error ? error.message : error;
    const text = `error forwarding port ${port} to pod ${namespace}/${name}, uid ${uid}: ${reason}`;
    send(socket, ERROR, new TextEncoder().encode(text));
  }
  socket.close();
}

/** Copies what the pod sends until it sends no more. */
async function copy(connection: Deno.TcpConn, socket: WebSocket): Promise<void> {
  const buffer = new Uint8Array(32 * 1024);
  while (true) {
    const count = await connection.read(buffer);
    if (count === null) return;
    send(socket, DATA, buffer.subarray(0, count));
    while (socket.bufferedAmount > CONGESTED_BYTES && socket.readyState === WebSocket.OPEN) {
      await delay(CONGESTION_POLL_MS);
    }
  }
}

async function connect({ status, metadata }: Pod, port: number): Promise<Deno.TcpConn> {
  if (status.phase !== "Running" || !status.podIP) throw new Error(`pod ${metadata.name} is not running`);
  return await Deno.connect({ hostname: status.podIP, port });
}

async function writeAll(connection: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  let rest = bytes;
  while (rest.length > 0) rest = rest.subarray(await connection.write(rest));
}

function send(socket: WebSocket, channel: number, bytes: Uint8Array): void {
  if (socket.readyState !== WebSocket.OPEN) return;
  const message = new Uint8Array(1 + bytes.length);
  message[0] = channel;
  message.set(bytes, 1);
  socket.send(message);
}

function closeIfOpen(connection: Deno.TcpConn): void {
  try {
    connection.close();
  } catch {
    // Closed before.
  }
}
