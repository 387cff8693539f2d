import { assertEquals } from "@std/assert";
import { formatListenAddress, parseListenAddress } from "../../lib/telemetry/listen_address.ts";

for (
  const [text, hostname, port] of [
    [":8080", "", 8080],
    [":0", "", 0],
    ["127.0.0.1:9000", "127.0.0.1", 9000],
    ["localhost:1", "localhost", 1],
    ["[::]:8080", "::", 8080],
    ["[::1]:65535", "::1", 65_535],
  ] as const
) {
  Deno.test(`an address to listen at is read from ${text}, and written as it was`, () => {
    const address = parseListenAddress(text);
    assertEquals(address, { hostname, port });
    assertEquals(formatListenAddress({ hostname, port }), text);
  });
}

for (
  const text of [
    "",
    "8080",
    ":",
    ":65536",
    ":-1",
    "::1:80",
    "[::1]",
    "http://a:80",
    "a b:80",
    ":80/",
    "[a]:1",
  ]
) {
  Deno.test(`${JSON.stringify(text)} is no address to listen at`, () => {
    assertEquals(parseListenAddress(text), undefined);
  });
}
