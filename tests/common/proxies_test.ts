import { assert, assertEquals } from "@std/assert";
import { chooseProxy, clientProxy, parseProxy } from "../../lib/common/proxies.ts";

const ALL = { HTTPS_PROXY: "https-proxy:1", HTTP_PROXY: "http-proxy:2", ALL_PROXY: "all-proxy:3" };

function variableFor(url: string, env: Readonly<Record<string, string>>): string | undefined {
  return chooseProxy(new URL(url), (name) => env[name])?.variable;
}

const CHOICES: Array<[url: string, env: Record<string, string>, variable: string | undefined]> = [
  ["wss://cp.example.com", {}, undefined],
  ["wss://cp.example.com", ALL, "HTTPS_PROXY"],
  ["https://cp.example.com", ALL, "HTTPS_PROXY"],
  ["ws://cp.example.com", ALL, "HTTP_PROXY"],
  ["http://cp.example.com", ALL, "HTTP_PROXY"],
  ["wss://cp.example.com", { HTTP_PROXY: "p:1" }, undefined],
  ["ws://cp.example.com", { HTTPS_PROXY: "p:1" }, undefined],
  ["wss://cp.example.com", { HTTP_PROXY: "p:1", all_proxy: "p:1" }, "all_proxy"],
  ["wss://cp.example.com", { https_proxy: "p:1" }, "https_proxy"],
  ["ws://cp.example.com", { http_proxy: "p:1" }, "http_proxy"],
  ["wss://cp.example.com", { HTTPS_PROXY: "p:1", https_proxy: "p:2" }, "HTTPS_PROXY"],
  ["wss://cp.example.com", { HTTPS_PROXY: " ", https_proxy: "p:2" }, "https_proxy"],
  ["wss://cp.example.com", { ...ALL, no_proxy: "cp.example.com" }, undefined],
  ["wss://cp.example.com", { ...ALL, NO_PROXY: "other", no_proxy: "cp.example.com" }, "HTTPS_PROXY"],
];

for (const [url, env, variable] of CHOICES) {
  Deno.test(`chooseProxy() returns ${variable} for ${url} with ${JSON.stringify(env)}`, () => {
    assertEquals(variableFor(url, env), variable);
  });
}

const EXCEPTIONS: Array<[noProxy: string, url: string, isDirect: boolean]> = [
  ["*", "wss://cp.example.com", true],
  ["example.com", "wss://cp.example.com", true],
  [".example.com", "wss://cp.example.com", true],
  ["*.example.com", "wss://cp.example.com", true],
  [".example.com", "wss://example.com", true],
  ["EXAMPLE.com.", "wss://cp.example.COM.", true],
  ["example.com", "wss://notexample.com", false],
  ["cp.example.com", "wss://example.com", false],
  ["a, example.com ,b", "wss://cp.example.com", true],
  ["a example.com b", "wss://cp.example.com", true],
  [",, ,", "wss://cp.example.com", false],
  [".", "wss://cp.example.com", false],
  ["example.com:443", "wss://cp.example.com", true],
  ["example.com:8443", "wss://cp.example.com", false],
  ["example.com:8443", "wss://cp.example.com:8443", true],
  ["example.com", "wss://cp.example.com:8443", true],
  ["example.com:80", "ws://cp.example.com", true],
  ["10.1.2.3", "wss://10.1.2.3", true],
  ["10.1.2.3:443", "wss://10.1.2.3", true],
  ["10.1.2.3", "wss://10.1.2.33", false],
  ["1.2.3", "wss://10.1.2.3", false],
  ["10.0.0.0/8", "wss://10.1.2.3", true],
  ["10.0.0.0/15", "wss://10.1.2.3", true],
  ["10.0.0.0/16", "wss://10.1.2.3", false],
  ["0.0.0.0/0", "wss://10.1.2.3", true],
  ["10.0.0.0/lots", "wss://10.1.2.3", false],
  ["10.0.0.0/", "wss://10.1.2.3", false],
  ["10.0.0.0/8", "wss://cp.example.com", false],
  ["::1", "wss://[::1]:8443", true],
  ["[::1]", "wss://[::1]:8443", true],
  ["[::1]:8443", "wss://[::1]:8443", true],
  ["[::1]:9443", "wss://[::1]:8443", false],
  ["0:0:0:0:0:0:0:1", "wss://[::1]", true],
  ["fd00::/8", "wss://[fd12:3456::1]", true],
  ["fd00::/8", "wss://[fe80::1]", false],
  ["0.0.0.0/0", "wss://[::1]", false],
];

for (const [noProxy, url, isDirect] of EXCEPTIONS) {
  Deno.test(`chooseProxy() with NO_PROXY=${noProxy} connects ${isDirect ? "directly" : "via the proxy"} to ${url}`, () => {
    assertEquals(variableFor(url, { ...ALL, NO_PROXY: noProxy }) === undefined, isDirect);
  });
}

const PROXIES: Array<[text: string, url: string | undefined, user?: string, password?: string]> = [
  ["http://proxy.example.com:3128", "http://proxy.example.com:3128"],
  ["proxy.example.com:3128", "http://proxy.example.com:3128"],
  ["proxy", "http://proxy"],
  ["https://proxy.example.com/", "https://proxy.example.com"],
  ["http://[::1]:3128", "http://[::1]:3128"],
  ["http://alice:s3cret@proxy:3128", "http://proxy:3128", "alice", "s3cret"],
  ["alice:s3cret@proxy:3128", "http://proxy:3128", "alice", "s3cret"],
  ["http://alice:a%40b%3Ac@proxy", "http://proxy", "alice", "a@b:c"],
  ["http://alice@proxy", "http://proxy", "alice", ""],
  ["socks5://proxy:1080", undefined],
  ["http://", undefined],
  ["http://proxy:port", undefined],
  ["http://alice:%zz@proxy", undefined],
  ["", undefined],
];

for (const [text, url, user = "", password = ""] of PROXIES) {
  Deno.test(`parseProxy() parses ${JSON.stringify(text)} as ${url}`, () => {
    const proxy = parseProxy(text);
    assertEquals([proxy?.url, proxy?.user ?? "", proxy?.password.reveal() ?? ""], [url, user, password]);
  });
}

Deno.test("clientProxy() sends credentials only if there is a user", () => {
  const [without, named] = [parseProxy("proxy:1"), parseProxy("alice:s3cret@proxy:1")];
  assert(without && named);
  assertEquals(clientProxy(without), { url: "http://proxy:1" });
  assertEquals(clientProxy(named), {
    url: "http://proxy:1",
    basicAuth: { username: "alice", password: "s3cret" },
  });
});
