import { assert, assertEquals } from "@std/assert";
import { ByteQueue } from "../../lib/streams/byte_queue.ts";

Deno.test("ByteQueue returns bytes in order, and joins small messages", () => {
  const queue = new ByteQueue();
  const sent = Uint8Array.from({ length: 20_000 }, (_, index) => index % 251);
  for (const byte of sent) queue.push(Uint8Array.of(byte));
  const large = new Uint8Array(64 * 1024);
  queue.push(large);
  assertEquals(queue.size, sent.length + large.length);
  const chunks: Uint8Array[] = [];
  for (let bytes; (bytes = queue.shift());) chunks.push(bytes);
  assertEquals(chunks.pop(), large);
  assertEquals(Uint8Array.from(chunks.flatMap((chunk) => [...chunk])), sent);
  assert(chunks.length < 10, `${chunks.length} chunks`);
  assertEquals(queue.size, 0);
});
