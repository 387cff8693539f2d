/**
 * Kubeconfigs in temporary files, for programs that load one from a path.
 * @module
 */

/** A temporary file; disposing it removes it. */
export class KubeconfigFile implements AsyncDisposable {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** Writes a kubeconfig to a new file. */
  static async write(text: string): Promise<KubeconfigFile> {
    const path = await Deno.makeTempFile({ prefix: "kubeconfig-" });
    await Deno.writeTextFile(path, text);
    return new KubeconfigFile(path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path);
  }
}
