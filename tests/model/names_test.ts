import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  homeClaimName,
  labelValue,
  sessionName,
  shortHash,
  userHomeClaimName,
} from "../../lib/model/names.ts";

const LABEL_VALUE = /^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;
const NAME = /^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$/;

for (const id of ["a", "alice-firefox-1a2b3c4d", "sess-123", "test-session-123", "a--b", "x".repeat(63)]) {
  Deno.test(`sessionName() returns ${id} unmodified`, () => {
    assertEquals(sessionName(id), id);
  });
}

const ODD_IDS = [
  "x".repeat(64),
  "x".repeat(65),
  "x".repeat(253),
  "../x",
  "a/b",
  "a.b",
  "a_b",
  "A",
  "Alice",
  "alice@example.com",
  "-a",
  "a-",
  "1a",
  "7",
  "ünï",
  "а",
  "名前",
  "a b",
  "__proto__",
  "a,app=x",
  "%2e%2e",
  "$(id)",
];

Deno.test("sessionName() converts different IDs to different valid names", () => {
  const names = ODD_IDS.map(sessionName);
  for (const name of names) assertMatch(name, NAME);
  assertEquals(new Set(names).size, ODD_IDS.length);
});

Deno.test("sessionName() keeps the readable part of an ID", () => {
  assertEquals(sessionName("Alice@Example.com"), "alice-example-com--f8db6f2f05fc7ed9");
  assertEquals(sessionName("1a"), "s-1a--a73fcf3396409292");
});

Deno.test("names differ even if an ID looks like the generated name of another", () => {
  const generated = sessionName("Alice");
  assert(sessionName(generated) !== generated);
  assert(labelValue(labelValue("a b")) !== labelValue("a b"));
  assert(userHomeClaimName("x-home") !== homeClaimName("home-x"));
  assert(userHomeClaimName("home") !== homeClaimName("home"));
});

Deno.test("homeClaimName() returns the same name as earlier versions", () => {
  assertEquals(homeClaimName("s1"), "s1-home");
});

for (const user of ["alice", "john.doe", "1bob", "a--b", "home.x", "my.home", "x".repeat(248)]) {
  Deno.test(`userHomeClaimName() returns the name that StreamSpace used for ${user}`, () => {
    assertEquals(userHomeClaimName(user), `home-${user}`);
  });
}

const OTHER_USERS: Array<[what: string, user: string, readable: string]> = [
  ["not an object name", "Bob@example.com", "bob-example-com"],
  ["a name with an empty part", "john..doe", "john-doe"],
  ["like the home of a session", "home", "home"],
  ["also like the home of a session", "at-home", "at-home"],
  ["like a generated name", "a--0123456789abcdef", "a-0123456789abcdef"],
  ["too long", "x".repeat(249), "x".repeat(45)],
];

for (const [what, user, readable] of OTHER_USERS) {
  Deno.test(`userHomeClaimName() generates a name for a user that is ${what}`, () => {
    assertMatch(userHomeClaimName(user), new RegExp(`^home-${readable}--[0-9a-f]{16}$`));
  });
}

for (const text of ["a", "alice", "Alice.Smith_2", "x".repeat(63)]) {
  Deno.test(`labelValue() returns ${text} unmodified`, () => {
    assertEquals(labelValue(text), text);
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

Deno.test("labelValue() converts different texts to different valid values", () => {
  const values = ODD_TEXTS.map(labelValue);
  for (const value of values) assertMatch(value, LABEL_VALUE);
  assertEquals(new Set(values).size, ODD_TEXTS.length);
  assertEquals(values, ODD_TEXTS.map(labelValue));
});

Deno.test("labelValue() keeps the readable part of a text", () => {
  assertEquals(
    labelValue("alice@example.com"),
    "alice-example-com--ff8d9819fc0e12bf",
  );
  assertEquals(labelValue("@alice@"), "alice--a7d9ead58f431e87");
  assert((labelValue("x".repeat(300))).length <= 63);
});

Deno.test("shortHash() returns the first 8 hex digits of the SHA-256", () => {
  assertEquals(shortHash(""), "e3b0c442");
  assertEquals(shortHash("abc"), "ba7816bf");
});
