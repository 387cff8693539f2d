import { assertEquals } from "@std/assert";
import {
  agentId,
  amount,
  duration,
  integer,
  label,
  labels,
  list,
  namespace,
  nodeAffinity,
  objectName,
  oneOf,
  type Parsed,
  pattern,
  quantity,
  resourceAmounts,
  switchValue,
  templates,
  text,
  tolerations,
  url,
} from "../../lib/cli/option_parsers.ts";
import { parseCores } from "../../lib/common/quantities.ts";
import { BUILT_IN_TEMPLATES, imageTemplate } from "../../lib/model/template.ts";

interface Table {
  name: string;
  parse: (value: unknown) => Parsed<unknown>;
  good: Array<[value: unknown, expected: unknown]>;
  bad: unknown[];
}

const LONG = "x".repeat(2 ** 20);
const NOT_TEXT = [undefined, null, true, [], ["a"], {}];
const TOLERATION = { key: "a", operator: "Equal", value: "b", effect: "NoExecute", tolerationSeconds: 5 };

const TABLES: Table[] = [
  { name: "text()", parse: text, good: [["", ""], ["a b", "a b"], [5, "5"]], bad: NOT_TEXT },
  {
    name: "label()",
    parse: label,
    good: [["", ""], ["us-east-1", "us-east-1"], [1, "1"], ["x".repeat(253), "x".repeat(253)]],
    bad: [...NOT_TEXT, "a\nb", "a\u0000", "région", "x".repeat(254), LONG],
  },
  {
    name: "agentId()",
    parse: agentId,
    good: [["a", "a"], ["k8s-prod_us.east-1", "k8s-prod_us.east-1"], [7, "7"], [
      "x".repeat(63),
      "x".repeat(63),
    ]],
    bad: [...NOT_TEXT, "", "-a", "a-", "a b", "a/b", "../x", "é", "a\n", "x".repeat(64), LONG],
  },
  {
    name: "namespace()",
    parse: namespace,
    good: [["streamspace", "streamspace"], ["a", "a"], ["1a-b2", "1a-b2"]],
    bad: [...NOT_TEXT, "", "A", "a.b", "a_b", "-a", "a-", "../x", "a/b", "x".repeat(64), LONG],
  },
  {
    name: "url()",
    parse: url,
    good: [["wss://h", "wss://h"], ["http://h:8000/a/", "http://h:8000/a/"]],
    bad: [
      ...NOT_TEXT,
      5,
      "",
      "h",
      "h:8000",
      "ftp://h",
      "file:///etc",
      "wss://u:p@h",
      "wss://h?a=b",
      "wss://h#a",
    ],
  },
  {
    name: "amount()",
    parse: amount(parseCores, "cores"),
    good: [["1", 1], [64, 64], [64.9, 64], ["64000m", 64], ["1000000", 1_000_000]],
    bad: [...NOT_TEXT, "", "0", 0, "999m", -1, NaN, Infinity, "1000001", "9".repeat(400), LONG],
  },
  {
    name: "integer()",
    parse: integer(0, 10),
    good: [["0", 0], ["10", 10], [7, 7], ["007", 7]],
    bad: [...NOT_TEXT, [5], "", "11", "-1", -1, 1.5, "1.5", "1e1", " 5", "5\n", NaN, Infinity, LONG],
  },
  {
    name: "duration()",
    parse: duration(1000, 20_000),
    good: [["1s", 1000], ["20s", 20_000], ["10", 10_000], [10, 10_000], ["1500ms", 1500]],
    bad: [...NOT_TEXT, "", "999ms", "21s", "0", "-1s", "soon", LONG],
  },
  {
    name: "quantity()",
    parse: quantity,
    good: [["10Gi", "10Gi"], ["1Mi", "1Mi"], ["5000000k", "5000000k"]],
    bad: [...NOT_TEXT, 10, "", "10", "10GB", "0Gi", "-1Gi", "10m", LONG],
  },
  {
    name: "oneOf()",
    parse: oneOf("text", "json"),
    good: [["text", "text"], ["json", "json"]],
    bad: [...NOT_TEXT, "", "TEXT", "json ", "__proto__", "constructor"],
  },
  {
    name: "switchValue()",
    parse: switchValue,
    good: [["true", true], ["TRUE", true], ["1", true], [true, true], [1, true], ["false", false], [
      "0",
      false,
    ]],
    bad: [undefined, null, "", "yes", "on", 2, [true], [1], {}],
  },
  {
    name: "labels()",
    parse: labels,
    good: [
      [{}, {}],
      ["{pool: desktops, gpu: true, n: 5, none: }", { pool: "desktops", gpu: "true", n: "5", none: "" }],
      [{ pool: "a" }, { pool: "a" }],
    ],
    bad: ["", "pool", "[a]", "{pool: [a]}", "{pool: {a: b}}", "{", "a: *b", null, 5, ["a"], LONG],
  },
  {
    name: "list()",
    parse: list(namespace),
    good: [[[], []], ["[]", []], ["[a, b]", ["a", "b"]], ["a, b", ["a", "b"]], ["a", ["a"]], [["a"], ["a"]]],
    bad: [undefined, null, 5, {}, "", "[A]", "a,,b", "a,B", "[", [[]], LONG],
  },
  {
    name: "objectName()",
    parse: objectName,
    good: [["", ""], ["gvisor", "gvisor"], ["a.b-c", "a.b-c"]],
    bad: [...NOT_TEXT, "A", "-a", "a-", "a_b", "a/b", LONG],
  },
  {
    name: "pattern()",
    parse: pattern,
    good: [["*", "*"], ["lscr.io/linuxserver/*", "lscr.io/linuxserver/*"]],
    bad: [...NOT_TEXT, "", "a b", "a\n", LONG],
  },
  {
    name: "resourceAmounts()",
    parse: resourceAmounts,
    good: [[{}, {}], ["{nvidia.com/gpu: 1}", { "nvidia.com/gpu": "1" }], [{ "a.b/c": "2" }, {
      "a.b/c": "2",
    }]],
    bad: [
      "",
      "gpu",
      "[a]",
      "{gpu: 1}",
      "{cpu: 1}",
      "{a.b/c: 0}",
      "{a.b/c: x}",
      "{a.b/c: 1.5}",
      null,
      5,
      LONG,
    ],
  },
  {
    name: "nodeAffinity()",
    parse: nodeAffinity,
    good: [[{}, {}], ["{requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: []}}", {
      requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [] },
    }]],
    bad: ["", "a", "[a]", "{nodeAffinity: {}}", null, 5, LONG],
  },
  {
    name: "tolerations()",
    parse: tolerations,
    good: [[[], []], ["[]", []], [[TOLERATION], [TOLERATION]], ["[{key: a, operator: Exists}]", [{
      key: "a",
      operator: "Exists",
    }]]],
    bad: [
      "",
      "{key: a}",
      "[a]",
      "[[]]",
      "[{keys: a}]",
      "[{key: [a]}]",
      "[{key: 5}]",
      "[{value: true}]",
      "[{tolerationSeconds: '5'}]",
      "[{constructor: a}]",
      "[",
      null,
      {},
    ],
  },
  {
    name: "templates()",
    parse: templates,
    good: [
      [{}, BUILT_IN_TEMPLATES],
      ["{gimp: a/gimp}", new Map([...BUILT_IN_TEMPLATES, ["gimp", imageTemplate("a/gimp")]])],
      [
        { firefox: { image: "b/firefox:2", port: 80 } },
        new Map([...BUILT_IN_TEMPLATES, ["firefox", imageTemplate("b/firefox:2", 80)]]),
      ],
      [
        "{code: {baseImage: a/code:1, ports: [{name: web, containerPort: 8443}], defaultResources: {cpu: 2}}}",
        new Map([...BUILT_IN_TEMPLATES, ["code", {
          baseImage: "a/code:1",
          ports: [{ name: "web", containerPort: 8443, protocol: "TCP" }],
          vnc: { port: 8443 },
          defaultResources: { cpu: "2" },
        }]]),
      ],
      [
        '{"__proto__": "a/b"}',
        new Map([...BUILT_IN_TEMPLATES, ["__proto__", imageTemplate("a/b")]]),
      ],
    ],
    bad: [
      "",
      "gimp",
      "[gimp]",
      "{gimp: }",
      "{gimp: 5}",
      "{gimp: ''}",
      "{gimp: 'a b'}",
      "{gimp: {port: 80}}",
      "{gimp: {image: a, port: 0}}",
      "{gimp: {image: a, port: 65536}}",
      "{gimp: {image: a, port: 80.5}}",
      "{gimp: {image: a, port: '80'}}",
      { gimp: "x".repeat(513) },
      { gimp: ["a"] },
      "{gimp: {baseImage: a/b, hostNetwork: true}}",
      null,
    ],
  },
];

for (const { name, parse, good, bad } of TABLES) {
  for (const [value, expected] of good) {
    Deno.test(`${name} parses ${shown(value)}`, () => {
      assertEquals(parse(value), { ok: true, value: expected });
    });
  }
  for (const value of bad) {
    Deno.test(`${name} rejects ${shown(value)} with a message`, () => {
      const parsed = parse(value);
      assertEquals(parsed.ok, false);
      assertEquals(!parsed.ok && /^must (?:not )?(?:be|hold|contain) .{4,250}$/.test(parsed.problem), true);
    });
  }
}

function shown(value: unknown): string {
  return (typeof value === "number" ? String(value) : JSON.stringify(value) ?? "undefined").slice(0, 60);
}
