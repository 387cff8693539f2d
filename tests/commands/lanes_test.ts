import { assertEquals, assertRejects } from "@std/assert";
import { Lanes } from "../../lib/commands/lanes.ts";
import { BusySessions } from "../../lib/status/busy_sessions.ts";

/** Lanes whose tasks a test ends, and what has happened in them. */
class Bench {
  readonly told: string[] = [];
  readonly lanes: Lanes<string>;
  readonly #ends = new Map<string, PromiseWithResolvers<void>>();

  constructor() {
    const busy = new BusySessions();
    busy.onIdle((sessionId) => this.told.push(`${sessionId} is idle`));
    this.lanes = new Lanes(busy);
  }

  take(sessionId: string, task: string): Promise<void> {
    const end = Promise.withResolvers<void>();
    this.#ends.set(task, end);
    return this.lanes.take(sessionId, task, () => {
      this.told.push(`${task} begins`);
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

Deno.test("lanes do the tasks of a session one after the other, and sessions side by side", async () => {
  const bench = new Bench();
  const all = [bench.take("s1", "a"), bench.take("s1", "b"), bench.take("s2", "c")];
  await bench.end("b");
  assertEquals(bench.told, ["a begins", "c begins"]);
  assertEquals([bench.lanes.of("s1"), bench.lanes.of("s3")], [["a", "b"], []]);
  assertEquals(bench.lanes.all(), ["a", "b", "c"]);
  await bench.end("a");
  await bench.end("c");
  await Promise.all(all);
  assertEquals(bench.told.slice(2), ["b begins", "s1 is idle", "s2 is idle"]);
  assertEquals(bench.lanes.isEmpty, true);
});

Deno.test("lanes go on after a task that fails, and tell whoever gave it", async () => {
  const bench = new Bench();
  const failing = assertRejects(() => bench.take("s1", "a"), Error, "broken");
  const next = bench.take("s1", "b");
  await bench.end("a", new Error("broken"));
  await failing;
  await bench.end("b");
  await next;
  assertEquals(bench.told, ["a begins", "b begins", "s1 is idle"]);
});

Deno.test("lanes tell when all that is there is done", async () => {
  const bench = new Bench();
  const failing = assertRejects(() => bench.take("s1", "a"));
  let isDone = false;
  const done = bench.lanes.done().then(() => isDone = true);
  await bench.end("none");
  assertEquals(isDone, false);
  await bench.end("a", new Error("broken"));
  await Promise.all([done, failing]);
});
