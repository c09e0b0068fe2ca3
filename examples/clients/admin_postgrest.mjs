#!/usr/bin/env node
// A project, a token in it and its check, through PostgREST with postgrest-js (npm install @supabase/postgrest-js).
//
//     ./admin_postgrest.mjs /run/unleash_tokens/postgrest.sock /etc/unleash_tokens/jwt-secret shop
//
// Prints what the check says.  Runs as a user who may use the socket and read the secret: he may make any token.

import { readFileSync } from 'node:fs';
import http from 'node:http';
import { PostgrestClient } from '@supabase/postgrest-js';
import { makeJwt } from './jwt.mjs';

const [socketPath, secretFile, project] = process.argv.slice(2);

// fetch over a unix socket, which the one of Node cannot do by itself
const overSocket = (url, { method, headers, body }) => new Promise((resolve, reject) => {
	const { pathname, search } = new URL(url);
	const request = http.request({ socketPath, path: pathname + search, method, headers: Object.fromEntries(new Headers(headers)) }, (answer) => {
		const chunks = [];
		answer.on('data', (chunk) => chunks.push(chunk)).on('end', () => resolve(new Response(
			[204, 304].includes(answer.statusCode) ? null : Buffer.concat(chunks), { status: answer.statusCode, headers: Object.entries(answer.headers).map(([name, value]) => [name, String(value)]) })));
	});
	request.on('error', reject).end(body);
});

const api = new PostgrestClient('http://localhost', { schema: 'unleash_tokens', fetch: overSocket,
	headers: { Authorization: `Bearer ${makeJwt(readFileSync(secretFile, 'utf8').trim(), 'unleash_tokens_admin')}` } });

async function call(name, body) {
	const { data, error } = await api.rpc(name, body);
	if (error) throw new Error(`${name}: ${error.message}. ${error.details} ${error.hint}`);
	return data;
}

await call('create_project', { id: project }); // false when it is there
const { secret } = await call('create_api_token', { type: 'client', tokenName: `made for ${project}`, projects: [project], environment: 'development' });
console.log(JSON.stringify(await call('validate_api_token', { secret })));
await call('delete_api_token', { token: secret });
