// A certificate of our own for 127.0.0.1, made by the openssl program.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Writes `cert.pem` and `key.pem` into the folder; with their contents. */
export function certificate(folder, name = 'gatecast') {
  const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
  const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  args.push('-subj', `/CN=${name}`, '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost', '-keyout', key, '-out', cert);
  execFileSync('openssl', args, { stdio: 'pipe' });
  return { cert, key, pem: { cert: readFileSync(cert), key: readFileSync(key) } };
}
