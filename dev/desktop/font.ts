/**
 * A bitmap font of 5 by 7 pixels for the printable characters of ASCII.
 * @module
 */

/** Size of a character in pixels, without the space around it. */
export const GLYPH = { width: 5, height: 7 } as const;

/** The rows of all glyphs from space to tilde, seven digits of base 32 for each; the highest bit is the leftmost pixel. */
const ROWS =
  "00000004444404aaa0000aavavaa4fke5u4pp248jjcik8lid44800002488842842224804lel40044v4400000c48000v000" +
  "00000cc01248g0ehjlphe4c4444eeh1248vv2421he26aiv22vgu11he68guhhev124888ehhehheehhf12c0cc0cc00cc0c48" +
  "248g84200v0v008421248eh12404eh1dlleehhvhhhuhhuhhuehggghesihhhisvgguggvvggugggehgnhhfhhhvhhhe44444e" +
  "72222ichikokihggggggvhrllhhhhhpljhhehhhhheuhhugggehhhliduhhukihfgge11uv444444hhhhhhehhhhha4hhhllla" +
  "hha4ahhhhha444v1248gve88888e0g84210e22222e4ah0000000000v842000000e1fhfggmphhu00egghe11djhhf00ehvge" +
  "698s8880fhhf1eggmphhh40c444e20622icggikokic44444e00qllhh00mphhh00ehhhe00uhugg00djf1100mpggg00ege1u" +
  "88s889600hhhjd00hhha400hhlla00ha4ah00hhf1e00v248v244844244444448442448008l200";

const FIRST = 0x20;
const LAST = 0x7e;

/** The rows of a character from the top, five bits each; characters that the font does not have look like a question mark. */
export function glyphRows(character: string): readonly number[] {
  const code = character.charCodeAt(0);
  const index = (code >= FIRST && code <= LAST ? code : "?".charCodeAt(0)) - FIRST;
  const digits = ROWS.slice(index * GLYPH.height, (index + 1) * GLYPH.height);
  return Array.from(digits, (digit) => parseInt(digit, 32));
}
