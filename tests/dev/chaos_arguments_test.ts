import { assertEquals, assertThrows } from "@std/assert";
import { readArguments } from "../../dev/chaos/arguments.ts";

Deno.test("chaos reads its command line", () => {
  const given = readArguments(["--seed", "7", "--duration=5m", "--api-server-pid", "12", "--output", "o.md"]);
  assertEquals(given, {
    seed: 7,
    durationMs: 300_000,
    kubeconfig: undefined,
    apiServerPid: 12,
    output: "o.md",
  });
});

Deno.test("chaos refuses what it does not know, and amounts that are none", () => {
  for (const args of [["--sed", "7"], ["fast"], ["--seed", "-1"], ["--seed", "x"], ["--duration", "5"]]) {
    assertThrows(() => readArguments(args), TypeError);
  }
});
