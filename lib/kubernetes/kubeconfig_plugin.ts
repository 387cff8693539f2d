/**
 * Credentials of a kubeconfig's user from a program (`exec`) or a provider (`auth-provider`). client-node runs them; each is loaded when it is first
 * used, as few agents have one, and from a module of its own, as client-node's `KubeConfig` would double the size of the agent.
 * @module
 */
import type { User } from "@kubernetes/client-node";
import { messageOf } from "../common/errors.ts";
import { asRecord } from "../common/json.ts";
import { pairProblem } from "../common/pem.ts";
import type { Entry } from "./kubeconfig_file.ts";
import type { Identity } from "./kubeconfig_user.ts";
import { OidcToken } from "./oidc_token.ts";

/** Where a plug-in puts its credentials. */
interface PluginOptions {
  readonly headers: Record<string, string>;
  cert?: string;
  key?: string;
}

/** A plug-in of client-node. */
interface Authenticator {
  applyAuthentication(user: User, options: PluginOptions): Promise<void>;
}

/** What runs a plug-in. */
type Plugin = (options: PluginOptions) => Promise<void>;

/** Provider → how it is loaded. */
const PROVIDERS: ReadonlyMap<string, (config: Readonly<Record<string, unknown>>) => Plugin> = new Map([
  ["oidc", (config) => {
    const token = new OidcToken(config);
    return async ({ headers }) => {
      headers.Authorization = `Bearer ${await token.current()}`;
    };
  }],
  ["gcp", (config) =>
    authenticatorOf({ name: "user", authProvider: { name: "gcp", config } }, async () => {
      const { GoogleCloudPlatformAuth } = await import("@kubernetes/client-node/dist/gcp_auth.js");
      return new GoogleCloudPlatformAuth();
    })],
  [
    "azure",
    (config) =>
      authenticatorOf({ name: "user", authProvider: { name: "azure", config } }, async () => {
        const { AzureAuth } = await import("@kubernetes/client-node/dist/azure_auth.js");
        return new AzureAuth();
      }),
  ],
]);

/**
 * Checks the settings of a user's plug-in; it is not run before the first request.
 *
 * @returns `undefined` if the user has none
 * @throws {KubeconfigError} if its settings are invalid
 */
export function pluginOf(user: Entry): (() => Promise<Identity>) | undefined {
  const exec = user.record("exec");
  const provider = user.record("auth-provider");
  if (exec && provider) {
    throw user.error("exec and auth-provider are both set: only one of them is allowed");
  }
  const named = exec ? execPlugin(user, exec) : provider ? providerPlugin(user, provider) : undefined;
  if (!named) return undefined;
  const { title, plugin } = named;
  return async () =>
    await identityOf(plugin, (problem, cause) => user.error(`${title} ${problem}`, { cause }));
}

function execPlugin(
  user: Entry,
  exec: Readonly<Record<string, unknown>>,
): { title: string; plugin: Plugin } {
  const { command, interactiveMode } = exec;
  if (typeof command !== "string" || command === "") throw user.error("exec has no command");
  if (interactiveMode === "Always") {
    throw user.error("exec has interactiveMode Always, but the agent has no terminal");
  }
  // A path without a slash is searched for in PATH.
  const resolved = command.includes("/") ? user.resolve(command) : command;
  const plugin = authenticatorOf({ name: "user", exec: { ...exec, command: resolved } }, async () => {
    const { ExecAuth } = await import("@kubernetes/client-node/dist/exec_auth.js");
    return new ExecAuth();
  });
  return { title: `exec ${command}`, plugin };
}

function providerPlugin(
  user: Entry,
  provider: Readonly<Record<string, unknown>>,
): { title: string; plugin: Plugin } {
  const name = String(provider.name ?? "");
  const plugin = PROVIDERS.get(name);
  if (!plugin) throw user.error(`auth-provider ${JSON.stringify(name)} is not supported: use exec`);
  // client-node's providers keep new tokens in their settings.
  return { title: `auth-provider ${name}`, plugin: plugin({ ...asRecord(provider.config) }) };
}

/** Loads a plug-in of client-node when it is first used; it caches tokens. */
function authenticatorOf(user: User, load: () => Promise<Authenticator>): Plugin {
  let loaded: Promise<Authenticator> | undefined;
  return async (options) => await (await (loaded ??= load())).applyAuthentication(user, options);
}

async function identityOf(
  plugin: Plugin,
  error: (problem: string, cause?: unknown) => Error,
): Promise<Identity> {
  const options: PluginOptions = { headers: {} };
  try {
    await plugin(options);
  } catch (cause) {
    // The parser quotes the output, which may be a token.
    if (cause instanceof SyntaxError) throw error("failed: its output is not JSON");
    throw error(`failed: ${messageOf(cause).trim()}`, cause);
  }
  const { headers: { Authorization: authorization }, cert, key } = options;
  const pair = cert && key ? { cert, key } : undefined;
  if (!authorization && !pair) throw error("returned neither a token nor a certificate");
  const problem = pair && pairProblem(pair);
  if (problem) throw error(`returned a key that ${problem}`);
  return { headers: authorization ? [["Authorization", authorization]] : [], ...(pair ? { pair } : {}) };
}
