import { assertEquals, assertRejects } from "@std/assert";
import { Lanes } from "../../lib/commands/lanes.ts";
import { BusySessions } from "../../lib/status/busy_sessions.ts";

/** Lanes whose tasks the test ends, with a record of what happens. */
class Bench {
  readonly events: string[] = [];
  readonly lanes: Lanes<string>;
  readonly #ends = new Map<string, PromiseWithResolvers<void>>();

  constructor() {
    const busy = new BusySessions();
    busy.onIdle((sessionId) => this.events.push(`${sessionId} is idle`));
    this.lanes = new Lanes(busy);
  }

  take(sessionId: string, task: string): Promise<void> {
    const end = Promise.withResolvers<void>();
    this.#ends.set(task, end);
    return this.lanes.take(sessionId, task, () => {
      this.events.push(`${task} starts`);
      return end.promise;
    });
  }

  async end(task: string, error?: Error): Promise<void> {
    const end = this.#ends.get(task);
    if (error) end?.reject(error);
    else end?.resolve();
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
}

Deno.test("Lanes run the tasks of a session one after the other, and sessions in parallel", async () => {
  const bench = new Bench();
  const all = [bench.take("s1", "a"), bench.take("s1", "b"), bench.take("s2", "c")];
  await bench.end("b");
  assertEquals(bench.events, ["a starts", "c starts"]);
  assertEquals([bench.lanes.of("s1"), bench.lanes.of("s3")], [["a", "b"], []]);
  assertEquals(bench.lanes.all(), ["a", "b", "c"]);
  await bench.end("a");
  await bench.end("c");
  await Promise.all(all);
  assertEquals(bench.events.slice(2), ["b starts", "s1 is idle", "s2 is idle"]);
  assertEquals(bench.lanes.isEmpty, true);
});

Deno.test("Lanes continue after a failed task, whose promise rejects", async () => {
  const bench = new Bench();
  const failing = assertRejects(() => bench.take("s1", "a"), Error, "broken");
  const next = bench.take("s1", "b");
  await bench.end("a", new Error("broken"));
  await failing;
  await bench.end("b");
  await next;
  assertEquals(bench.events, ["a starts", "b starts", "s1 is idle"]);
});

Deno.test("Lanes.done() resolves when all current tasks have ended", async () => {
  const bench = new Bench();
  const failing = assertRejects(() => bench.take("s1", "a"));
  let isDone = false;
  const done = bench.lanes.done().then(() => isDone = true);
  await bench.end("none");
  assertEquals(isDone, false);
  await bench.end("a", new Error("broken"));
  await Promise.all([done, failing]);
});
