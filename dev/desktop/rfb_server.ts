/**
 * A server of RFB 3.8 without authentication and with Raw encoding, which shows a desktop to each connection.
 * Source: https://www.rfc-editor.org/rfc/rfc6143
 * @module
 */
import { delay } from "@std/async";
import { type Desktop, SCREEN } from "./desktop.ts";

/** The greeting of both sides. */
export const RFB_GREETING = "RFB 003.008\n";

const SECURITY_NONE = 1;
const RAW = 0;
/** How often a changed picture is sent to a viewer that waits for one, in milliseconds. */
const FRAME_MS = 40;
/** Longest text that a viewer may put into the clipboard, in bytes. */
const MAX_CUT_TEXT = 1 << 20;

/** Messages of the viewer, by type: RFC 6143, section 7.5. */
const SET_PIXEL_FORMAT = 0;
const SET_ENCODINGS = 2;
const UPDATE_REQUEST = 3;
const KEY_EVENT = 4;
const POINTER_EVENT = 5;
const CUT_TEXT = 6;

/** How a viewer wants the pixels: 32 bits each, with any order of the colors. */
interface PixelFormat {
  readonly isBigEndian: boolean;
  readonly redShift: number;
  readonly greenShift: number;
  readonly blueShift: number;
}

const DEFAULT_FORMAT: PixelFormat = { isBigEndian: false, redShift: 16, greenShift: 8, blueShift: 0 };

/** A viewer sent what RFC 6143 does not allow, or what this server does not support. */
export class RfbError extends Error {
  override readonly name = "RfbError";
}

/** Serves one viewer until it disconnects; closes the connection. */
export async function serveRfb(connection: Deno.Conn, desktop: Desktop): Promise<void> {
  const ended = new AbortController();
  const viewer = new Viewer(connection, desktop);
  try {
    await viewer.greet();
    const updates = viewer.sendUpdates(ended.signal);
    await Promise.race([updates, viewer.readMessages()]);
  } catch (error) {
    if (!isDisconnect(error)) throw error;
  } finally {
    ended.abort();
    closeIfOpen(connection);
  }
}

/** Closes a connection that its other user may have closed. */
export function closeIfOpen(connection: Deno.Conn): void {
  try {
    connection.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}

class Viewer {
  readonly #connection: Deno.Conn;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #desktop: Desktop;
  #format = DEFAULT_FORMAT;
  /** The version of the picture that the viewer has; `undefined` after a request for all of it. */
  #shown: number | undefined;
  #isWaiting = false;

  constructor(connection: Deno.Conn, desktop: Desktop) {
    this.#connection = connection;
    this.#writer = connection.writable.getWriter();
    this.#desktop = desktop;
  }

  /** The handshake, and the initialization with the size and name of the desktop. */
  async greet(): Promise<void> {
    await this.#writer.write(encode(RFB_GREETING));
    const greeting = new TextDecoder().decode(await this.#read(RFB_GREETING.length));
    if (!/^RFB 003\.00[378]\n$/.test(greeting)) {
      throw new RfbError(`Not a greeting of RFB: ${JSON.stringify(greeting)}`);
    }
    await this.#writer.write(new Uint8Array([1, SECURITY_NONE]));
    const [security] = await this.#read(1);
    if (security !== SECURITY_NONE) throw new RfbError(`The security type ${security} was not offered`);
    await this.#writer.write(new Uint8Array(4));
    await this.#read(1);
    const name = encode("StreamSpace desktop");
    const message = new DataView(new ArrayBuffer(24));
    message.setUint16(0, SCREEN.width);
    message.setUint16(2, SCREEN.height);
    message.setUint8(4, 32);
    message.setUint8(5, 24);
    message.setUint8(7, 1);
    for (const offset of [8, 10, 12]) message.setUint16(offset, 255);
    for (const [i, shift] of [16, 8, 0].entries()) message.setUint8(14 + i, shift);
    message.setUint32(20, name.length);
    await this.#writer.write(new Uint8Array(message.buffer));
    await this.#writer.write(name);
  }

  /** Handles the viewer's messages until it disconnects. */
  async readMessages(): Promise<void> {
    while (true) {
      const [type] = await this.#read(1);
      switch (type) {
        case SET_PIXEL_FORMAT:
          this.#format = readFormat(view(await this.#read(19)));
          break;
        case SET_ENCODINGS:
          // Raw is allowed whatever the viewer prefers.
          await this.#read(4 * view(await this.#read(3)).getUint16(1));
          break;
        case UPDATE_REQUEST: {
          const [isIncremental] = await this.#read(9);
          if (isIncremental === 0) this.#shown = undefined;
          this.#isWaiting = true;
          break;
        }
        case KEY_EVENT: {
          const event = view(await this.#read(7));
          if (event.getUint8(0) === 1) this.#desktop.press(event.getUint32(3));
          break;
        }
        case POINTER_EVENT: {
          const event = view(await this.#read(5));
          this.#desktop.point(event.getUint16(1), event.getUint16(3), event.getUint8(0) !== 0);
          break;
        }
        case CUT_TEXT: {
          const length = view(await this.#read(7)).getUint32(3);
          if (length > MAX_CUT_TEXT) throw new RfbError(`A text of ${length} bytes is too long`);
          this.#desktop.paste(new TextDecoder("latin1").decode(await this.#read(length)));
          break;
        }
        default:
          throw new RfbError(`Unknown message type ${type}`);
      }
    }
  }

  /** Sends the picture when it has changed and the viewer waits for it. */
  async sendUpdates(signal: AbortSignal): Promise<void> {
    while (true) {
      const { version } = this.#desktop;
      if (this.#isWaiting && version !== this.#shown) {
        this.#isWaiting = false;
        this.#shown = version;
        await this.#writer.write(this.#update());
      }
      await delay(FRAME_MS, { signal });
    }
  }

  /** The whole screen as one rectangle. */
  #update(): Uint8Array<ArrayBuffer> {
    const { pixels } = this.#desktop;
    const { isBigEndian, redShift, greenShift, blueShift } = this.#format;
    const header = 16;
    const message = new DataView(new ArrayBuffer(header + pixels.length * 4));
    message.setUint16(2, 1);
    message.setUint16(8, SCREEN.width);
    message.setUint16(10, SCREEN.height);
    message.setInt32(12, RAW);
    for (let i = 0; i < pixels.length; i++) {
      const pixel = pixels[i] ?? 0;
      const red = (pixel >> 16 & 255) << redShift;
      const green = (pixel >> 8 & 255) << greenShift;
      const blue = (pixel & 255) << blueShift;
      message.setUint32(header + i * 4, (red | green | blue) >>> 0, !isBigEndian);
    }
    return new Uint8Array(message.buffer);
  }

  async #read(length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    for (let filled = 0; filled < length;) {
      const count = await this.#connection.read(bytes.subarray(filled));
      if (count === null) throw new Deno.errors.UnexpectedEof("The viewer has disconnected");
      filled += count;
    }
    return bytes;
  }
}

/** Reads a pixel format, after three bytes of padding. */
function readFormat(message: DataView): PixelFormat {
  const bits = message.getUint8(3);
  if (bits !== 32) throw new RfbError(`Pixels of ${bits} bits are not supported`);
  return {
    isBigEndian: message.getUint8(5) !== 0,
    redShift: message.getUint8(13),
    greenShift: message.getUint8(14),
    blueShift: message.getUint8(15),
  };
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function encode(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}

function isDisconnect(error: unknown): boolean {
  return error instanceof RfbError || error instanceof Deno.errors.UnexpectedEof ||
    error instanceof Deno.errors.ConnectionReset || error instanceof Deno.errors.BrokenPipe ||
    error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted;
}
