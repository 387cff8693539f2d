import { assertEquals } from "@std/assert";
import { describeStanding, standingOf } from "../../lib/doctor/standing.ts";
import { Secret } from "../../lib/common/secret.ts";

const CASES = [
  [{ status: 426 }, { kind: "accepted" }],
  // Go's usual library says no more than that.
  [{ status: 400 }, { kind: "accepted" }],
  [{ status: 401, error: "Invalid API key" }, { kind: "key-refused", status: 401 }],
  [{ status: 403 }, { kind: "key-refused", status: 403 }],
  [{ status: 404, error: "Agent not found" }, { kind: "unknown-agent" }],
  [{ status: 404, error: "Not found" }, { kind: "strange", status: 404 }],
  [{ status: 404 }, { kind: "strange", status: 404 }],
  [{ status: 200 }, { kind: "strange", status: 200 }],
  [{ status: 429 }, { kind: "trouble", status: 429 }],
  [{ status: 502 }, { kind: "trouble", status: 502 }],
  [
    { status: 301, location: "https://h/x?token=1" },
    { kind: "elsewhere", location: "https://h/x" },
  ],
] as const;

for (const [answer, expected] of CASES) {
  Deno.test(`standingOf() knows what ${JSON.stringify(answer)} means`, () => {
    assertEquals(standingOf({ location: "", error: undefined, ...answer }), expected);
  });
}

const KEYS = [
  [{ apiKey: undefined, isIssued: false }, "The Control Plane accepts agent a1 without a key"],
  [{ apiKey: new Secret("k"), isIssued: false }, "The Control Plane accepts agent a1 and its key"],
  [
    { apiKey: new Secret("k"), isIssued: true },
    "The Control Plane accepts agent a1 and the key that it issued",
  ],
] as const;

for (const [key, message] of KEYS) {
  Deno.test(`describeStanding() says which key is accepted: ${message}`, () => {
    const { status, message: said } = describeStanding(
      { kind: "accepted" },
      { agentId: "a1", httpBase: "https://cp", key },
    );
    assertEquals([status, said], ["ok", message]);
  });
}
