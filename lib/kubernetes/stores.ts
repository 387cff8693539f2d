/**
 * Persistence in the cluster: the journal in a ConfigMap, and issued API keys in a Secret. k8s/rbac.yaml contains both objects, so that the agent
 * needs permission neither to create objects of these kinds nor to access others.
 * @module
 */
import type { V1ConfigMap, V1Secret } from "@kubernetes/client-node";
import { hasStatus } from "../common/errors.ts";
import { Collection, orUndefined } from "./collection.ts";
import type { Transport } from "./transport.ts";

/** Changes to the data of an object; `null` removes an entry. */
type Data = Readonly<Record<string, string | null>>;

/** Key-value entries of a ConfigMap that only the agent writes. */
export interface EntryStore {
  /** Returns no entries if the ConfigMap does not exist. */
  read(): Promise<Readonly<Record<string, string>>>;
  /** Sets entries, removes those that are `null`, and keeps all others. */
  write(changes: Data): Promise<void>;
  /** Waits before a retry, as {@linkcode Transport.pause} does. */
  pause(ms: number, signal: AbortSignal): Promise<unknown>;
}

/** One value in a Secret that only the agent writes. */
export interface TextStore {
  /** Returns `undefined` if nothing is stored. */
  read(): Promise<string | undefined>;
  /** Stores the text; `undefined` removes it. */
  write(text: string | undefined): Promise<void>;
}

/** Name of the ConfigMap that holds the journal. */
export const JOURNAL = "k8s-agent-journal";
/** Name of the Secret that holds issued keys. */
export const ISSUED_KEYS = "k8s-agent-issued-key";
const LABELS = { component: "k8s-agent" };

/** Creates the store of the journal. */
export function createJournalStore(transport: Transport, namespace: string): EntryStore {
  const resource = { api: "/api/v1", resource: "configmaps" };
  const configMaps = new Collection<V1ConfigMap>(transport, resource, namespace);
  return {
    read: async () => (await configMaps.read(JOURNAL))?.data ?? {},
    write: (data) => patchOrCreate(configMaps, { name: JOURNAL, data }),
    pause: (ms, signal) => transport.pause(ms, signal),
  };
}

/** Creates the store of an issued key; `agent` is the key of the entry, which is unique among the agents of a namespace. */
export function createIssuedKeyStore(
  transport: Transport,
  { namespace, agent }: { namespace: string; agent: string },
): TextStore {
  const secrets = new Collection<V1Secret>(transport, { api: "/api/v1", resource: "secrets" }, namespace);
  return {
    read: async () => {
      const value = (await secrets.read(ISSUED_KEYS))?.data?.[agent];
      return value === undefined ? undefined : atob(value);
    },
    write: (text) => {
      const data = { [agent]: text === undefined ? null : btoa(text) };
      return patchOrCreate(secrets, { name: ISSUED_KEYS, data });
    },
  };
}

/** The object is missing where k8s/rbac.yaml was not applied, such as in development. */
async function patchOrCreate(
  objects: Collection<V1ConfigMap | V1Secret>,
  { name, data }: { name: string; data: Data },
): Promise<void> {
  if (await orUndefined(objects.mergePatch(name, { data }))) return;
  if (Object.values(data).every((value) => value === null)) return;
  try {
    await objects.create({ metadata: { name, labels: LABELS } });
  } catch (error) {
    // Another agent in the namespace created it first.
    if (!hasStatus(error, 409)) throw error;
  }
  await objects.mergePatch(name, { data });
}
