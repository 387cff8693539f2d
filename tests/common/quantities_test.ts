import { assertEquals } from "@std/assert";
import {
  formatDuration,
  parseCores,
  parseDuration,
  parseMemory,
  parseQuantity,
} from "../../lib/common/quantities.ts";

type Case = [text: string, expected: number | undefined];

const QUANTITIES: Case[] = [
  ["2Gi", 2 * 2 ** 30],
  ["512Mi", 512 * 2 ** 20],
  ["1Ki", 1024],
  ["2G", 2e9],
  ["5k", 5000],
  ["1000m", 1],
  ["0.5", 0.5],
  ["0", 0],
  ["999999999999999", 999999999999999],
  ["", undefined],
  ["Gi", undefined],
  ["2GB", undefined],
  ["2gi", undefined],
  ["2 Gi", undefined],
  [" 2Gi", undefined],
  ["2Gi\n", undefined],
  ["-1", undefined],
  ["+1", undefined],
  ["1e3", undefined],
  ["1.", undefined],
  [".5", undefined],
  ["1..5", undefined],
  ["NaN", undefined],
  ["Infinity", undefined],
  ["0x10", undefined],
  ["٣Gi", undefined],
  ["1000000000000000", undefined],
  ["2Gi; rm -rf /", undefined],
  ["9".repeat(2 ** 20), undefined],
];

const CORES: Case[] = [
  ["100", 100],
  ["64 cores", 64],
  ["1 core", 1],
  ["8CPUs", 8],
  ["1 cpu", 1],
  ["64000m", 64],
  ["1500m", 1],
  ["2.9", 2],
  [" 4 ", 4],
  ["0", 0],
  ["", undefined],
  ["many", undefined],
  ["-4", undefined],
  ["4 sockets", undefined],
  ["4 4", undefined],
  ["1e2", undefined],
  ["__proto__", undefined],
];

const MEMORY: Case[] = [
  ["128", 128],
  ["128GB", 128],
  ["128G", 128],
  ["128Gi", 128],
  ["128GiB", 128],
  ["128 gb", 128],
  ["65536Mi", 64],
  ["65536MB", 64],
  ["1T", 1024],
  ["2Ti", 2048],
  ["1.5T", 1536],
  [" 16Gi ", 16],
  ["512Mi", 0],
  ["", undefined],
  ["Gi", undefined],
  ["128Kb", undefined],
  ["128 bytes", undefined],
  ["1,5T", undefined],
  ["-1Gi", undefined],
  ["constructor", undefined],
];

const DURATIONS: Case[] = [
  ["10s", 10_000],
  ["500ms", 500],
  ["2m", 120_000],
  ["1h", 3_600_000],
  ["30", 30_000],
  ["1.5s", 1500],
  [" 10 s ", 10_000],
  ["0", 0],
  ["", undefined],
  ["10S", undefined],
  ["1m30s", 90_000],
  ["1h 30m", 5_400_000],
  ["1.5h", 5_400_000],
  ["1h30", undefined],
  ["h", undefined],
  ["1s1", undefined],
  ["-1s", undefined],
  ["soon", undefined],
  ["toString", undefined],
];

const TABLES: Array<[name: string, parse: (text: string) => number | undefined, cases: Case[]]> = [
  ["parseQuantity()", parseQuantity, QUANTITIES],
  ["parseCores()", parseCores, CORES],
  ["parseMemory()", parseMemory, MEMORY],
  ["parseDuration()", parseDuration, DURATIONS],
];

for (const [name, parse, cases] of TABLES) {
  for (const [text, expected] of cases) {
    Deno.test(`${name} parses ${JSON.stringify(text.slice(0, 20))} as ${expected}`, () => {
      assertEquals(parse(text), expected);
    });
  }
}

Deno.test("formatDuration() formats milliseconds for display", () => {
  const seconds = [0, 0.5, 0.999, 1, 1.5, 10, 60, 90, 120, 3600, 5400, 28_801, 90_000];
  assertEquals(
    seconds.map((amount) => formatDuration(amount * 1000)).join(" "),
    "0ms 500ms 999ms 1s 1.5s 10s 1m 1m30s 2m 1h 1h30m 8h1s 25h",
  );
});

Deno.test("formatDuration() rounds 60 seconds up to a minute", () => {
  assertEquals([999.6, 59_960, 119_999, 3_599_999].map(formatDuration), ["1s", "1m", "2m", "1h"]);
});
