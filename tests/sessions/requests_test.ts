import { assert, assertEquals, assertThrows } from "@std/assert";
import { CommandError } from "../../lib/common/errors.ts";
import { messageOf } from "../../lib/common/errors.ts";
import { parseRequest, sessionIdOf } from "../../lib/sessions/requests.ts";
import type { SessionRequest } from "../../lib/model/requests.ts";

const LIMITS = { maxCpu: 4, maxMemory: 8 };
const START = { sessionId: "s1", user: "alice", template: "firefox" };

function parse(action: string, payload: unknown): SessionRequest {
  return parseRequest({ commandId: "c1", action, payload }, LIMITS);
}

function rejection(action: string, payload: unknown): string {
  const error = assertThrows(() => parse(action, payload), CommandError);
  assertEquals(error.failure, "invalid");
  return error.message;
}

Deno.test("parseRequest() parses a start with all common fields", () => {
  const payload = { ...START, persistentHome: true, memory: "512Mi", cpu: "500m" };
  assertEquals<unknown>(parse("start_session", payload), { action: "start_session", ...payload });
});

Deno.test("parseRequest() leaves out fields that are absent, null or empty", () => {
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
  Deno.test(`parseRequest() treats the manifest ${JSON.stringify(manifest)} as absent`, () => {
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

Deno.test("parseRequest() parses the fields of later Control Planes", () => {
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

Deno.test("parseRequest() parses its own output, also from the journal, as the same request", () => {
  const request = parse("start_session", FULL);
  assertEquals(parse("start_session", request), request);
  assertEquals(parse("start_session", JSON.parse(JSON.stringify(request))), request);
});

Deno.test("parseRequest() accepts a manifest as JSON and variables as a mapping", () => {
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
  Deno.test(`parseRequest() parses ${JSON.stringify(value)} as a duration of ${expected} ms`, () => {
    const request = parse("start_session", { ...START, idleTimeout: value, maxSessionDuration: value });
    assert(request.action === "start_session");
    assertEquals<unknown[]>([request.idleTimeoutMs, request.maxSessionDurationMs], [expected, expected]);
  });
}

Deno.test("parseRequest() ignores unknown fields of a payload", () => {
  const extra = {
    image: "evil",
    hostNetwork: true,
    privileged: true,
    tags: ["a"],
  };
  assertEquals(parse("start_session", { ...START, ...extra }), parse("start_session", START));
});

Deno.test("parseRequest() parses a stop, which keeps the home volume by default", () => {
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
  Deno.test(`parseRequest() parses ${action}`, () => {
    assertEquals(parse(action, { sessionId: "s1", user: 5 }), { action, sessionId: "s1" });
  });
}

for (
  const action of ["", "restart_session", "START_SESSION", "__proto__", "constructor", "x".repeat(2 ** 20)]
) {
  Deno.test(`parseRequest() rejects the action ${JSON.stringify(action.slice(0, 20))} and lists the known ones`, () => {
    const error = assertThrows(() => parse(action, START), CommandError);
    assertEquals(error.failure, "unknown_action");
    assert(error.message.startsWith('Unknown action "'));
    assert(
      error.message.endsWith(": must be one of start_session, stop_session, hibernate_session, wake_session"),
    );
    assert(error.message.length < 250);
  });
}

const ODD_IDS = ["../x", "a/b", "x".repeat(253), "Alice", "ünï", "__proto__", "1a", "a-", "a b"];
const HOSTILE_IDS = ["x".repeat(254), " ", "a\u0000", "a\n", "\u009b", "\ud800"];

for (const action of ["start_session", "stop_session", "hibernate_session", "wake_session"]) {
  for (const sessionId of ODD_IDS) {
    Deno.test(`parseRequest() accepts the session ID ${JSON.stringify(sessionId)} of ${action}`, () => {
      assertEquals(parse(action, { ...START, sessionId }).sessionId, sessionId);
    });
  }
  for (const sessionId of HOSTILE_IDS) {
    const name = `${JSON.stringify(sessionId.slice(0, 20))} of ${sessionId.length} characters`;
    Deno.test(`parseRequest() rejects ${action} with the session ID ${name}`, () => {
      assert(rejection(action, { ...START, sessionId }).startsWith('"sessionId" must '));
    });
  }
}

Deno.test("parseRequest() accepts amounts at the limits", () => {
  const request = parse("start_session", { ...START, memory: "8Gi", cpu: "4" });
  assert(request.action === "start_session");
  assertEquals([request.memory, request.cpu], ["8Gi", "4"]);
  parse("start_session", { ...START, memory: "16Mi", cpu: "1m", user: "x".repeat(253) });
});

/** The problem of a start that is rejected, or of its field that is ignored. */
function problemOf(payload: unknown): string {
  const ignored: string[] = [];
  try {
    parseRequest(
      { commandId: "c1", action: "start_session", payload },
      LIMITS,
      (problem) => ignored.push(problem),
    );
  } catch (error) {
    return messageOf(error);
  }
  return ignored[0] ?? "";
}

for (const field of Object.keys(FULL).filter((name) => !["namespace", "tags"].includes(name))) {
  Deno.test(`parseRequest() rejects or ignores 1 MiB as ${field} with a short message`, () => {
    const message = problemOf({ ...START, [field]: "x".repeat(2 ** 20) });
    assert(message.startsWith(`"${field}" must `), message);
    assert(message.length < 250, String(message.length));
  });

  Deno.test(`parseRequest() rejects or ignores 250,000 nested lists as ${field}`, () => {
    const nest = JSON.parse("[".repeat(250_000) + "]".repeat(250_000));
    assert(problemOf({ ...START, [field]: nest }).startsWith(`"${field}`));
  });
}

Deno.test("parseRequest() ignores fields that it cannot understand and a start can do without", () => {
  const ignored: string[] = [];
  const payload = {
    ...START,
    idleTimeout: "banana",
    MaxSessionDuration: -1,
    env: "A=1",
    templateManifest: "banana",
    tags: 7,
  };
  const request = parseRequest(
    { commandId: "c1", action: "start_session", payload },
    LIMITS,
    (problem) => ignored.push(problem),
  );
  assertEquals(request, parse("start_session", START));
  assertEquals(ignored.map((problem) => problem.split(" ")[0]), [
    '"templateManifest"',
    '"env"',
    '"idleTimeout"',
    '"maxSessionDuration"',
  ]);
});

Deno.test("sessionIdOf() finds the session of an otherwise invalid payload", () => {
  assertEquals([{ SessionID: "s1", user: 7 }, { sessionId: "" }, null, "x"].map(sessionIdOf), [
    "s1",
    undefined,
    undefined,
    undefined,
  ]);
});
