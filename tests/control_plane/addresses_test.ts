import { assertEquals } from "@std/assert";
import { controlPlaneAddresses } from "../../lib/control_plane/addresses.ts";

const VALID: Array<[text: string, http: string, webSocket: string]> = [
  ["ws://localhost:8000", "http://localhost:8000", "ws://localhost:8000"],
  ["http://localhost:8000", "http://localhost:8000", "ws://localhost:8000"],
  ["wss://control.example.com", "https://control.example.com", "wss://control.example.com"],
  ["https://control.example.com", "https://control.example.com", "wss://control.example.com"],
  ["wss://h/", "https://h", "wss://h"],
  ["wss://h///", "https://h", "wss://h"],
  ["wss://h/base", "https://h/base", "wss://h/base"],
  ["wss://h/base/v2/", "https://h/base/v2", "wss://h/base/v2"],
  ["WSS://H/Base", "https://h/Base", "wss://h/Base"],
  ["wss://h:443", "https://h", "wss://h"],
  ["ws://[::1]:8000/", "http://[::1]:8000", "ws://[::1]:8000"],
  ["wss://h/a b", "https://h/a%20b", "wss://h/a%20b"],
];

for (const [text, http, webSocket] of VALID) {
  Deno.test(`controlPlaneAddresses() derives both addresses from ${text}`, () => {
    assertEquals(controlPlaneAddresses(text), { http, webSocket });
  });
}

const SCHEME = "must be a ws, wss, http or https URL";
const INVALID: Array<[text: string, problem: string]> = [
  ["", SCHEME],
  ["control.example.com", SCHEME],
  ["control.example.com:8000", SCHEME],
  ["localhost:8000", SCHEME],
  ["ftp://h", SCHEME],
  ["file:///etc/passwd", SCHEME],
  ["javascript:alert(1)", SCHEME],
  ["wss://", SCHEME],
  ["wss://h:99999", SCHEME],
  ["wss://h h", SCHEME],
  ["x".repeat(2 ** 20), SCHEME],
  ["wss://alice:s3cret@h", "must not contain a user or password"],
  ["wss://alice@h", "must not contain a user or password"],
  ["wss://h/?token=1", "must not contain a query or fragment"],
  ["wss://h#a", "must not contain a query or fragment"],
];

for (const [text, problem] of INVALID) {
  Deno.test(`controlPlaneAddresses() rejects ${JSON.stringify(text.slice(0, 40))}`, () => {
    assertEquals(controlPlaneAddresses(text), { http: "", webSocket: "", problem });
  });
}
