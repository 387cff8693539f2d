import { assert, assertEquals, assertMatch } from "@std/assert";
import { homeClaimName, labelValue, sessionIdProblem, shortHash } from "../../lib/sessions/names.ts";

const LABEL_VALUE = /^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;
const CHARACTERS =
  "must be lower-case letters, digits and hyphens, begin with a letter and end with a letter or digit";

for (const id of ["a", "alice-firefox-1a2b3c4d", "sess-123", "test-session-123", "a--b", "x".repeat(63)]) {
  Deno.test(`sessionIdProblem() finds nothing wrong with ${id}`, () => {
    assertEquals(sessionIdProblem(id), undefined);
  });
}

const BAD_IDS: Array<[id: string, problem: string]> = [
  ["", "is empty"],
  ["x".repeat(64), "has 64 characters, and at most 63 are allowed"],
  ["x".repeat(300), "has 300 characters, and at most 63 are allowed"],
  ...[
    "../x",
    "a/b",
    "a.b",
    "a_b",
    "A",
    "Alice",
    "-a",
    "a-",
    "1a",
    "ünï",
    "а",
    "a b",
    "a\n",
    "\u0000",
    "a\u0000",
    "__proto__",
    "a,app=x",
    "%2e%2e",
    "$(id)",
  ].map((id): [string, string] => [id, CHARACTERS]),
];

for (const [id, problem] of BAD_IDS) {
  Deno.test(`sessionIdProblem() refuses ${JSON.stringify(id.slice(0, 30))} of ${id.length} characters`, () => {
    assertEquals(sessionIdProblem(id), problem);
  });
}

Deno.test("homeClaimName() names a claim as earlier agents did", () => {
  assertEquals(homeClaimName("s1"), "s1-home");
});

for (const text of ["a", "alice", "Alice.Smith_2", "x".repeat(63)]) {
  Deno.test(`labelValue() leaves ${text} as it is`, async () => {
    assertEquals(await labelValue(text), text);
  });
}

const ODD_TEXTS = [
  "",
  " ",
  "-",
  "-a",
  "a-",
  "alice@example.com",
  "alice.example.com.",
  "üñí",
  "名前",
  "a\u0000b",
  "../x",
  "a b",
  "a  b",
  "a\nb",
  "x".repeat(64),
  "x".repeat(65),
  "ö".repeat(300),
  "-".repeat(100),
  "x".repeat(2 ** 20),
];

Deno.test("labelValue() makes a valid value of any text, and another one of each", async () => {
  const values = await Promise.all(ODD_TEXTS.map(labelValue));
  for (const value of values) assertMatch(value, LABEL_VALUE);
  assertEquals(new Set(values).size, ODD_TEXTS.length);
  assertEquals(values, await Promise.all(ODD_TEXTS.map(labelValue)));
});

Deno.test("labelValue() keeps what is readable of a text", async () => {
  assertEquals(
    await labelValue("alice@example.com"),
    `alice-example-com-${await shortHash("alice@example.com")}`,
  );
  assertEquals(await labelValue("@alice@"), `alice-${await shortHash("@alice@")}`);
  assert((await labelValue("x".repeat(300))).length <= 63);
});

Deno.test("shortHash() gives the first 8 hex digits of the SHA-256", async () => {
  assertEquals(await shortHash(""), "e3b0c442");
  assertEquals(await shortHash("abc"), "ba7816bf");
});
