#!/usr/bin/env node
// Is the secret on standard input valid?  With node-postgres (npm install pg), which binds parameters.
//
//     PGUSER=shop PGDATABASE=unleash ./check_node.mjs <secret.txt
//
// Prints the token as JSON, or "refused" and exits with 1.

import { readFileSync } from 'node:fs';
import pg from 'pg';

const secret = readFileSync(0, 'utf8').trim();
const client = new pg.Client(); // libpq's environment: PGHOST, PGDATABASE, PGUSER
await client.connect();
// values in a list of their own are bound; never a template string
const { rows } = await client.query('SELECT unleash_tokens.validate_api_token($1) AS token', [secret]);
await client.end();

console.log(rows[0].token === null ? 'refused' : JSON.stringify(rows[0].token));
process.exitCode = rows[0].token === null ? 1 : 0;
