import { assertEquals } from "@std/assert";
import { WatchStream } from "../../dev/faults/watch_stream.ts";
import { OpenWatch } from "../support/list_watch_server.ts";

Deno.test("WatchStream forwards complete lines only, so that an error never splits one", async () => {
  const source = new OpenWatch();
  let ends = 0;
  const stream = new WatchStream(source.body as ReadableStream<Uint8Array<ArrayBuffer>>, {
    onOver: () => ends += 1,
    onBroken: () => {},
  });
  const reader = stream.body.pipeThrough(new TextDecoderStream()).getReader();
  source.write('{"a":1}\n{"b"');
  assertEquals((await reader.read()).value, '{"a":1}\n');
  source.write(':2}\n{"c":');
  assertEquals((await reader.read()).value, '{"b":2}\n');
  stream.fail({ code: 410 });
  assertEquals((await reader.read()).value, '{"type":"ERROR","object":{"code":410}}\n');
  assertEquals(await reader.read(), { done: true, value: undefined });
  stream.end();
  assertEquals(ends, 1);
});
