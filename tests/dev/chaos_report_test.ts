import { assertEquals } from "@std/assert";
import { footprintTable } from "../../dev/chaos/report.ts";

Deno.test("footprintTable() lists the leader's usage, and times without a leader", () => {
  const usage = { openFiles: 71, memoryMb: 90, anonymousMb: 36 };
  const lines = footprintTable([
    { atMs: 300_000, leader: { name: "b2", usage } },
    { atMs: 600_000, leader: undefined },
  ]).split("\n");
  const cells = lines.slice(2).map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()));
  assertEquals(cells, [["5.0", "b2", "36 MB", "71"], ["10.0", "none", "", ""]]);
});
