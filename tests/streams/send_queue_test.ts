import { assertEquals } from "@std/assert";
import { FakeTime } from "../support/fake_time.ts";
import { decongested, SendQueue } from "../../lib/streams/send_queue.ts";

const isClosed = () => false;

Deno.test("decongested() needs no timer while the network accepts bytes", async () => {
  using _time = new FakeTime();
  const amounts = [400, 300, 200, 100];
  const socket = {
    get bufferedAmount(): number {
      return amounts.shift() ?? 0;
    },
  };
  await decongested(socket, { congestedBytes: 200, isClosed });
  assertEquals(amounts, []);
});

Deno.test("decongested() waits with a timer while the network accepts nothing", async () => {
  using time = new FakeTime();
  const socket = { bufferedAmount: 200 };
  let isDone = false;
  const waiting = decongested(socket, { congestedBytes: 200, isClosed }).then(() => isDone = true);
  for (let i = 0; i < 100; i += 1) await time.tickAsync(1);
  assertEquals(isDone, false);
  socket.bufferedAmount = 199;
  while (!isDone) await time.tickAsync(1);
  await waiting;
});

Deno.test("SendQueue drops what waits for a congested socket when it is closed", async () => {
  const sent: number[] = [];
  const queue = new SendQueue({ bufferedAmount: 200 }, 200);
  const pushed = [1, 2].map((one) => queue.push(() => sent.push(one)));
  queue.close();
  await Promise.all(pushed);
  assertEquals(sent, []);
});
