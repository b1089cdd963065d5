// A certificate for this machine and its key, which can be made anew.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

export class Certificate {
  #folder = mkdtempSync(path.join(tmpdir(), "certificate-"));

  constructor() {
    this.issue();
  }

  /** Writes another one, with a new key, in the place of the last. */
  issue() {
    const [key, cert] = [this.key, this.cert].map((file) => `${file}.new`);
    execFileSync(
      "openssl",
      [
        ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"],
        ...["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"],
        ...["-days", "1", "-keyout", key, "-out", cert],
      ],
      { stdio: "ignore" },
    );
    renameSync(key, this.key);
    renameSync(cert, this.cert);
  }

  get cert() {
    return path.join(this.#folder, "cert.pem");
  }

  get key() {
    return path.join(this.#folder, "key.pem");
  }

  /** What a client trusts who trusts this one, and no other. */
  get ca() {
    return readFileSync(this.cert, "utf8");
  }

  get flags() {
    return ["--tls-cert", this.cert, "--tls-key", this.key];
  }

  remove() {
    rmSync(this.#folder, { recursive: true });
  }
}
