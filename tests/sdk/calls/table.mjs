// `docs/calls.md`, read: one call per row and method, with what each column says. The page is for people, so what the
// suite expects is what they are told; nothing here knows a path.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../lib/cluster.mjs';

/** The operations that a cell names, as alternatives of sets: "`a` or `b`", "`a` and `b`", "`a` and what is given". */
function needs(cell) {
  if (cell === '-') return { any: [[]], given: false };
  const named = [...cell.matchAll(/`([a-z-]+)`/g)].map((found) => found[1]);
  assert.ok(named.length > 0 || cell.startsWith('the key itself'), `no right is named in: ${cell}`);
  return {
    any: named.length > 1 && / or /.test(cell) ? named.map((one) => [one]) : [named],
    given: / what /.test(cell),
    self: cell.startsWith('the key itself'),
  };
}

/** Where it has to be had: everywhere in the app, on a user, or on what the call names. */
function scope(cell) {
  if (cell.startsWith('shows')) return 'named';
  if (cell.startsWith('the user or the app')) return 'user';
  return /^(the app|-$)/.test(cell) ? 'app' : 'named';
}

/** Every call of the page, by section: `{section, name, method, path, needs, scope, shows, detail, who}`. */
export function calls() {
  const all = [];
  let section;
  let columns;
  for (const line of readFileSync(join(ROOT, 'docs/calls.md'), 'utf8').split('\n')) {
    if (line.startsWith('## ')) section = line.slice(3);
    const cells = line.startsWith('| ') ? line.slice(2, -2).split(' | ') : [];
    if (cells[0] === 'path' || cells[0] === 'frame') columns = cells;
    if (!cells[0]?.startsWith('`')) continue;
    const row = Object.fromEntries(columns.map((column, at) => [column, cells[at]]));
    assert.equal(cells.length, columns.length, `a row of other columns than its table: ${line}`);
    for (const said of (row.method ?? 'FRAME').split(', ')) {
      const [, method, what] = /^([A-Z]+) ?(.*)$/.exec(said);
      const path = (row.path ?? row.frame).replaceAll('`', '');
      all.push({
        section,
        method,
        path,
        name: [method, path, what].filter(Boolean).join(' '),
        needs: needs(row.right),
        scope: scope(row.on),
        shows: row.on.includes('shows'),
        somewhere: row.on.startsWith('somewhere'),
        detail: /; .* with `admin` or `inspect`/.test(row.on),
        who: row.who,
        on: row.on,
      });
    }
  }
  return all;
}
