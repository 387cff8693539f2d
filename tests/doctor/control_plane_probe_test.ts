import { assertEquals } from "@std/assert";
import { classifyResponse, keyFinding } from "../../lib/doctor/control_plane_probe.ts";
import { Secret } from "../../lib/common/secret.ts";

const CASES = [
  [{ status: 426 }, { kind: "accepted" }],
  // The response of gorilla/websocket.
  [{ status: 400 }, { kind: "accepted" }],
  [{ status: 401, error: "Invalid API key" }, { kind: "key-rejected", status: 401 }],
  [{ status: 403 }, { kind: "key-rejected", status: 403 }],
  [{ status: 404, error: "Agent not found" }, { kind: "unknown-agent" }],
  [{ status: 404, error: "Not found" }, { kind: "unexpected", status: 404 }],
  [{ status: 404 }, { kind: "unexpected", status: 404 }],
  [{ status: 200 }, { kind: "unexpected", status: 200 }],
  [{ status: 429 }, { kind: "unavailable", status: 429 }],
  [{ status: 502 }, { kind: "unavailable", status: 502 }],
  [
    { status: 301, location: "https://h/x?token=1" },
    { kind: "redirect", location: "https://h/x" },
  ],
] as const;

for (const [answer, expected] of CASES) {
  Deno.test(`classifyResponse() classifies ${JSON.stringify(answer)}`, () => {
    assertEquals(classifyResponse({ location: "", error: undefined, ...answer }), expected);
  });
}

const KEYS = [
  [{ apiKey: undefined, isIssued: false }, "The Control Plane accepts agent a1 without a key"],
  [{ apiKey: new Secret("k"), isIssued: false }, "The Control Plane accepts agent a1 with its key"],
  [
    { apiKey: new Secret("k"), isIssued: true },
    "The Control Plane accepts agent a1 with the key that it issued",
  ],
] as const;

for (const [key, message] of KEYS) {
  Deno.test(`keyFinding() names the accepted key: ${message}`, () => {
    const { status, message: actual } = keyFinding(
      { kind: "accepted" },
      { agentId: "a1", httpBase: "https://cp", key },
    );
    assertEquals([status, actual], ["ok", message]);
  });
}
