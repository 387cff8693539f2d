import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { type ConfigSources, loadConfig } from "../../lib/cli/config.ts";
import { ConfigError } from "../../lib/common/errors.ts";
import { type Config, OPTIONS } from "../../lib/cli/options.ts";
import type { Settings } from "../../lib/model/settings.ts";
import { BUILT_IN_TEMPLATES, imageTemplate } from "../../lib/model/template.ts";

const REQUIRED = ["--agent-id=a1", "--control-plane-url=wss://cp.example.com"];

interface Sources {
  args?: string[];
  env?: Record<string, string>;
  files?: Record<string, string>;
}

function sourcesOf({ args = [], env = {}, files = {} }: Sources): ConfigSources {
  return {
    args,
    env: (name) => env[name],
    readFile: (path) => {
      const text = files[path];
      if (text === undefined) throw new Deno.errors.NotFound(`No such file: ${path}`);
      return text;
    },
  };
}

function configOf(sources: Sources): Config {
  const invocation = loadConfig(sourcesOf(sources));
  assert(invocation.kind === "run" || invocation.kind === "check-config");
  return invocation.config;
}

function withRequired(sources: Sources): Config {
  return configOf({ ...sources, args: [...REQUIRED, ...sources.args ?? []] });
}

function problemsOf(sources: Sources): readonly string[] {
  return assertThrows(() => loadConfig(sourcesOf(sources)), ConfigError).problems;
}

function problemOf(sources: Sources): string {
  const problems = problemsOf({ ...sources, args: [...REQUIRED, ...sources.args ?? []] });
  assertEquals(problems.length, 1, problems.join("\n"));
  return problems[0] ?? "";
}

/** For each option a text that is not its default, and its parsed value. */
const SAMPLES: { [K in Exclude<keyof Settings, "checkConfig" | "config">]: [string, Settings[K]] } = {
  agentId: ["k8s-prod-us-east-1", "k8s-prod-us-east-1"],
  adoptSessionsOf: ["k8s-old,k8s-older", ["k8s-old", "k8s-older"]],
  controlPlaneUrl: ["https://control.example.com/base/", "https://control.example.com/base/"],
  platform: ["openshift", "openshift"],
  region: ["us-east-1", "us-east-1"],
  namespace: ["desktops", "desktops"],
  kubeconfig: ["/home/alice/.kube/config", "/home/alice/.kube/config"],
  maxCpu: ["64000m", 64],
  maxMemory: ["256GB", 256],
  maxSessions: ["7", 7],
  apiKeyFile: ["key.txt", "key.txt"],
  caFile: ["ca.pem", "ca.pem"],
  clientCert: ["cert.pem", "cert.pem"],
  clientKey: ["key.pem", "key.pem"],
  allowInsecure: ["true", true],
  leaderElection: ["true", true],
  podName: ["k8s-agent-0", "k8s-agent-0"],
  heartbeatInterval: ["5s", 5000],
  reconnectAttempts: ["0", 0],
  startTimeout: ["3m", 180_000],
  drainTimeout: ["1m", 60_000],
  maxConcurrentStarts: ["5", 5],
  maxDurationAction: ["stop", "stop"],
  idleAction: ["hibernate", "hibernate"],
  streamDial: ["port-forward", "port-forward"],
  maxStreams: ["10", 10],
  maxSessionStreams: ["5", 5],
  streamBuffer: ["1Mi", "1Mi"],
  vncMessages: ["true", true],

  sessionObjects: ["control", "control"],
  homeRetention: ["720h", 2_592_000_000],
  homeStrategy: ["per-user", "per-user"],
  storageClass: ["fast", "fast"],
  storageSize: ["20Gi", "20Gi"],
  storageAccessMode: ["ReadWriteMany", "ReadWriteMany"],
  imagePullPolicy: ["Always", "Always"],
  imagePullSecrets: ["registry", ["registry"]],
  allowedImages: ["[example.com/*, lscr.io/*]", ["example.com/*", "lscr.io/*"]],
  allowedSecrets: ["desktop-*", ["desktop-*"]],
  sessionSecurity: ["restricted", "restricted"],
  ingressNamespaces: ["streamspace,edge", ["streamspace", "edge"]],
  nodeSelector: ["{pool: desktops}", { pool: "desktops" }],
  nodeAffinity: ["{preferredDuringSchedulingIgnoredDuringExecution: []}", {
    preferredDuringSchedulingIgnoredDuringExecution: [],
  }],
  tolerations: ["[{key: desktops, operator: Exists}]", [{ key: "desktops", operator: "Exists" }]],
  runtimeClass: ["gvisor", "gvisor"],
  priorityClass: ["desktops", "desktops"],
  extendedResources: ["{nvidia.com/gpu: 1}", { "nvidia.com/gpu": "1" }],
  templates: [
    "{gimp: example.com/gimp:1}",
    new Map([...BUILT_IN_TEMPLATES, ["gimp", imageTemplate("example.com/gimp:1")]]),
  ],
  healthAddr: ["127.0.0.1:9000", { hostname: "127.0.0.1", port: 9000 }],
  logFormat: ["json", "json"],
  logLevel: ["debug", "debug"],
};

function pem(name: string): string {
  return Deno.readTextFileSync(new URL(`../fixtures/tls/${name}`, import.meta.url));
}

const FILES = {
  "/home/alice/.kube/config": "",
  "key.txt": "k\n",
  "ca.pem": pem("ca.pem"),
  "cert.pem": pem("client.pem"),
  "key.pem": pem("client.key"),
};
/** The flag that a setting requires. */
const PARTNERS: Readonly<Record<string, string>> = {
  clientCert: "--client-key=key.pem",
  clientKey: "--client-cert=cert.pem",
};

for (const option of OPTIONS) {
  if (option.key === "checkConfig" || option.key === "config") continue;
  const { key, flag, variable } = option;
  const [text, expected] = SAMPLES[key];
  const isRequired = REQUIRED.some((argument) => argument.startsWith(`--${flag}=`));
  const partner = PARTNERS[key];
  const others = [
    ...REQUIRED.filter((argument) => !isRequired || !argument.startsWith(`--${flag}=`)),
    ...(partner ? [partner] : []),
  ];

  Deno.test(`loadConfig() reads ${key} from a flag, a variable and a file`, () => {
    const found = [
      configOf({ args: [...others, `--${flag}=${text}`], files: FILES }),
      configOf({ args: [...others, `--${flag}`, text], files: FILES }),
      configOf({ args: others, env: { [variable]: text }, files: FILES }),
      ...[flag, variable, key].map((name) =>
        configOf({
          args: [...others, "--config=c.yaml"],
          files: { ...FILES, "c.yaml": `${name}: ${JSON.stringify(text)}` },
        })
      ),
    ];
    for (const config of found) assertEquals<unknown>(config[key], expected);
  });
}

Deno.test("loadConfig() uses the documented defaults for unset settings", () => {
  assertEquals(withRequired({}), {
    agentId: "a1",
    adoptSessionsOf: [],
    controlPlaneUrl: "wss://cp.example.com",
    platform: "kubernetes",
    region: "",
    namespace: "streamspace",
    kubeconfig: "",
    maxCpu: 100,
    maxMemory: 128,
    maxSessions: 100,
    config: "",
    apiKeyFile: "",
    caFile: "",
    clientCert: "",
    clientKey: "",
    allowInsecure: false,
    leaderElection: false,
    podName: "",
    heartbeatInterval: 10_000,
    reconnectAttempts: 5,
    startTimeout: 120_000,
    drainTimeout: 25_000,
    maxConcurrentStarts: 100,
    maxDurationAction: "hibernate",
    idleAction: "none",
    streamDial: "auto",
    maxStreams: 1024,
    maxSessionStreams: 64,
    streamBuffer: "64Mi",
    vncMessages: false,

    sessionObjects: "mirror",
    homeRetention: "keep",
    homeStrategy: "per-session",
    storageClass: "",
    storageSize: "10Gi",
    storageAccessMode: "ReadWriteOnce",
    imagePullPolicy: "IfNotPresent",
    imagePullSecrets: [],
    allowedImages: [],
    allowedSecrets: [],
    sessionSecurity: "baseline",
    ingressNamespaces: [],
    nodeSelector: {},
    nodeAffinity: {},
    tolerations: [],
    runtimeClass: "",
    priorityClass: "",
    extendedResources: {},
    templates: BUILT_IN_TEMPLATES,
    healthAddr: { hostname: "", port: 8080 },
    logFormat: "text",
    logLevel: "info",
    checkConfig: false,
    apiKey: undefined,
    isHealthAddrSet: false,
    proxy: undefined,
  });
});

Deno.test("loadConfig() prefers flags to variables, variables to the file, the file to defaults", () => {
  const files = { "c.yaml": "region: file\nnamespace: file\nplatform: file" };
  const env = { CONFIG: "c.yaml", REGION: "variable", NAMESPACE: "variable" };
  const { region, namespace, platform, maxCpu } = withRequired({ args: ["--region=flag"], env, files });
  assertEquals([region, namespace, platform, maxCpu], ["flag", "variable", "file", 100]);
});

Deno.test("loadConfig() prefers --config to CONFIG", () => {
  const files = { "flag.yaml": "region: flag", "variable.yaml": "region: variable" };
  const env = { CONFIG: "variable.yaml" };
  assertEquals(withRequired({ args: ["--config=flag.yaml"], env, files }).region, "flag");
  assertEquals(withRequired({ env, files }).region, "variable");
});

Deno.test("loadConfig() treats an empty variable as unset", () => {
  const files = { "c.yaml": "region: file\nmaxCpu:\nplatform: ''" };
  const env = { CONFIG: "c.yaml", REGION: "", MAX_CPU: "", PLATFORM: "", AGENT_API_KEY: " \n" };
  const { region, maxCpu, platform, apiKey } = withRequired({ env, files });
  assertEquals([region, maxCpu, platform, apiKey], ["file", 100, "kubernetes", undefined]);
});

Deno.test("loadConfig() reads a JSON file with numbers and nested values", () => {
  const file = JSON.stringify({
    MAX_SESSIONS: 5,
    maxCpu: 64.5,
    "node-selector": { pool: "desktops", gpu: true, empty: null },
    tolerations: [{ key: "a", operator: "Equal", value: "b", effect: "NoExecute", tolerationSeconds: 5 }],
    templates: { code: { image: "example.com/code:2", port: 8443 } },
    checkConfig: true,
  });
  const config = withRequired({ args: ["--config=c.json"], files: { "c.json": file } });
  assertEquals([config.maxSessions, config.maxCpu, config.checkConfig], [5, 64, true]);
  assertEquals(config.nodeSelector, { pool: "desktops", gpu: "true", empty: "" });
  assertEquals(config.tolerations.length, 1);
  assertEquals(config.templates.get("code"), imageTemplate("example.com/code:2", 8443));
});

Deno.test("loadConfig() recognizes help, version and check-config", () => {
  assertEquals(loadConfig(sourcesOf({ args: ["--help", "--nonsense"] })), { kind: "help" });
  assertEquals(loadConfig(sourcesOf({ args: ["--version"] })), { kind: "version" });
  const invocation = loadConfig(sourcesOf({ args: [...REQUIRED, "--check-config"] }));
  assertEquals(invocation.kind, "check-config");
  assertEquals(loadConfig(sourcesOf({ args: REQUIRED, env: { CHECK_CONFIG: "true" } })).kind, "check-config");
  assertEquals(loadConfig(sourcesOf({ args: REQUIRED, env: { HELP: "1", VERSION: "2" } })).kind, "run");
});

Deno.test("loadConfig() reports all problems at once, with flag and variable", () => {
  const error = assertThrows(() =>
    loadConfig(sourcesOf({
      args: ["--max-cpu=lots", "--nonsense=1", "stray"],
      env: { MAX_MEMORY: "0", NAMESPACE: "Not_Valid", LOG_LEVEL: "loud", CONFIG: "c.yaml" },
      files: { "c.yaml": "maxSessions: -1\ntypo: 1" },
    })), ConfigError);
  assertEquals(error.problems, [
    "--nonsense is unknown: see --help",
    "argument stray is unexpected: see --help",
    "typo in c.yaml is unknown: see --help for the settings",
    "--agent-id (AGENT_ID) is required: Unique agent identifier, such as k8s-prod-us-east-1",
    "--control-plane-url (CONTROL_PLANE_URL) is required: Control Plane URL, such as wss://control.example.com",
    '--namespace (NAMESPACE) must be a Kubernetes namespace: lower-case letters, digits and hyphens: current value is "Not_Valid" (NAMESPACE)',
    '--max-cpu (MAX_CPU) must be an amount of cores such as 64 or 64000m: current value is "lots" (--max-cpu)',
    '--max-memory (MAX_MEMORY) must be between 1 and 1000000: current value is "0" (MAX_MEMORY)',
    '--max-sessions (MAX_SESSIONS) must be an integer from 1 to 100000: current value is "-1" (c.yaml)',
    '--log-level (LOG_LEVEL) must be one of debug, info, warn, error: current value is "loud" (LOG_LEVEL)',
  ]);
  for (const problem of error.problems) assertStringIncludes(error.message, `\n  - ${problem}`);
});

const BAD_ARGUMENTS: Array<[args: string[], expected: string]> = [
  [["--max-cpu=5", "--max-cpu=6"], "--max-cpu is given 2 times"],
  [["--nonsense"], "--nonsense is unknown: see --help"],
  [["-x"], "-x is unknown: see --help"],
  [["--__proto__=1"], "--__proto__ is unknown: see --help"],
  [["--constructor=1"], "--constructor is unknown: see --help"],
  [["--region.x=1"], "--region.x is unknown: see --help"],
  [["--no-check-config"], "--no-check-config is unknown: see --help"],
  [["stray"], "argument stray is unexpected: see --help"],
  [["--", "stray"], "argument stray is unexpected: see --help"],
  [["AGENT_API_KEY=s3cret"], "argument AGENT_API_KEY is unexpected: see --help"],
  [["-k=s3cret"], "-k is unknown: see --help"],
];

for (const [args, expected] of BAD_ARGUMENTS) {
  Deno.test(`loadConfig() rejects ${args.join(" ")}`, () => {
    assertEquals(problemOf({ args }), expected);
  });
}

for (const args of [["--health-addr="], ["--health-addr=off"], ["--health-addr"]]) {
  Deno.test(`loadConfig() reads ${args.join(" ")} as no address`, () => {
    assertEquals(withRequired({ args }).healthAddr, "off");
  });
}

const HEALTH_ADDR_SOURCES: ReadonlyArray<[name: string, sources: Sources]> = [
  ["a flag", { args: ["--health-addr=:8080"] }],
  ["a variable", { env: { HEALTH_ADDR: ":8080" } }],
  ["a file", { args: ["--config=c.yaml"], files: { "c.yaml": "healthAddr: :8080" } }],
];
for (const [name, sources] of HEALTH_ADDR_SOURCES) {
  Deno.test(`loadConfig() reports that ${name} sets the health address to its default`, () => {
    const { healthAddr, isHealthAddrSet } = withRequired(sources);
    assertEquals([healthAddr, isHealthAddrSet], [{ hostname: "", port: 8080 }, true]);
  });
}

Deno.test("loadConfig() treats an empty variable of the health address as unset", () => {
  assertEquals(withRequired({ env: { HEALTH_ADDR: "" } }).isHealthAddrSet, false);
});

Deno.test("loadConfig() reports a flag without a value once", () => {
  assertEquals(problemsOf({ args: ["--agent-id", "--control-plane-url=ws://h"] }), [
    "--agent-id (AGENT_ID) has no value",
  ]);
});

const CERTIFICATE_PROBLEMS: ReadonlyArray<
  readonly [name: string, files: Readonly<Record<string, string>>, problem: string]
> = [
  ["an empty CA file", { "ca.pem": "" }, "--ca-file (CA_FILE) is empty: ca.pem"],
  [
    "a CA file in DER",
    { "ca.pem": "0\ufffd\u0001\ufffd0" },
    "--ca-file (CA_FILE) is in a binary format, such as DER or PKCS #12, not in PEM: convert it with openssl: ca.pem",
  ],
  [
    "a key as CA file",
    { "ca.pem": pem("client.key") },
    "--ca-file (CA_FILE) contains no certificate, but a private key: ca.pem",
  ],
  ["HTML", { "ca.pem": "<html>" }, "--ca-file (CA_FILE) contains no certificate in PEM format: ca.pem"],
  [
    "a certificate without its end",
    { "cert.pem": pem("client.pem").slice(0, 200) },
    "--client-cert (CLIENT_CERT) is truncated: a PEM block has no end line: cert.pem",
  ],
  [
    "a certificate as key",
    { "key.pem": pem("client.pem") },
    "--client-key (CLIENT_KEY) contains no private key, but a certificate: key.pem",
  ],
  [
    "the key of another certificate",
    { "key.pem": pem("server.key") },
    "--client-key (CLIENT_KEY) does not belong to the certificate: key.pem",
  ],
  ["a missing key", { "key.pem": "" }, "--client-key (CLIENT_KEY) is empty: key.pem"],
];

for (const [name, files, problem] of CERTIFICATE_PROBLEMS) {
  Deno.test(`loadConfig() rejects ${name} at startup`, () => {
    const args = ["--ca-file=ca.pem", "--client-cert=cert.pem", "--client-key=key.pem"];
    assertEquals(problemOf({ args, files: { ...FILES, ...files } }), problem);
  });
}

Deno.test("loadConfig() accepts a list of kubeconfigs of which one exists", () => {
  const files = { a: "", b: "" };
  const config = withRequired({ env: { KUBECONFIG: "missing:a::b:" }, files });
  assertEquals(config.kubeconfig, "missing:a::b:");
  const problem = problemOf({ env: { KUBECONFIG: "missing:gone" }, files });
  assert(problem.startsWith("--kubeconfig (KUBECONFIG) cannot be read: "), problem);
});

const BAD_FILES: Array<[name: string, file: string, expected: string]> = [
  ["a list", "- a\n- b", "--config (CONFIG) must hold a mapping of settings: c.yaml"],
  ["text", "hello", "--config (CONFIG) must hold a mapping of settings: c.yaml"],
  ["two documents", "region: a\n---\nregion: b", "--config (CONFIG) must hold a mapping of settings: c.yaml"],
  ["no YAML", "a: [", "--config (CONFIG) cannot be read: "],
  ["a setting twice", "region: a\nREGION: b", "REGION in c.yaml is given twice"],
  ["a key twice", "region: a\nregion: b", "--config (CONFIG) cannot be read: "],
  [
    "a prototype key",
    "__proto__: {region: x}",
    "__proto__ in c.yaml is unknown: see --help for the settings",
  ],
  ["a file in the file", "config: other.yaml", "config in c.yaml is unknown: see --help for the settings"],
  ["a key in the file", "apiKey: s3cret", "apiKey in c.yaml is unknown: see --help for the settings"],
  ["a list for text", "region: [a]", "--region (REGION) must be text: current value is a list (c.yaml)"],
  ["a list for a number", "maxSessions: [5]", "--max-sessions (MAX_SESSIONS) must be an integer"],
  ["a list for a switch", "checkConfig: [true]", "--check-config (CHECK_CONFIG) must be true or false"],
  [
    "an object that holds itself",
    "maxCpu: &a {b: *a}",
    "--max-cpu (MAX_CPU) must be an amount of cores such as 64 or 64000m",
  ],
  ["a list that holds itself", "tolerations: &a [*a]", "--tolerations (TOLERATIONS) must be a list"],
  ["a toleration of lists", "tolerations: [{key: [a]}]", "--tolerations (TOLERATIONS) must be a list"],
  ["a byte for a home", "storageSize: '10'", "--storage-size (STORAGE_SIZE) must be a Kubernetes quantity"],
];

for (const [name, file, expected] of BAD_FILES) {
  Deno.test(`loadConfig() rejects a file with ${name}`, () => {
    assertStringIncludes(problemOf({ args: ["--config=c.yaml"], files: { "c.yaml": file } }), expected);
  });
}

Deno.test("loadConfig() accepts an empty file", () => {
  assertEquals(withRequired({ args: ["--config=c.yaml"], files: { "c.yaml": "# nothing\n" } }).maxCpu, 100);
});

Deno.test("loadConfig() reports an unreadable file together with other problems", () => {
  assertEquals(problemsOf({ args: ["--config=none.yaml", "--agent-id=a1"] }), [
    "--config (CONFIG) cannot be read: No such file: none.yaml",
    "--control-plane-url (CONTROL_PLANE_URL) is required: Control Plane URL, such as wss://control.example.com",
  ]);
});

Deno.test("loadConfig() shortens long values and keys in problems", () => {
  const long = "x".repeat(2 ** 20);
  assert(problemOf({ env: { NAMESPACE: long } }).length < 300);
  assert(problemOf({ args: ["--config=c.yaml"], files: { "c.yaml": `"${long}": 1` } }).length < 1200);
});

Deno.test("loadConfig() escapes control characters in problems", () => {
  const forged = "a\u001b[31m\nforged";
  const problems = problemsOf({
    args: [`--x=${forged}`, "--config=c.yaml"],
    env: { NAMESPACE: forged, TEMPLATES: JSON.stringify({ [forged]: 1 }) },
    files: { "c.yaml": `${JSON.stringify(forged)}: 1` },
  });
  assertEquals(problems.length, 6);
  // deno-lint-ignore no-control-regex -- what must not be in a line
  for (const problem of problems) assert(!/[\u0000-\u001f]/.test(problem), JSON.stringify(problem));
});

for (
  const url of [
    "wss://alice:s3cret@cp.example.com/",
    "wss://cp.example.com/?token=s3cret",
    "wss://cp.example.com/#token=s3cret",
    "https:alice:s3cret@cp.example.com",
    "wss://alice:un s3cret@cp.example.com",
  ]
) {
  Deno.test(`loadConfig() omits the secret of ${url} from the problem`, () => {
    const problem = problemsOf({ env: { AGENT_ID: "a1", CONTROL_PLANE_URL: url } })[0] ?? "";
    assertStringIncludes(problem, "--control-plane-url (CONTROL_PLANE_URL) must ");
    assert(!problem.includes("s3cret"), problem);
  });
}

Deno.test("loadConfig() reads the key from AGENT_API_KEY or a file and trims it", () => {
  assertEquals(withRequired({ env: { AGENT_API_KEY: " k1\n" } }).apiKey?.reveal(), "k1");
  const files = { "key.txt": "k2\n" };
  assertEquals(withRequired({ env: { API_KEY_FILE: "key.txt" }, files }).apiKey?.reveal(), "k2");
});

Deno.test("loadConfig() has no flag for the key itself", () => {
  for (const args of [["--api-key=s3cret"], ["--api-key", "s3cret"]]) {
    assertEquals(problemOf({ args }), "--api-key is unknown: see --help");
  }
  const unexpected = problemOf({ args: ["--", "--api-key=s3cret"] });
  assertEquals(unexpected, "argument --api-key is unexpected: see --help");
  assert(!OPTIONS.some((option) => option.flag === "api-key" || option.variable === "AGENT_API_KEY"));
});

const BAD_KEYS: Array<[name: string, sources: Sources, expected: string]> = [
  [
    "a file that is missing",
    { args: ["--api-key-file=none"] },
    "--api-key-file (API_KEY_FILE) cannot be read: No such file: none",
  ],
  [
    "a file that is empty",
    { args: ["--api-key-file=e"], files: { e: "\n" } },
    "--api-key-file (API_KEY_FILE) is empty: e",
  ],
  [
    "a line feed within",
    { env: { AGENT_API_KEY: "s3cret\nX-Other: 1" } },
    "AGENT_API_KEY contains characters that are not allowed in a key",
  ],
  [
    "a letter that no header takes",
    { args: ["--api-key-file=e"], files: { e: "s3crét" } },
    "--api-key-file (API_KEY_FILE) contains characters that are not allowed in a key: e",
  ],
];

for (const [name, sources, expected] of BAD_KEYS) {
  Deno.test(`loadConfig() rejects a key from ${name} without printing it`, () => {
    assertEquals(problemOf(sources), expected);
  });
}

Deno.test("loadConfig() returns a configuration that prints without its key", () => {
  const config = withRequired({ env: { AGENT_API_KEY: "s3cret" } });
  for (const text of [JSON.stringify(config), Deno.inspect(config, { depth: 9 })]) {
    assert(text.includes("[redacted]") && !text.includes("s3cret"), text);
  }
});

Deno.test("loadConfig() reads the proxy from the environment and prints no password", () => {
  const config = withRequired({ env: { HTTPS_PROXY: "http://alice:s3cret@proxy:3128" } });
  assertEquals(config.proxy?.password.reveal(), "s3cret");
  assertEquals(JSON.parse(JSON.stringify(config)).proxy, {
    url: "http://proxy:3128",
    user: "alice",
    password: "[redacted]",
  });
  assert(!Deno.inspect(config, { depth: 9 }).includes("s3cret"));
  assertEquals(withRequired({ env: { HTTP_PROXY: "http://proxy:3128" } }).proxy, undefined);
});

Deno.test("loadConfig() names the variable of an invalid proxy URL, not its value", () => {
  for (const text of ["socks5://alice:s3cret@proxy", "http://alice:s3cret@", "http://alice:s3cret@pro xy"]) {
    assertEquals(
      problemOf({ env: { https_proxy: text } }),
      "https_proxy must be a proxy URL, such as http://proxy.example.com:3128",
    );
  }
  const unused = { HTTP_PROXY: "socks5://proxy", HTTPS_PROXY: "socks5://proxy", NO_PROXY: "example.com" };
  assertEquals(withRequired({ env: unused }).proxy, undefined);
});

for (
  const [url, isRejected] of [
    ["ws://localhost:8000", false],
    ["ws://127.0.0.1:8000", false],
    ["http://[::1]:8000", false],
    ["ws://control-plane:8000", false],
    ["ws://control-plane.streamspace.svc:8000", false],
    ["http://control-plane.streamspace.svc.cluster.local", false],
    ["wss://control.example.com", false],
    ["ws://control.example.com", true],
    ["http://control.example.com", true],
    ["ws://192.0.2.7:8000", true],
    ["ws://localhost.example.com", true],
  ] as const
) {
  Deno.test(`loadConfig() ${isRejected ? "rejects" : "accepts"} ${url} without --allow-insecure`, () => {
    const args = ["--agent-id=a1", `--control-plane-url=${url}`];
    if (isRejected) assertThrows(() => configOf({ args }), ConfigError, "--allow-insecure (ALLOW_INSECURE)");
    else assertEquals(configOf({ args }).controlPlaneUrl, url);
    assertEquals(configOf({ args: [...args, "--allow-insecure"] }).controlPlaneUrl, url);
  });
}

Deno.test("loadConfig() reads a switch with a value like any other flag", () => {
  const env = { ALLOW_INSECURE: "true" };
  assertEquals(withRequired({ args: ["--allow-insecure=false"], env }).allowInsecure, false);
  assertEquals(withRequired({ args: ["--allow-insecure"] }).allowInsecure, true);
  const [problem] = problemsOf({ args: [...REQUIRED, "--allow-insecure=maybe"] });
  assertEquals(
    problem,
    '--allow-insecure (ALLOW_INSECURE) must be true or false: current value is "maybe" (--allow-insecure)',
  );
});

const COMMAND_LINES = [
  [["doctor"], "doctor", "text"],
  [["preflight", "--output=json"], "doctor", "json"],
  [["--output", "json", "sessions"], "sessions", "json"],
  [["--allow-insecure", "sessions"], "sessions", "text"],
] as const;
for (const [args, kind, output] of COMMAND_LINES) {
  Deno.test(`loadConfig() parses ${args.join(" ")} as the command ${kind}`, () => {
    const invocation = loadConfig(sourcesOf({ args: [...args, ...REQUIRED] }));
    assert(invocation.kind === "doctor" || invocation.kind === "sessions");
    assertEquals([invocation.kind, invocation.output], [kind, output]);
    assert(!(invocation.config instanceof ConfigError));
    assertEquals(invocation.config.agentId, "a1");
  });
}

const WRONG_COMMAND_LINES = [
  [["sessions", "doctor"], "argument doctor is unexpected: see --help"],
  [["--output=json"], "--output is only for the commands doctor and sessions"],
  [["sessions", "--output=xml"], '--output must be one of text, json: current value is "xml"'],
] as const;
for (const [args, problem] of WRONG_COMMAND_LINES) {
  Deno.test(`loadConfig() rejects the command line ${args.join(" ")}`, () => {
    assertEquals(problemsOf({ args: [...args, ...REQUIRED] }), [problem]);
  });
}

Deno.test("loadConfig() returns invalid settings to the doctor as an error", () => {
  const invocation = loadConfig(sourcesOf({ args: ["doctor", "--max-cpu=lots", ...REQUIRED] }));
  assert(invocation.kind === "doctor" && invocation.config instanceof ConfigError);
  assertEquals(invocation.config.problems, [
    '--max-cpu (MAX_CPU) must be an amount of cores such as 64 or 64000m: current value is "lots" (--max-cpu)',
  ]);
});
