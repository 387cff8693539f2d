/**
 * A small desktop: a clock in a panel, a window that shows what is typed, and the pointer. It draws into a framebuffer of 32-bit pixels.
 * @module
 */
import { GLYPH, glyphRows } from "./font.ts";

/** A color as 0xRRGGBB. */
type Color = number;

interface Rectangle {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** Size of the screen in pixels. */
export const SCREEN = { width: 800, height: 500 } as const;

const BACKGROUND: Color = 0x2b5876;
const PANEL: Color = 0x14222e;
const LIGHT: Color = 0xffffff;
const TITLE: Color = 0x3f7fb5;
const PAPER: Color = 0xf7f7f2;
const INK: Color = 0x1d1d1d;
const POINTER: Color = 0xffcc00;
const PRESSED: Color = 0xff5533;

const PANEL_HEIGHT = 36;
const WINDOW: Rectangle = { x: 80, y: 90, width: 640, height: 320 };
const TITLE_HEIGHT = 34;
const MARGIN = 14;
/** Enlargement of the font, and the distances between characters and between lines, in pixels. */
const SCALE = 2;
const ADVANCE = (GLYPH.width + 1) * SCALE;
const LINE_HEIGHT = (GLYPH.height + 3) * SCALE;
const COLUMNS = Math.floor((WINDOW.width - 2 * MARGIN) / ADVANCE);
const LINES = Math.floor((WINDOW.height - TITLE_HEIGHT - 2 * MARGIN) / LINE_HEIGHT);
const POINTER_SIZE = 14;

/** Key symbols of X11 that are not characters: https://www.x.org/releases/current/doc/xproto/x11protocol.html#keysym_encoding */
const BACKSPACE = 0xff08;
const RETURN = 0xff0d;

/** A desktop that one or more viewers share. */
export class Desktop {
  /** The pixels of the screen, row by row, as 0x00RRGGBB. */
  readonly pixels = new Uint32Array(SCREEN.width * SCREEN.height);
  readonly #title: string;
  #text = "";
  #pointer = { x: SCREEN.width / 2, y: SCREEN.height - 60, isPressed: false };
  #clock = "";
  #version = 0;

  /** @param title what the title of the window says */
  constructor(title: string) {
    this.#title = title;
    this.#draw();
  }

  /** What was typed. */
  get text(): string {
    return this.#text;
  }

  /** Increases with each change of the picture. */
  get version(): number {
    const clock = timeOfDay();
    if (clock !== this.#clock) this.#draw();
    return this.#version;
  }

  /** Handles a pressed key. @param symbol of X11, which for printable characters of Latin-1 is their code */
  press(symbol: number): void {
    if (symbol === BACKSPACE) this.#text = this.#text.slice(0, -1);
    else if (symbol === RETURN) this.#text += "\n";
    else if (symbol >= 0x20 && symbol < 0x7f) this.#text += String.fromCharCode(symbol);
    else return;
    this.#draw();
  }

  /** Adds text, such as that of a viewer's clipboard. */
  paste(text: string): void {
    this.#text += text.replace(/[^\x20-\x7e\n]/g, "");
    this.#draw();
  }

  /** Moves the pointer. */
  point(x: number, y: number, isPressed: boolean): void {
    this.#pointer = { x, y, isPressed };
    this.#draw();
  }

  #draw(): void {
    this.#clock = timeOfDay();
    const { width, height } = SCREEN;
    this.#fill({ x: 0, y: 0, width, height }, BACKGROUND);
    this.#fill({ x: 0, y: 0, width, height: PANEL_HEIGHT }, PANEL);
    this.#write("StreamSpace", { x: MARGIN, y: 11 }, LIGHT);
    this.#write(this.#clock, { x: width - MARGIN - this.#clock.length * ADVANCE, y: 11 }, LIGHT);
    this.#fill(WINDOW, PAPER);
    this.#fill({ ...WINDOW, height: TITLE_HEIGHT }, TITLE);
    const left = WINDOW.x + MARGIN;
    this.#write(this.#title.slice(0, COLUMNS), { x: left, y: WINDOW.y + 10 }, LIGHT);
    const top = WINDOW.y + TITLE_HEIGHT + MARGIN;
    for (const [i, line] of this.#lines().entries()) {
      this.#write(line, { x: left, y: top + i * LINE_HEIGHT }, INK);
    }
    this.#drawPointer();
    this.#version++;
  }

  /** The last lines of the text, with a cursor at its end. */
  #lines(): string[] {
    const wrapped = `${this.#text || "Type here:"}_`.split("\n").flatMap((line) =>
      line.match(new RegExp(`.{1,${COLUMNS}}`, "g")) ?? [""]
    );
    return wrapped.slice(-LINES);
  }

  /** An arrow: each row is one pixel wider than the one above. */
  #drawPointer(): void {
    const { x, y, isPressed } = this.#pointer;
    for (let row = 0; row < POINTER_SIZE; row++) {
      this.#fill({ x, y: y + row, width: row + 1, height: 1 }, isPressed ? PRESSED : POINTER);
    }
  }

  #write(text: string, { x, y }: { x: number; y: number }, color: Color): void {
    for (const [i, character] of Array.from(text).entries()) {
      for (const [row, bits] of glyphRows(character).entries()) {
        for (let column = 0; column < GLYPH.width; column++) {
          if ((bits >> (GLYPH.width - 1 - column) & 1) === 0) continue;
          const pixel = { x: x + i * ADVANCE + column * SCALE, y: y + row * SCALE };
          this.#fill({ ...pixel, width: SCALE, height: SCALE }, color);
        }
      }
    }
  }

  #fill({ x, y, width, height }: Rectangle, color: Color): void {
    const right = Math.min(x + width, SCREEN.width);
    const bottom = Math.min(y + height, SCREEN.height);
    for (let row = Math.max(y, 0); row < bottom; row++) {
      this.pixels.fill(color, row * SCREEN.width + Math.max(x, 0), row * SCREEN.width + right);
    }
  }
}

function timeOfDay(): string {
  return new Date().toTimeString().slice(0, 8);
}
