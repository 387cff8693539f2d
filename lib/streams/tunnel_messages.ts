/**
 * The messages of the tunnel protocol `streamspace.tunnel.v1`: each binary WebSocket message is a type (1 byte), a stream (4 bytes, big-endian) and
 * a payload. Pure. `docs/streams.md` describes the protocol.
 * @module
 */
import * as v from "valibot";

/** WebSocket subprotocol of the tunnel. */
export const TUNNEL_PROTOCOL = "streamspace.tunnel.v1";
/** Name of the tunnel among the features of a registration. */
export const TUNNEL_FEATURE = "tunnel.v1";
/** Largest payload of a message that this side accepts, in bytes. */
export const MAX_PAYLOAD = 65_536;

/** Why a stream was reset. */
export const RESET_CODES = [
  "unknown-session",
  "not-running",
  "port-not-declared",
  "refused",
  "unreachable",
  "timeout",
  "forbidden",
  "flow-control",
  "too-many-streams",
  "pod-gone",
  "stopping",
  "protocol",
  "cancelled",
] as const;

/** A code of {@linkcode RESET_CODES}. */
export type ResetCode = (typeof RESET_CODES)[number];

/** A message. Numbers of bytes are integers from 0 to 2³² - 1. */
export type TunnelMessage =
  | { readonly type: "hello"; readonly maxPayload: number; readonly maxStreams: number }
  | OpenMessage
  | {
    readonly type: "accept";
    readonly stream: number;
    readonly port: number;
    readonly podName: string;
    readonly window: number;
  }
  | { readonly type: "data"; readonly stream: number; readonly bytes: Uint8Array }
  | { readonly type: "credit"; readonly stream: number; readonly bytes: number }
  | { readonly type: "fin"; readonly stream: number }
  | { readonly type: "reset"; readonly stream: number; readonly code: string; readonly message: string }
  | { readonly type: "goaway"; readonly message: string };

/** Requests a stream; without a port, to the display port. */
export interface OpenMessage {
  readonly type: "open";
  readonly stream: number;
  readonly sessionId: string;
  readonly port?: number | undefined;
  /** Bytes that the agent may send before it gets credit. */
  readonly window: number;
}

/** A received message that ends the tunnel. */
export class TunnelProtocolError extends Error {
  override readonly name = "TunnelProtocolError";
}

/** A stream ended early. */
export class StreamResetError extends Error {
  override readonly name = "StreamResetError";
  /** A code of {@linkcode RESET_CODES}, or one of a later version of the protocol. */
  readonly code: ResetCode | (string & Record<never, never>);

  constructor(code: StreamResetError["code"], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

const TYPES = { hello: 1, open: 2, accept: 3, data: 4, credit: 5, fin: 6, reset: 7, goaway: 8 } as const;
const NAMES: ReadonlyMap<number, keyof typeof TYPES> = new Map(
  (Object.keys(TYPES) as Array<keyof typeof TYPES>).map((name) => [TYPES[name], name]),
);
const HEADER_BYTES = 5;
/** Largest message that this side sends, in bytes. */
export const MAX_MESSAGE_BYTES = HEADER_BYTES + MAX_PAYLOAD;
const VERSION = 1;

const COUNT = v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(2 ** 32 - 1));
const POSITIVE = v.pipe(COUNT, v.minValue(1));
const PORT = v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(65_535));
const HELLO = v.object({ version: v.literal(VERSION), maxPayload: POSITIVE, maxStreams: POSITIVE });
const OPEN = v.object({
  sessionId: v.pipe(v.string(), v.minLength(1), v.maxLength(1024)),
  port: v.optional(PORT),
  window: COUNT,
});
const ACCEPT = v.object({ port: PORT, podName: v.string(), window: COUNT });
const RESET = v.object({ code: v.string(), message: v.string() });
const GOAWAY = v.object({ message: v.string() });

/**
 * Encodes a message.
 *
 * @param buffer what the message is written to, if it has room for it. @default {a new buffer}
 * @returns the message, which is the written part of the buffer if it had room
 */
export function encodeMessage(
  message: TunnelMessage,
  buffer?: Uint8Array<ArrayBuffer>,
): Uint8Array<ArrayBuffer> {
  const stream = "stream" in message ? message.stream : 0;
  const payload = payloadOf(message);
  const length = HEADER_BYTES + payload.length;
  const frame = buffer && length <= buffer.length ? buffer.subarray(0, length) : new Uint8Array(length);
  frame[0] = TYPES[message.type];
  new DataView(frame.buffer, frame.byteOffset).setUint32(1, stream);
  frame.set(payload, HEADER_BYTES);
  return frame;
}

function payloadOf(message: TunnelMessage): Uint8Array {
  switch (message.type) {
    case "data":
      return message.bytes;
    case "credit": {
      const bytes = new Uint8Array(4);
      new DataView(bytes.buffer).setUint32(0, message.bytes);
      return bytes;
    }
    case "fin":
      return new Uint8Array(0);
    case "hello":
      return json({ version: VERSION, maxPayload: message.maxPayload, maxStreams: message.maxStreams });
    default: {
      const { type: _type, stream: _stream, ...fields } = { stream: 0, ...message };
      return json(fields);
    }
  }
}

function json(value: object): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}

/**
 * Decodes a message.
 *
 * @throws {TunnelProtocolError} if it ends the tunnel: an unknown type, a truncated header, stream 0 where a stream is required, or a wrong HELLO
 * @throws {MalformedStreamError} if only its stream ends: the payload is wrong
 */
export function decodeMessage(frame: Uint8Array): TunnelMessage {
  if (frame.length < HEADER_BYTES) throw new TunnelProtocolError("a message is shorter than its header");
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const code = view.getUint8(0);
  const stream = view.getUint32(1);
  const payload = frame.subarray(HEADER_BYTES);
  const type = NAMES.get(code);
  if (!type) throw new TunnelProtocolError(`a message has the unknown type ${code}`);
  const isOfTunnel = type === "hello" || type === "goaway";
  if (isOfTunnel !== (stream === 0)) {
    throw new TunnelProtocolError(`a message ${type} is of stream ${stream}`);
  }
  try {
    return decodePayload(type, { stream, payload });
  } catch (error) {
    const problem = `the payload of a message ${type} is invalid`;
    if (isOfTunnel) throw new TunnelProtocolError(problem, { cause: error });
    throw new MalformedStreamError(stream, problem, { cause: error });
  }
}

/** A message whose stream must be reset. */
export class MalformedStreamError extends Error {
  override readonly name = "MalformedStreamError";
  readonly stream: number;

  constructor(stream: number, message: string, options?: ErrorOptions) {
    super(message, options);
    this.stream = stream;
  }
}

function decodePayload(
  type: keyof typeof TYPES,
  { stream, payload }: { stream: number; payload: Uint8Array },
): TunnelMessage {
  switch (type) {
    case "hello": {
      const { maxPayload, maxStreams } = parse(HELLO, payload);
      return { type, maxPayload, maxStreams };
    }
    case "open":
      return { type, stream, ...parse(OPEN, payload) };
    case "accept":
      return { type, stream, ...parse(ACCEPT, payload) };
    case "data":
      if (payload.length === 0) throw new RangeError("no bytes");
      return { type, stream, bytes: payload };
    case "credit":
      if (payload.length !== 4) throw new RangeError("not 4 bytes");
      return { type, stream, bytes: new DataView(payload.buffer, payload.byteOffset).getUint32(0) };
    case "fin":
      if (payload.length !== 0) throw new RangeError("not empty");
      return { type, stream };
    case "reset":
      return { type, stream, ...parse(RESET, payload) };
    case "goaway":
      return { type, ...parse(GOAWAY, payload) };
  }
}

function parse<T>(schema: v.GenericSchema<unknown, T>, payload: Uint8Array): T {
  return v.parse(schema, JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(payload)));
}
