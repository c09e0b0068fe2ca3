#!/usr/bin/env node
// Bodies of 1 MB and 64 MB, JSON nested 100,000 deep, a flood of tokens that are none: refused as documented, within bounds of
// time that are far above what was measured, with the memory of the backend flat and, for the tokens, without a look at a table.

import { readFileSync } from 'node:fs';

import { TOKENS, assert, assertRefusal, assertStatus, chunked, env, exchange, finish, jsonKeyed, poll, requestBytes, rest, send, test, useEnv } from '../http/lib.mjs';
import {
	assertSaysNothing, assertServerSame, connect, disconnect, documentedStates, dropDatabase, fingerprinter, know, makeDatabase, one, serverState,
} from './lib.mjs';

useEnv();
const DATABASE = 'attack_size';
const MB = 1024 * 1024, DEEP = 100000;
know(env.ADMIN_TOKEN, false);
const main = await connect();
const client = await makeDatabase(DATABASE);
const before = await serverState(client);
const ADMIN = know(JSON.parse(await one(client, 'SELECT unleash_tokens.create_api_token($1)::text', [{ type: 'admin', tokenName: 'admin' }])).secret);
const fingerprint = await fingerprinter(client), mainFingerprint = await fingerprinter(main);
const TIME = 120000; // milliseconds for one request; measured are less than 3,000 on a quiet machine

// What a process holds of its own, in kB; shared memory is not counted.
const ownMemory = (pid) => Number(readFileSync(`/proc/${pid}/status`, 'latin1').match(/^RssAnon:\s+(\d+) kB$/m)[1]);

const nested = (open, close) => `${open.repeat(DEEP)}${close.repeat(DEEP)}`;
const bodies = {
	'1 MB in a name': JSON.stringify({ type: 'client', tokenName: 'x'.repeat(MB) }),
	'1 MB in a type': JSON.stringify({ type: 'x'.repeat(MB), tokenName: 'n' }),
	'1 MB of keys': JSON.stringify(Object.fromEntries(Array.from({ length: 100000 }, (_, i) => [`key${i}`, i]))),
	'1 MB of projects': JSON.stringify({ type: 'client', tokenName: 'n', projects: Array.from({ length: 200000 }, (_, i) => `p${i}`) }),
	'64 MB in a name': JSON.stringify({ type: 'client', tokenName: 'x'.repeat(64 * MB) }),
	'64 MB in an unknown key': JSON.stringify({ type: 'client', tokenName: '', unknown: 'x'.repeat(64 * MB) }),
	'64 MB of blanks': `${' '.repeat(64 * MB)}{}`,
	'arrays 100,000 deep': nested('[', ']'),
	'arrays 100,000 deep, never closed': '['.repeat(DEEP),
	'objects 100,000 deep': `${'{"a":'.repeat(DEEP)}1${'}'.repeat(DEEP)}`,
	'arrays 100,000 deep in a field': `{"type":"client","tokenName":${nested('[', ']')}}`,
	'a number of 100,000 digits': `{"type":"client","tokenName":${'9'.repeat(DEEP)}}`,
	'a number with a huge exponent': '{"type":"client","tokenName":1e131072}',
};

// ---- Through SQL ----------------------------------------------------------------------------------------------------

async function refusedBySql(body) {
	const known = await fingerprint();
	await client.query('SET ROLE unleash_tokens_admin');
	const error = await client.query('SELECT unleash_tokens.create_api_token($1::jsonb)', [body]).then(() => assert.fail('it was not refused'), (refusal) => refusal);
	await client.query('RESET ROLE');
	// the server's own reader says 54001 and 22003 before the function is called
	assert.ok(documentedStates.has(error.code) || ['54001', '22003', '22P02'].includes(error.code), `${error.code} ${error.message?.slice(0, 300)}`);
	assert.ok(`${error.message}${error.detail}${error.hint}`.length < 1000, 'the refusal is long');
	assert.equal(await fingerprint(), known);
}

async function refusedByEntry(body, key = ADMIN) {
	const known = await fingerprint();
	await client.query('BEGIN; SET LOCAL ROLE unleash_tokens_rest');
	await client.query(`SELECT set_config('request.headers', $1, true)`, [JSON.stringify({ authorization: key, 'x-original-method': 'POST', 'x-original-uri': TOKENS, 'x-original-content-type': 'application/json' })]);
	const text = (await one(client, 'SELECT unleash_tokens.rest_api($1)', [Buffer.from(body)])).toString();
	const status = await one(client, `SELECT current_setting('response.status')`);
	await client.query('COMMIT');
	assert.equal(status, '400', text.slice(0, 300));
	assert.ok(text.length < 1500, 'the refusal is long');
	assertSaysNothing(text, '');
	assert.equal(await fingerprint(), known);
}

const took = [];
for (const [door, refused] of [['SQL', refusedBySql], ['the entry of the REST door', refusedByEntry]])
	await test(`through ${door}: refused, in bounded time, with flat memory`, async () => {
		for (const [name, body] of Object.entries(bodies)) {
			// the first takes what the reader of JSON and malloc keep for the next time
			const rounds = [];
			for (let round = 0; round < (body.length > 10 * MB ? 2 : 4); round++) {
				const start = Date.now();
				await refused(body).catch((error) => assert.fail(`${name}: ${error.message.slice(0, 500)}`));
				rounds.push({ ms: Date.now() - start, kB: ownMemory(client.pid) });
			}
			const slowest = Math.max(...rounds.map(({ ms }) => ms)), grown = rounds.at(-1).kB - rounds[0].kB;
			took.push(slowest);
			assert.ok(slowest < TIME, `${name} took ${slowest} ms`);
			assert.ok(grown < 2048, `${name}: the backend grew by ${grown} kB: ${rounds.map(({ kB }) => kB).join(', ')}`);
		}
		const held = Number(await one(client, 'SELECT sum(total_bytes) FROM pg_backend_memory_contexts'));
		assert.ok(held < 16 * MB, `the backend holds ${held} bytes`);
		console.log(`figure: ${Object.keys(bodies).length} bodies, two to four times each; the slowest took ${Math.max(...took)} ms; the backend holds ${Math.round(held / 1024)} kB`);
		await assertServerSame(client, before);
	});

// ---- Through nginx --------------------------------------------------------------------------------------------------

const pids = async () => (await main.query(`SELECT pid FROM pg_stat_activity WHERE usename = 'unleash_tokens_authenticator' ORDER BY pid`)).rows.map(({ pid }) => pid);
const workers = async () => (await pids()).map(ownMemory).reduce((most, kB) => Math.max(most, kB), 0);

await test('through nginx: 413 above 102,400 bytes, with a length and in chunks; 400 below', async () => {
	const known = await mainFingerprint();
	for (const [name, body] of Object.entries(bodies)) {
		const bytes = Buffer.from(body), large = bytes.length > 102400;
		const check = (answer) => {
			if (large) assertRefusal(answer, 413, 'PayloadTooLargeError');
			else assertRefusal(answer, 400, 'BadDataError');
			assertSaysNothing(answer.text, '');
		};
		const start = Date.now();
		try {
			check(await send('POST', TOKENS, jsonKeyed(), bytes, env.BASE_URL, TIME));
			check((await exchange([requestBytes('POST', TOKENS, jsonKeyed({ 'Transfer-Encoding': 'chunked' })), chunked(bytes, 65536)], ['POST'], env.BASE_URL, TIME))[0]);
			// said to be large, and never sent
			if (large) check((await exchange(requestBytes('POST', TOKENS, jsonKeyed({ 'Content-Length': String(bytes.length) })), ['POST'], env.BASE_URL, TIME))[0]);
		} catch (error) {
			assert.fail(`${name}: ${error.message}`);
		}
		assert.ok(Date.now() - start < TIME, name);
	}
	assert.equal(await mainFingerprint(), known);
});

await test('through nginx: 300 bodies as deep or long as may be, and the backends do not grow', async () => {
	const most = ['['.repeat(102400), '{"a":'.repeat(20480), `{"type":"client","tokenName":"${'x'.repeat(102000)}"}`, `{"type":"client","tokenName":"n","projects":["${'","'.repeat(34000)}"]}`];
	const attack = async (n) => {
		for (let i = 0; i < n; i += 10) await Promise.all(Array.from({ length: 10 }, async (_, j) => assertRefusal(await send('POST', TOKENS, jsonKeyed(), most[(i + j) % 4]), 400, 'BadDataError')));
	};
	await attack(200);
	const first = await workers();
	await attack(300);
	const last = await workers();
	console.log(`figure: the largest backend of the pool had ${first} kB, and after 300 more ${last} kB`);
	assert.ok(last - first < 2048, `from ${first} to ${last} kB`);
});

await test('past nginx, on the SQL door: the body of 64 MB is refused all the same', async () => {
	const answer = await rest('POST', '/rpc/create_api_token', { Authorization: `Bearer ${env.SQL_JWT}`, 'Content-Type': 'application/json' }, bodies['64 MB in a name']);
	assertStatus(answer, 400);
	assert.equal(answer.json.code, '22023');
	assert.ok(answer.text.length < 1000);
});

// ---- Tokens that are none -------------------------------------------------------------------------------------------

const reads = async (database) => {
	// counted when a backend says so, at the latest when it has gone
	await database.query('SELECT pg_stat_force_next_flush()');
	await database.query('SELECT pg_stat_clear_snapshot()');
	return Number(await one(database, `SELECT sum(r.n) FROM (SELECT idx_scan + seq_scan AS n FROM pg_stat_user_tables WHERE schemaname = 'unleash_tokens' AND relname LIKE 'api_token%'
		UNION ALL SELECT idx_scan FROM pg_stat_user_indexes WHERE schemaname = 'unleash_tokens' AND relname LIKE 'api_token%') r`));
};
// The worker that writes seen_at reads the table too.
const nothingToFlush = () => poll('all uses are written', 60000, async () => (await one(main, 'SELECT notes_held FROM unleash_tokens.stat')) === '0' &&
	(await main.query(`SELECT 1 FROM pg_stat_activity WHERE backend_type LIKE 'unleash_tokens%' AND datname IS NOT NULL`)).rowCount === 0);
const BASE62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
let seed = 20261123;
const random = (n) => (seed = (seed * 1103515245 + 12345) % 2147483648) % n;
const letters = (n) => Array.from({ length: n }, () => BASE62[random(62)]).join('');
const invented = () => `*:development.v2_utok${letters(18)}_${letters(43)}`;
const damaged = (secret) => {
	const at = secret.length - 1 - random(43), letter = BASE62[(BASE62.indexOf(secret[at]) + 1 + random(61)) % 62];
	return secret.slice(0, at) + letter + secret.slice(at + 1);
};
const garbage = Array.from({ length: 1000 }, (_, i) => [invented(), damaged(ADMIN), 'x'.repeat(4097 + i), '', invented().replace(/.$/, '-')][i % 5]);

await test('1,000 tokens that are none: no look at a table', async () => {
	const known = await fingerprint();
	await one(client, 'SELECT unleash_tokens.validate_api_token($1)', [ADMIN]);
	await nothingToFlush();
	const start = await reads(client);
	for (const token of garbage) assert.equal(await one(client, 'SELECT unleash_tokens.validate_api_token($1)', [token]), null);
	assert.equal((await client.query('SELECT * FROM unleash_tokens.validate_api_tokens($1)', [garbage])).rowCount, 0);
	for (const token of garbage) assert.equal(await one(client, 'SELECT unleash_tokens.delete_api_token($1)', [token]), false);
	assert.equal(await reads(client) - start, 0, 'tables or indexes were read');
	// the control: one that could be, is looked for
	assert.equal(await one(client, 'SELECT unleash_tokens.validate_api_token($1)', [ADMIN.replace('utok', 'utoq')]), null);
	assert.ok(await reads(client) > start, 'reads are not counted');
	assert.equal(await fingerprint(), known);
	console.log(`figure: ${3 * garbage.length} checks of tokens that are none: 0 reads of tables and indexes`);
});

await test('1,000 tokens that are none as keys of requests: 401 without a look at a table', async () => {
	const idle = () => poll('the pool is idle', 15000, async () => (await main.query(`SELECT 1 FROM pg_stat_activity WHERE usename = 'unleash_tokens_authenticator' AND state <> 'idle'`)).rowCount === 0);
	// what backends of the pool have counted so far is known when they are gone
	const settle = async () => {
		await idle();
		const old = await pids();
		await main.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'unleash_tokens_authenticator'`);
		await poll('the backends are gone', 15000, async () => (await pids()).every((pid) => !old.includes(pid)));
		await poll('there are new ones', 30000, async () => (await send('GET', '/health')).status === 200);
	};
	await nothingToFlush();
	await settle();
	const known = await mainFingerprint(), start = await reads(main);
	const forHeaders = garbage.filter((token) => token !== '' && token.length < 4200);
	for (let i = 0; i < forHeaders.length; i += 10)
		await Promise.all(forHeaders.slice(i, i + 10).map(async (token) => assertRefusal(await send('POST', TOKENS, { Authorization: token, 'Content-Type': 'application/json' }, '{}'), 401, 'UnauthorizedError')));
	await settle();
	assert.equal(await reads(main) - start, 0, 'tables or indexes were read');
	// the control: what could be a token is looked for
	assertRefusal(await send('POST', TOKENS, { Authorization: ADMIN.replace('utok', 'utoq'), 'Content-Type': 'application/json' }, '{}'), 401, 'UnauthorizedError');
	await settle();
	assert.ok(await reads(main) > start, 'reads are not counted');
	assert.equal(await mainFingerprint(), known);
	console.log(`figure: ${forHeaders.length} requests with such keys: 0 reads of tables and indexes`);
});

await disconnect();
await dropDatabase(DATABASE);
await disconnect();
finish();
