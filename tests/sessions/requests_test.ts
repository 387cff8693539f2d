import { assert, assertEquals, assertThrows } from "@std/assert";
import { CommandError } from "../../lib/common/errors.ts";
import { parseRequest } from "../../lib/sessions/requests.ts";
import type { SessionRequest } from "../../lib/model/requests.ts";

const LIMITS = { maxCpu: 4, maxMemory: 8 };
const START = { sessionId: "s1", user: "alice", template: "firefox" };

function parse(action: string, payload: unknown): SessionRequest {
  return parseRequest({ commandId: "c1", action, payload }, LIMITS);
}

function refusal(action: string, payload: unknown): string {
  const error = assertThrows(() => parse(action, payload), CommandError);
  assertEquals(error.failure, "invalid");
  return error.message;
}

Deno.test("parseRequest() reads a start with all that it names", () => {
  const payload = { ...START, persistentHome: true, memory: "512Mi", cpu: "500m" };
  assertEquals<unknown>(parse("start_session", payload), { action: "start_session", ...payload });
});

Deno.test("parseRequest() leaves open what a start leaves open, absent, null or empty", () => {
  const expected = { ...START, action: "start_session", persistentHome: false };
  assertEquals<unknown>(parse("start_session", START), expected);
  const fields = ["persistentHome", "memory", "cpu", "templateManifest", "env", "idleTimeout", "namespace"];
  const open = { ...START, ...Object.fromEntries(fields.map((field) => [field, null])) };
  assertEquals<unknown>(parse("start_session", open), expected);
  const empty = { templateManifest: "", env: "", idleTimeout: "", maxSessionDuration: 0, namespace: "" };
  assertEquals<unknown>(parse("start_session", { ...START, ...empty }), expected);
  assertEquals<unknown>(parse("start_session", { ...START, env: [] }), expected);
});

for (const manifest of [{}, "{}", " ", "null", "{ }\n"]) {
  Deno.test(`parseRequest() takes ${JSON.stringify(manifest)} for no template`, () => {
    assertEquals(
      parse("start_session", { ...START, templateManifest: manifest }),
      parse("start_session", START),
    );
  });
}

const FULL = {
  ...START,
  persistentHome: true,
  memory: "512Mi",
  cpu: "500m",
  templateManifest: {
    apiVersion: "stream.space/v1alpha1",
    kind: "Template",
    metadata: { name: "gimp", namespace: "kube-system", labels: { app: "evil" } },
    spec: {
      baseImage: "example.com/gimp:1",
      ports: [{ name: "web", containerPort: 6901 }],
      env: [{ name: "PASSWORD", value: "s3cret" }],
    },
  },
  env: [{ name: "TZ", value: "Europe/Berlin" }, { name: "__proto__", value: "" }],
  idleTimeout: "30m",
  maxSessionDuration: "1h30m",
  namespace: "desktops",
  tags: ["a"],
};

Deno.test("parseRequest() reads all that later Control Planes name", () => {
  assertEquals<unknown>(parse("start_session", FULL), {
    ...START,
    action: "start_session",
    persistentHome: true,
    memory: "512Mi",
    cpu: "500m",
    templateManifest: {
      spec: {
        baseImage: "example.com/gimp:1",
        ports: [{ name: "web", containerPort: 6901, protocol: "TCP" }],
        vnc: { port: 6901 },
        env: [{ name: "PASSWORD", value: "s3cret" }],
      },
    },
    env: JSON.parse('{"TZ":"Europe/Berlin","__proto__":""}'),
    idleTimeoutMs: 1_800_000,
    maxSessionDurationMs: 5_400_000,
    namespace: "desktops",
  });
});

Deno.test("parseRequest() reads what it has read, and what the journal kept of it, as the same", () => {
  const request = parse("start_session", FULL);
  assertEquals(parse("start_session", request), request);
  assertEquals(parse("start_session", JSON.parse(JSON.stringify(request))), request);
});

Deno.test("parseRequest() reads a manifest that is JSON, and variables that are a mapping", () => {
  const payload = {
    ...FULL,
    templateManifest: JSON.stringify(FULL.templateManifest),
    env: JSON.parse('{"TZ":"Europe/Berlin","__proto__":""}'),
  };
  assertEquals(parse("start_session", payload), parse("start_session", FULL));
});

for (
  const [value, expected] of [["8h", 28_800_000], ["90", 90_000], [90, 90_000], [1.5, 1500], ["1s", 1000]]
) {
  Deno.test(`parseRequest() reads ${JSON.stringify(value)} as a duration of ${expected} ms`, () => {
    const request = parse("start_session", { ...START, idleTimeout: value, maxSessionDuration: value });
    assert(request.action === "start_session");
    assertEquals<unknown[]>([request.idleTimeoutMs, request.maxSessionDurationMs], [expected, expected]);
  });
}

Deno.test("parseRequest() takes nothing from a payload but the fields that it knows", () => {
  const extra = {
    image: "evil",
    hostNetwork: true,
    privileged: true,
    tags: ["a"],
  };
  assertEquals(parse("start_session", { ...START, ...extra }), parse("start_session", START));
});

Deno.test("parseRequest() reads a stop, which keeps the home volume unless it is told to delete it", () => {
  assertEquals(parse("stop_session", { sessionId: "s1" }), {
    action: "stop_session",
    sessionId: "s1",
    deletePVC: false,
  });
  assertEquals(parse("stop_session", { sessionId: "s1", deletePVC: true }), {
    action: "stop_session",
    sessionId: "s1",
    deletePVC: true,
  });
});

for (const action of ["hibernate_session", "wake_session"] as const) {
  Deno.test(`parseRequest() reads ${action}`, () => {
    assertEquals(parse(action, { sessionId: "s1", user: 5 }), { action, sessionId: "s1" });
  });
}

for (
  const action of ["", "restart_session", "START_SESSION", "__proto__", "constructor", "x".repeat(2 ** 20)]
) {
  Deno.test(`parseRequest() refuses the action ${JSON.stringify(action.slice(0, 20))} and names those it knows`, () => {
    const error = assertThrows(() => parse(action, START), CommandError);
    assertEquals(error.failure, "unknown_action");
    assert(error.message.startsWith('Unknown action "'));
    assert(
      error.message.endsWith(": known are start_session, stop_session, hibernate_session, wake_session"),
    );
    assert(error.message.length < 250);
  });
}

const ODD_IDS = ["../x", "a/b", "x".repeat(253), "Alice", "ünï", "__proto__", "1a", "a-", "a b"];
const HOSTILE_IDS = ["x".repeat(254), " ", "a\u0000", "a\n", "\u009b", "\ud800"];

for (const action of ["start_session", "stop_session", "hibernate_session", "wake_session"]) {
  for (const sessionId of ODD_IDS) {
    Deno.test(`parseRequest() takes ${JSON.stringify(sessionId)} as the session of ${action}`, () => {
      assertEquals(parse(action, { ...START, sessionId }).sessionId, sessionId);
    });
  }
  for (const sessionId of HOSTILE_IDS) {
    const name = `${JSON.stringify(sessionId.slice(0, 20))} of ${sessionId.length} characters`;
    Deno.test(`parseRequest() refuses ${action} of ${name} and names the field`, () => {
      assert(refusal(action, { ...START, sessionId }).startsWith('Cannot use "sessionId"'));
    });
  }
}

const SMALL = '"2Gi"';
const REFUSALS: Array<[name: string, payload: unknown, expected: string]> = [
  ["no payload", undefined, 'Cannot use "payload": it must be an object, and is nothing'],
  ["null", null, 'Cannot use "payload": it must be an object, and is null'],
  ["text", "s1", 'Cannot use "payload": it must be an object, and is text'],
  ["a list", [START], 'Cannot use "payload": it must be an object, and is a list'],
  ["an empty payload", {}, 'Cannot do without "sessionId": it is missing'],
  ["an id that is null", { ...START, sessionId: null }, 'Cannot do without "sessionId": it is missing'],
  ["an id that is a number", { ...START, sessionId: 5 }, 'Cannot use "sessionId": it must be text, and is 5'],
  [
    "an id that is a list",
    { ...START, sessionId: ["s1"] },
    'Cannot use "sessionId": it must be text, and is a list',
  ],
  ["an empty id", { ...START, sessionId: "" }, 'Cannot use "sessionId": it must not be empty, and is ""'],
  [
    "an id in a prototype",
    JSON.parse('{"__proto__":{"sessionId":"s1"},"user":"alice","template":"firefox"}'),
    'Cannot do without "sessionId": it is missing',
  ],
  ["no user", { sessionId: "s1", template: "firefox" }, 'Cannot do without "user": it is missing'],
  ["a blank user", { ...START, user: " \t" }, 'Cannot use "user": it must not be empty, and is " \\t"'],
  ["a user of objects", { ...START, user: { a: 1 } }, 'Cannot use "user": it must be text, and is an object'],
  [
    "a user that ends a C string",
    { ...START, user: "a\u0000b" },
    'Cannot use "user": it must not hold control characters, and is "a\\u0000b"',
  ],
  ["no template", { sessionId: "s1", user: "alice" }, 'Cannot do without "template": it is missing'],
  ["a template of numbers", { ...START, template: 5 }, 'Cannot use "template": it must be text, and is 5'],
  [
    "a switch that is text",
    { ...START, persistentHome: "true" },
    'Cannot use "persistentHome": it must be true or false, and is "true"',
  ],
  [
    "a switch that is a number",
    { ...START, persistentHome: 1 },
    'Cannot use "persistentHome": it must be true or false, and is 1',
  ],
  ...["", "2GB", "2gi", "-1Gi", "1e3", "lots", "2Gi; rm", 2, {}, [], true].map((
    memory,
  ): [string, unknown, string] => [
    `memory ${JSON.stringify(memory)}`,
    { ...START, memory },
    `Cannot use "memory": it must be a Kubernetes quantity such as ${SMALL}, and is `,
  ]),
  ...["", "1 core", "-1", "1u", 1, {}].map((cpu): [string, unknown, string] => [
    `cpu ${JSON.stringify(cpu)}`,
    { ...START, cpu },
    'Cannot use "cpu": it must be a Kubernetes quantity such as "1000m", and is ',
  ]),
  ...["soon", "-1h", true, [], "1h30"].map((idleTimeout): [string, unknown, string] => [
    `an idle timeout of ${JSON.stringify(idleTimeout)}`,
    { ...START, idleTimeout },
    'Cannot use "idleTimeout": it must be a duration such as "8h" or "1h30m", or a number of seconds, and is ',
  ]),
  [
    "a duration of half a second",
    { ...START, maxSessionDuration: "500ms" },
    'Cannot use "maxSessionDuration": it must be from one second to a year, and is "500ms"',
  ],
  [
    "a manifest that is no JSON",
    { ...START, templateManifest: '{"PASSWORD": "s3cret"' },
    'Cannot use "templateManifest": it must be an object, or JSON of one',
  ],
  [
    "a manifest that is a list",
    { ...START, templateManifest: "[1]" },
    'Cannot use "templateManifest": it must be an object, and is a list',
  ],
  [
    "a manifest without a spec",
    { ...START, templateManifest: { kind: "Template" } },
    'Cannot do without "templateManifest.spec": it is missing',
  ],
  [
    "variables that are text",
    { ...START, env: "PASSWORD=s3cret" },
    'Cannot use "env": it must be an object, and is text',
  ],
  [
    "a variable that is a number",
    { ...START, env: { PIN: 1234 } },
    'Cannot use "env[PIN]": it must be text',
  ],
  [
    "a variable without a value",
    { ...START, env: [{ name: "A", valueFrom: { secretKeyRef: { name: "a", key: "b" } } }] },
    'Cannot do without "env[0].value": it is missing',
  ],
  [
    "a variable that is the agent's",
    { ...START, env: { USER: "root" } },
    'Cannot use "env[USER]": it must not be USER, which the agent sets',
  ],
  [
    "a variable twice",
    { ...START, env: [{ name: "A", value: "1" }, { name: "A", value: "2" }] },
    'Cannot use "env[1].name": it must not name A again',
  ],
  [
    "a user id that is a name",
    { ...START, env: { PUID: "root" } },
    'Cannot use "env[PUID]": it must be the number of a user or group, from 0 to 2147483647',
  ],
  [
    "variables of more than 64 KiB together",
    { ...START, env: { A: "字".repeat(20_000), B: "x".repeat(6000) } },
    'Cannot use "env": it must not hold more than 65536 bytes of JSON',
  ],
  [
    "memory without a unit",
    { ...START, memory: "2" },
    'Cannot use "memory": it is too small for a session, and is "2"',
  ],
  [
    "memory of nothing",
    { ...START, memory: "0Gi" },
    'Cannot use "memory": it is too small for a session, and is "0Gi"',
  ],
  ["cpu of nothing", { ...START, cpu: "0" }, 'Cannot use "cpu": it is too small for a session, and is "0"'],
  [
    "memory beyond the agent's",
    { ...START, memory: "9Gi" },
    'Cannot use "memory": it is more than this agent has (8Gi), and is "9Gi"',
  ],
  [
    "cpu beyond the agent's",
    { ...START, cpu: "4001m" },
    'Cannot use "cpu": it is more than this agent has (4 cores), and is "4001m"',
  ],
];

for (const [name, payload, expected] of REFUSALS) {
  Deno.test(`parseRequest() refuses a start with ${name} and says why`, () => {
    const message = refusal("start_session", payload);
    assertEquals(message.slice(0, expected.length), expected);
  });
}

Deno.test("parseRequest() takes what is just within the limits", () => {
  const request = parse("start_session", { ...START, memory: "8Gi", cpu: "4" });
  assert(request.action === "start_session");
  assertEquals([request.memory, request.cpu], ["8Gi", "4"]);
  parse("start_session", { ...START, memory: "16Mi", cpu: "1m", user: "x".repeat(253) });
});

for (const field of Object.keys(FULL).filter((name) => !["namespace", "tags"].includes(name))) {
  Deno.test(`parseRequest() refuses a mebibyte as ${field} in a short sentence that names it`, () => {
    const message = refusal("start_session", { ...START, [field]: "x".repeat(2 ** 20) });
    assert(message.startsWith(`Cannot use "${field}"`), message);
    assert(message.length < 250, String(message.length));
  });

  Deno.test(`parseRequest() refuses a nest of 250000 lists as ${field} and names it`, () => {
    const nest = JSON.parse("[".repeat(250_000) + "]".repeat(250_000));
    assert(refusal("start_session", { ...START, [field]: nest }).startsWith(`Cannot use "${field}`));
  });
}

for (const value of [null, "yes", 0]) {
  Deno.test(`parseRequest() ${value === null ? "takes" : "refuses"} ${value} as deletePVC`, () => {
    const payload = { sessionId: "s1", deletePVC: value };
    if (value !== null) {
      assert(refusal("stop_session", payload).startsWith('Cannot use "deletePVC": it must be true or false'));
    } else {assertEquals<unknown>(parse("stop_session", payload), {
        ...payload,
        action: "stop_session",
        deletePVC: false,
      });}
  });
}
