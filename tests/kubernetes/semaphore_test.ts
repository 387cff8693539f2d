import { assertEquals, assertRejects } from "@std/assert";
import { Semaphore } from "../../lib/kubernetes/semaphore.ts";

/** Tasks that a test completes; `started` lists them in the order in which they started. */
class Tasks {
  readonly started: string[] = [];
  readonly #ends = new Map<string, PromiseWithResolvers<string>>();

  task(name: string): () => Promise<string> {
    return () => {
      this.started.push(name);
      const end = Promise.withResolvers<string>();
      this.#ends.set(name, end);
      return end.promise;
    };
  }

  end(name: string): void {
    this.#ends.get(name)?.resolve(name);
  }

  fail(name: string): void {
    this.#ends.get(name)?.reject(new Error(`${name} failed`));
  }
}

Deno.test("R5 Semaphore.run() limits concurrency and starts waiting tasks in order", async () => {
  const semaphore = new Semaphore(2);
  const tasks = new Tasks();
  const runs = ["a", "b", "c", "d"].map((name) => semaphore.run(tasks.task(name)));
  assertEquals(tasks.started, ["a", "b"]);
  tasks.end("b");
  assertEquals(await runs[1], "b");
  await settled();
  assertEquals(tasks.started, ["a", "b", "c"]);
  for (const name of ["a", "c"]) tasks.end(name);
  await settled();
  assertEquals(tasks.started, ["a", "b", "c", "d"]);
  tasks.end("d");
  assertEquals(await Promise.all(runs), ["a", "b", "c", "d"]);
});

Deno.test("Semaphore.run() frees the permit of a task that rejects or throws", async () => {
  const semaphore = new Semaphore(1);
  const tasks = new Tasks();
  const failed = assertRejects(() => semaphore.run(tasks.task("a")), Error, "a failed");
  const thrown = assertRejects(
    () =>
      semaphore.run(() => {
        throw new Error("at once");
      }),
    Error,
    "at once",
  );
  tasks.fail("a");
  await Promise.all([failed, thrown]);
  assertEquals(await semaphore.run(() => Promise.resolve("b")), "b");
});

Deno.test("Semaphore.run() removes a waiting task when its signal is aborted and keeps the order of the others", async () => {
  const semaphore = new Semaphore(1);
  const tasks = new Tasks();
  const stop = new AbortController();
  const first = semaphore.run(tasks.task("a"));
  const second = assertRejects(() => semaphore.run(tasks.task("b"), stop.signal), Error, "enough");
  const third = semaphore.run(tasks.task("c"));
  stop.abort(new Error("enough"));
  await second;
  tasks.end("a");
  await first;
  await settled();
  assertEquals(tasks.started, ["a", "c"]);
  tasks.end("c");
  await third;
});

Deno.test("Semaphore.run() does not start a task when its signal is already aborted", async () => {
  const semaphore = new Semaphore(1);
  const tasks = new Tasks();
  await assertRejects(() => semaphore.run(tasks.task("a"), AbortSignal.abort(new Error("no"))), Error, "no");
  assertEquals(tasks.started, []);
  assertEquals(await semaphore.run(() => Promise.resolve("b")), "b");
});

Deno.test("Semaphore.run() does not affect a running task when its signal is aborted", async () => {
  const semaphore = new Semaphore(1);
  const tasks = new Tasks();
  const stop = new AbortController();
  const first = semaphore.run(tasks.task("a"));
  const second = semaphore.run(tasks.task("b"), stop.signal);
  tasks.end("a");
  await first;
  await settled();
  stop.abort();
  tasks.end("b");
  assertEquals(await second, "b");
});

Deno.test("Semaphore.run() never exceeds its permits with 200 tasks", async () => {
  const semaphore = new Semaphore(3);
  let active = 0;
  let most = 0;
  await Promise.all(Array.from({ length: 200 }, (_, nth) =>
    semaphore.run(async () => {
      active += 1;
      most = Math.max(most, active);
      for (let turns = 0; turns < nth % 4; turns++) await Promise.resolve();
      active -= 1;
    })));
  assertEquals([most, active], [3, 0]);
});

async function settled(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 0));
}
