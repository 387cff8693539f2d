import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { SETTINGS } from "../dev/session_settings.ts";
import { CommandError } from "../lib/common/errors.ts";
import { parseDuration, parseQuantity } from "../lib/common/quantities.ts";
import { buildManifests } from "../lib/manifests/manifests.ts";
import { homeClaimName, labelValue, sessionName, userHomeClaimName } from "../lib/model/names.ts";
import { parseRequest } from "../lib/sessions/requests.ts";
import type { StartRequest } from "../lib/model/requests.ts";
import { resolveTemplate } from "../lib/templates/sources.ts";
import { TEMPLATE_SPEC as spec } from "./support/any_template.ts";

const LIMITS = { maxCpu: 100, maxMemory: 128 };
/** Usual IDs, unusual IDs and any other text. */
const text = fc.oneof(
  fc.stringMatching(/^[a-z][a-z0-9-]{0,70}$/),
  fc.stringMatching(/^[a-z0-9.-]{1,253}$/),
  fc.stringMatching(/^(home-){0,3}[a-z.-]{0,2}(-?home){0,3}$/),
  fc.stringMatching(/^[A-Za-z0-9@._ -]{1,80}(--[0-9a-f]{16})?$/),
  fc.string({ unit: "grapheme", minLength: 1, maxLength: 253 }),
);

const NAMES: Array<[name: string, make: (text: string) => string, valid: RegExp]> = [
  ["sessionName()", sessionName, /^[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?$/],
  ["labelValue()", labelValue, /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/],
  ["homeClaimName()", homeClaimName, /^[a-z0-9](?:[a-z0-9-]{0,251}[a-z0-9])?$/],
  [
    "userHomeClaimName()",
    userHomeClaimName,
    /^(?=.{1,253}$)[a-z0-9-]*[a-z0-9](?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/,
  ],
];

for (const [name, make, valid] of NAMES) {
  Deno.test(`${name} converts any text to a valid name, deterministically`, () => {
    fc.assert(fc.property(text, (one) => valid.test(make(one)) && make(one) === make(one)));
  });

  Deno.test(`${name} converts different texts to different names, even if one is a generated name`, () => {
    fc.assert(fc.property(text, text, (one, other) => (make(one) === make(other)) === (one === other)));
    fc.assert(fc.property(text, (one) => make(one) === one || make(make(one)) !== make(one)));
  });
}

Deno.test("the home volumes of sessions and users never have the same claim name", () => {
  fc.assert(fc.property(text, text, (session, user) => homeClaimName(session) !== userHomeClaimName(user)));
});

Deno.test("parseQuantity() applies the units of Kubernetes to any number", () => {
  const units = { "": 1, m: 0.001, k: 1e3, M: 1e6, Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30 };
  const unit = fc.constantFrom(...Object.entries(units));
  fc.assert(
    fc.property(
      fc.nat(),
      unit,
      (amount, [suffix, factor]) => parseQuantity(`${amount}${suffix}`) === amount * factor,
    ),
  );
});

Deno.test("parseQuantity() and parseDuration() return only finite amounts for any text", () => {
  const mixed = fc.oneof(fc.string(), fc.stringMatching(/^[0-9.]{0,20} ?[a-zA-Z]{0,3}[0-9]{0,3}[a-z]?$/));
  fc.assert(fc.property(mixed, (one) => {
    for (const amount of [parseQuantity(one), parseDuration(one)]) {
      assert(amount === undefined || (Number.isFinite(amount) && amount >= 0));
    }
  }));
});

Deno.test("parseDuration() adds up hours, minutes and seconds", () => {
  fc.assert(
    fc.property(
      fc.nat(999),
      fc.nat(59),
      fc.nat(59),
      (h, m, s) => parseDuration(`${h}h${m}m${s}s`) === ((h * 60 + m) * 60 + s) * 1000,
    ),
  );
});

/** The request, or `undefined` if it was rejected with a proper error. */
function start(templateManifest: unknown): StartRequest | undefined {
  const payload = { sessionId: "s1", user: "alice", template: "gimp", templateManifest };
  try {
    const request = parseRequest({ commandId: "c1", action: "start_session", payload }, LIMITS);
    return request.action === "start_session" ? request : undefined;
  } catch (error) {
    assert(error instanceof CommandError, String(error));
    assert(error.message.length < 500, error.message);
    return undefined;
  }
}

Deno.test("a manifest of any JSON is parsed, or rejected with a short message", () => {
  const json = fc.oneof(fc.jsonValue(), fc.json(), fc.jsonValue().map((spec) => ({ spec })), fc.string());
  fc.assert(fc.property(json, (manifest) => void start(manifest)));
});

Deno.test("a parsed manifest parses as the same again, also from the journal", () => {
  fc.assert(
    fc.property(spec, (one) => {
      const request = start({ spec: one });
      if (!request) return;
      assertEquals(start(JSON.parse(JSON.stringify(request.templateManifest))), request);
    }),
    { numRuns: 1000 },
  );
});

/** Capitalises field names as Go marshals them; the keys of mappings are data. */
function capitalised(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(capitalised);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, entry]) => [
      key.charAt(0).toUpperCase() + key.slice(1),
      key === "nodeSelector" ? entry : capitalised(entry),
    ]),
  );
}

Deno.test("a manifest parses the same with capitalised field names", () => {
  fc.assert(fc.property(spec, (one) => {
    assertEquals(start({ Spec: capitalised(one) }), start({ spec: one }));
  }));
});

Deno.test("every parsed manifest builds a pod without privileges, host access or secrets of others", () => {
  const dangerous =
    /hostPath|hostNetwork|hostPID|hostIPC|hostPort|"privileged"|"add"|procMount|sysctls|seLinux|serviceAccount(?!Token)|k8s-agent-|"host"|Unconfined|system-/;
  const rules = { ...SETTINGS, allowedSecrets: ["*"] };
  const sources = { cluster: new Map(), table: new Map(), rules };
  let accepted = 0;
  fc.assert(
    fc.property(spec, fc.constantFrom("baseline" as const, "restricted" as const), (one, sessionSecurity) => {
      const request = start({ spec: one });
      if (!request) return;
      try {
        const settings = { ...SETTINGS, sessionSecurity };
        const template = resolveTemplate(request, sources);
        const { deployment } = buildManifests({
          request,
          template,
          settings,
          commandId: "c1",
          startedAt: new Date(0),
          homeVolume: undefined,
        });
        const pod = deployment.spec?.template.spec;
        assert(!dangerous.test(JSON.stringify(pod).replaceAll(/"value":"[^"]*"/g, "")), JSON.stringify(pod));
        assertEquals(pod?.automountServiceAccountToken, false);
        assertEquals(pod?.containers[0]?.securityContext?.allowPrivilegeEscalation, false);
        assertEquals(pod?.securityContext?.seccompProfile, { type: "RuntimeDefault" });
        if (sessionSecurity === "restricted") {
          assertEquals(pod?.containers[0]?.securityContext?.capabilities, { drop: ["ALL"] });
        }
        accepted += 1;
      } catch (error) {
        assert(error instanceof CommandError, String(error));
      }
    }),
    { numRuns: 1000 },
  );
  assert(accepted > 100, `Only ${accepted} manifests were accepted`);
});
