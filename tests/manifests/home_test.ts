import { assertEquals } from "@std/assert";
import {
  buildClaim,
  chooseHomeVolume,
  type HomeSettings,
  type HomeVolume,
  isHomeVolumeOf,
} from "../../lib/manifests/home.ts";
import type { StartRequest } from "../../lib/model/requests.ts";

const REQUEST: StartRequest = {
  action: "start_session",
  sessionId: "s1",
  user: "Ann@example.com",
  template: "firefox",
  persistentHome: true,
  memory: "2Gi",
  cpu: "1000m",
};
const SETTINGS: HomeSettings = {
  homeStrategy: "per-session",
  storageClass: "fast",
  storageSize: "10Gi",
  storageAccessMode: "ReadWriteOnce",
};
const STORAGE = { storageClass: "fast", size: "10Gi", accessMode: "ReadWriteOnce" };
const OWN: HomeVolume = { claimName: "s1-home", owner: "session", ...STORAGE };
const USERS: HomeVolume = { claimName: "home-ann-example-com--e3535a54578d4c12", owner: "user", ...STORAGE };
const METADATA = {
  name: "s1",
  namespace: "streamspace",
  labels: { app: "streamspace-session", session: "s1", user: "ann", template: "firefox" },
  annotations: {
    "stream.space/session": "s1",
    "stream.space/user": "Ann@example.com",
    "stream.space/template": "firefox",
  },
};

const HOMES: Array<
  [name: string, settings: Partial<HomeSettings>, hasOwn: boolean, expected: HomeVolume | undefined]
> = [
  ["its own volume", {}, false, OWN],
  ["the volume of its user", { homeStrategy: "per-user" }, false, USERS],
  ["its own volume from before the strategy changed", { homeStrategy: "per-user" }, true, OWN],
  ["no volume", { homeStrategy: "none" }, true, undefined],
];

for (const [name, settings, hasOwn, expected] of HOMES) {
  Deno.test(`chooseHomeVolume() gives a session ${name}`, () => {
    assertEquals(
      chooseHomeVolume(REQUEST, { settings: { ...SETTINGS, ...settings }, overrides: {}, hasOwn }),
      expected,
    );
  });
}

Deno.test("chooseHomeVolume() gives no volume to a session without a persistent home", () => {
  const request = { ...REQUEST, persistentHome: false };
  assertEquals(chooseHomeVolume(request, { settings: SETTINGS, overrides: {}, hasOwn: true }), undefined);
});

Deno.test("chooseHomeVolume() prefers the template to the settings", () => {
  const overrides = { size: "5Gi", storageClass: "slow", accessMode: "ReadWriteMany" };
  assertEquals(chooseHomeVolume(REQUEST, { settings: SETTINGS, overrides, hasOwn: false }), {
    ...OWN,
    ...overrides,
  });
});

Deno.test("buildClaim() labels a home volume with its session", () => {
  assertEquals<unknown>(buildClaim(OWN, METADATA), {
    apiVersion: "v1",
    kind: "PersistentVolumeClaim",
    metadata: { ...METADATA, name: "s1-home" },
    spec: {
      accessModes: ["ReadWriteOnce"],
      storageClassName: "fast",
      resources: { requests: { storage: "10Gi" } },
    },
  });
});

Deno.test("buildClaim() labels a user's home volume with no session, and omits the default storage class", () => {
  assertEquals<unknown>(buildClaim({ ...USERS, storageClass: "" }, METADATA), {
    apiVersion: "v1",
    kind: "PersistentVolumeClaim",
    metadata: {
      namespace: "streamspace",
      name: USERS.claimName,
      labels: { app: "streamspace-session", user: "ann" },
      annotations: { "stream.space/user": "Ann@example.com" },
    },
    spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "10Gi" } } },
  });
});

const CLAIMS: Array<[name: string, metadata: object, expected: boolean]> = [
  ["a claim annotated with the user", { annotations: { "stream.space/user": "alice" } }, true],
  ["a claim that an earlier StreamSpace labelled", { labels: { user: "alice" } }, true],
  ["a claim of another user with the same label", {
    labels: { user: "alice" },
    annotations: { "stream.space/user": "Alice" },
  }, false],
  ["a claim of another user", { labels: { user: "bob" } }, false],
  ["a claim without a user", {}, false],
];

for (const [name, metadata, expected] of CLAIMS) {
  Deno.test(`isHomeVolumeOf() ${expected ? "accepts" : "rejects"} ${name}`, () => {
    assertEquals(isHomeVolumeOf({ metadata }, "alice"), expected);
  });
}
