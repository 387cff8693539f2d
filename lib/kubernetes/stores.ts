/**
 * Persistence in the cluster: the journal in a ConfigMap, and issued API keys in a Secret. k8s/rbac.yaml contains both objects, so that the agent
 * needs permission neither to create objects of these kinds nor to access others.
 * @module
 */
import type { V1ConfigMap, V1Secret } from "@kubernetes/client-node";
import { ObjectCoreV1Api } from "@kubernetes/client-node/dist/gen/types/ObjectParamAPI.js";
import { setHeaderOptions } from "@kubernetes/client-node/dist/middleware.js";
import { PatchStrategy } from "@kubernetes/client-node/dist/patch.js";
import { hasStatus } from "../common/errors.ts";
import { configurationOf, orUndefined } from "./client.ts";
import type { Transport } from "./transport.ts";

/** Changes to the data of an object; `null` removes an entry. */
type Data = Readonly<Record<string, string | null>>;

/** Key-value entries of a ConfigMap that only the agent writes. */
export interface EntryStore {
  /** Returns no entries if the ConfigMap does not exist. */
  read(): Promise<Readonly<Record<string, string>>>;
  /** Sets entries, removes those that are `null`, and keeps all others. */
  write(changes: Data): Promise<void>;
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
const MERGE = setHeaderOptions("Content-Type", PatchStrategy.MergePatch);

/** Creates the store of the journal. */
export function createJournalStore(transport: Transport, namespace: string): EntryStore {
  const core = new ObjectCoreV1Api(configurationOf(transport));
  const name = JOURNAL;
  const body: V1ConfigMap = { metadata: { name, labels: LABELS } };
  return {
    read: async () => (await orUndefined(core.readNamespacedConfigMap({ name, namespace })))?.data ?? {},
    write: (data) =>
      patchOrCreate(data, {
        patch: (data) => core.patchNamespacedConfigMap({ name, namespace, body: { data } }, MERGE),
        create: () => core.createNamespacedConfigMap({ namespace, body }),
      }),
  };
}

/** Creates the store of an issued key; `agent` is the key of the entry, which is unique among the agents of a namespace. */
export function createIssuedKeyStore(
  transport: Transport,
  { namespace, agent }: { namespace: string; agent: string },
): TextStore {
  const core = new ObjectCoreV1Api(configurationOf(transport));
  const name = ISSUED_KEYS;
  const body: V1Secret = { metadata: { name, labels: LABELS } };
  return {
    read: async () => {
      const value = (await orUndefined(core.readNamespacedSecret({ name, namespace })))?.data?.[agent];
      return value === undefined ? undefined : atob(value);
    },
    write: (text) =>
      patchOrCreate({ [agent]: text === undefined ? null : btoa(text) }, {
        patch: (data) => core.patchNamespacedSecret({ name, namespace, body: { data } }, MERGE),
        create: () => core.createNamespacedSecret({ namespace, body }),
      }),
  };
}

/** The object is missing where k8s/rbac.yaml was not applied, such as in development. */
async function patchOrCreate(
  data: Data,
  { patch, create }: { patch: (data: Data) => Promise<unknown>; create: () => Promise<unknown> },
): Promise<void> {
  if (await orUndefined(patch(data))) return;
  if (Object.values(data).every((value) => value === null)) return;
  try {
    await create();
  } catch (error) {
    // Another agent in the namespace created it first.
    if (!hasStatus(error, 409)) throw error;
  }
  await patch(data);
}
