import { assert, assertEquals } from "@std/assert";
import { Secret } from "../../lib/common/secret.ts";

Deno.test("Secret.reveal() returns the value", () => {
  assertEquals(new Secret("s3cret").reveal(), "s3cret");
});

Deno.test("Secret shows nothing of its value in text, JSON, inspection or copies", () => {
  const secret = new Secret("s3cret");
  const shown = [
    String(secret),
    `${secret}`,
    "" + secret,
    JSON.stringify({ apiKey: secret }),
    Deno.inspect(secret),
    Deno.inspect({ nested: { secret } }, { showHidden: true, depth: 9 }),
    JSON.stringify({ ...secret }),
    JSON.stringify(structuredClone(secret)),
    JSON.stringify(Object.getOwnPropertyDescriptors(secret)),
  ];
  for (const text of shown) assert(!text.includes("s3cret"), text);
  assertEquals(shown.slice(0, 4), ["[redacted]", "[redacted]", "[redacted]", '{"apiKey":"[redacted]"}']);
});
