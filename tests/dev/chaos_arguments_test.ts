import { assertEquals, assertThrows } from "@std/assert";
import { readArguments } from "../../dev/chaos/arguments.ts";

Deno.test("readArguments() parses all flags", () => {
  const given = readArguments(["--seed", "7", "--duration=5m", "--api-server-pid", "12", "--output", "o.md"]);
  assertEquals(given, {
    seed: 7,
    durationMs: 300_000,
    kubeconfig: undefined,
    apiServerPid: 12,
    output: "o.md",
  });
});

Deno.test("readArguments() rejects unknown flags and invalid values", () => {
  for (const args of [["--sed", "7"], ["fast"], ["--seed", "-1"], ["--seed", "x"], ["--duration", "5"]]) {
    assertThrows(() => readArguments(args), TypeError);
  }
});
