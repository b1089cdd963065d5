// Certificates for this machine and for a cluster, with their keys, which can be made
// anew.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

const NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

const openssl = (...args) => execFileSync("openssl", args, { stdio: "ignore" });

export class Certificate {
  #folder = mkdtempSync(path.join(tmpdir(), "certificate-"));

  constructor() {
    this.issue();
  }

  /** Writes another one, with a new key, in the place of the last. */
  issue() {
    const [key, cert] = [this.key, this.cert].map((file) => `${file}.new`);
    openssl(
      ...["req", "-x509", ...NEW_KEY],
      ...["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"],
      ...["-days", "1", "-keyout", key, "-out", cert],
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

/** An authority of a cluster, with a certificate that it has signed. */
export class ClusterCertificate {
  #folder = mkdtempSync(path.join(tmpdir(), "cluster-certificate-"));

  constructor() {
    openssl(
      ...["req", "-x509", ...NEW_KEY, "-subj", "/CN=cluster", "-days", "1"],
      ...["-keyout", this.#file("ca.key"), "-out", this.ca],
    );
    this.issue();
  }

  /** Writes another one, with a new key, in the place of the last. */
  issue() {
    const [key, cert] = [this.key, this.cert].map((file) => `${file}.new`);
    openssl(
      ...["req", "-x509", ...NEW_KEY, "-subj", "/CN=process", "-days", "1"],
      ...["-addext", "subjectAltName=DNS:cluster.shaddock.internal"],
      ...["-addext", "basicConstraints=critical,CA:FALSE"],
      ...["-CA", this.ca, "-CAkey", this.#file("ca.key"), "-keyout", key, "-out", cert],
    );
    renameSync(key, this.key);
    renameSync(cert, this.cert);
  }

  #file(name) {
    return path.join(this.#folder, name);
  }

  get ca() {
    return this.#file("ca.crt");
  }

  get cert() {
    return this.#file("tls.crt");
  }

  get key() {
    return this.#file("tls.key");
  }

  /** A file with a token that nobody shows. */
  get token() {
    writeFileSync(this.#file("token"), "unknown");
    return this.#file("token");
  }

  /** For our programs. */
  get flags() {
    return ["--grpc-tls-cert", this.cert, "--grpc-tls-key", this.key, "--grpc-tls-ca", this.ca];
  }

  /** For grpcurl: without the certificate it is somebody from outside. */
  grpcurl({ certified = true } = {}) {
    const own = certified ? ["-cert", this.cert, "-key", this.key] : [];
    return ["-cacert", this.ca, "-authority", "cluster.shaddock.internal", ...own];
  }

  remove() {
    rmSync(this.#folder, { recursive: true });
  }
}
