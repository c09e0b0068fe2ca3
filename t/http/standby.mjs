#!/usr/bin/env node
// nginx and PostgREST in front of a standby: what is answered there, what is handed to the primary, what becomes of it
// without one.  t/http/standby brings both up and starts this.

import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import {
	SECRET, TOKENS, assert, assertCreated, assertNothingOdd, assertRefusal, assertStatus, chunked, create, env, exchange, finish, jsonKeyed, keyed,
	logFile, minimal, poll, requestBytes, run, send, setSystem, sql, test, useEnv,
} from './lib.mjs';

useEnv();
const { STANDBY_URL: standby, STANDBY_PRIMARY_URL: forgotten, STANDBY_RUN: runDir, STANDBY_NGINX: nginxPid, PRIMARY_SERVE: servePid } = process.env;
const secrets = [env.ADMIN_TOKEN];

const onStandby = (statement) => execFileSync('psql', ['-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-c', statement], {
	env: { ...process.env, PGHOST: runDir, PGPORT: '5432', PGDATABASE: env.PGDATABASE, PGUSER: env.PGUSER }, encoding: 'utf8' }).trim();
const replayed = async () => {
	const here = await sql('SELECT pg_current_wal_flush_lsn()');
	await poll(`the standby has replayed ${here}`, 20000, () => onStandby(`SELECT pg_last_wal_replay_lsn() >= '${here}'`) === 't');
};
const remember = (token) => secrets.push(token.secret) && token;
const make = async (more) => remember(await assertCreated(await create(minimal(more))));
const createThere = (body, headers = jsonKeyed()) => send('POST', TOKENS, headers, typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body), standby);
const seenAt = async (selector, at) => (await send('GET', `${TOKENS}/${selector}`, keyed(), undefined, at)).json.tokens[0].seenAt;
const storedSeenAt = (selector) => sql(`SELECT to_char(seen_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') FROM unleash_tokens.api_token WHERE selector = :'selector'`, { selector });

// What two answers must have in common: all but when, which request, and how long.
const shape = (answer) => {
	const varies = /^(date|content-length|transfer-encoding|connection|content-encoding|vary)$/i;
	const body = answer.text.replace(/"id":"[0-9a-f-]{36}"/, '"id":""').replace(/"seenAt":("[^"]*"|null)/g, '"seenAt":null');
	return { status: answer.status, headers: answer.rawHeaders.filter(([name]) => !varies.test(name)).map((one) => one.join(': ')).sort(), body };
};
async function assertSame(method, target, headers, body) {
	const [there, here] = [await send(method, target, headers, body), await send(method, target, headers, body, standby)];
	assert.deepEqual(shape(here), shape(there), `${method} ${target}`);
	return here;
}

const reading = await make({ tokenName: `${run} reads`, projects: ['default'], environment: 'production' });
const reader = await make({ tokenName: `${run} reader`, type: 'admin' });
const expired = await make({ tokenName: `${run} expired`, expiresAt: '2001-01-01T00:00:00Z' });
await replayed();

// ---- Answered on the standby ----------------------------------------------------------------------------------------

await test('it is a standby, and reads only', async () => {
	assert.equal(onStandby('SELECT pg_is_in_recovery()'), 't');
	assert.equal(await sql('SELECT pg_is_in_recovery()'), 'f');
});

await test('it has metrics of its own, and counts the tokens it has replayed', async () => {
	const read = async (at) => (await send('GET', '/metrics', { Authorization: reader.secret }, undefined, at)).text;
	assert.match(await read(standby), /^unleash_tokens_in_recovery 1$/m);
	assert.match(await read(env.BASE_URL), /^unleash_tokens_in_recovery 0$/m);
	const tokens = await sql(`SELECT count(*) FROM unleash_tokens.api_token WHERE type = 'admin'`);
	await poll('it has counted', 20000, async () => (await read(standby)).includes(`unleash_tokens_tokens{type="admin",state="valid"} ${tokens}\n`));
});

const admin = { Authorization: reader.secret }, client = { Authorization: reading.secret };
for (const [name, method, target, headers, body, status] of [
	['the list', 'GET', TOKENS, admin, undefined, 200],
	['by name', 'GET', `${TOKENS}/${encodeURIComponent(reading.tokenName)}`, admin, undefined, 200],
	['by selector', 'GET', `${TOKENS}/${reading.selector}`, admin, undefined, 200],
	['HEAD', 'HEAD', TOKENS, admin, undefined, 200],
	['/auth', 'GET', '/auth?type=client&project=default&environment=production', client, undefined, 204],
	['/auth that refuses', 'GET', '/auth?environment=development', client, undefined, 403],
	['/auth without a key', 'GET', '/auth', {}, undefined, 401],
	['/auth with an expired key', 'GET', '/auth', { Authorization: expired.secret }, undefined, 401],
	['/health', 'GET', '/health', {}, undefined, 200],
	['/edge/validate', 'POST', '/edge/validate', { 'Content-Type': 'application/json' }, JSON.stringify({ tokens: [reading.secret, expired.secret, 'none'] }), 200],
	['/edge/validate with a bad body', 'POST', '/edge/validate', { 'Content-Type': 'application/json' }, '{', 400],
	['no key', 'GET', TOKENS, {}, undefined, 401],
	['a key that may not', 'GET', TOKENS, client, undefined, 403],
	['an unknown path', 'GET', '/api/admin/nothing', admin, undefined, 404],
	['a name of nginx\'s own', 'GET', '/-write', admin, undefined, 404],
])
	// the primary is not asked: nginx of the standby does not know one yet
	await test(`answered on the standby as on the primary: ${name}`, async () => assertStatus(await assertSame(method, target, headers, body), status));

await test('headers of the client steer nothing on the standby', async () => {
	const plain = await send('GET', TOKENS, admin, undefined, standby);
	const steered = await send('GET', TOKENS, { ...admin, Prefer: 'count=exact, tx=rollback', Range: '0-0', Accept: 'text/csv', 'X-Original-Method': 'DELETE',
		'X-Original-URI': '/health', 'Accept-Profile': 'public', Cookie: 'a=b' }, undefined, standby);
	assert.deepEqual(shape(steered), shape(plain));
});

for (const [at, where] of [[standby, "the standby's nginx"], [forgotten, 'the nginx.conf of a primary']])
	await test(`/health?write=1 says that it does not write: ${where}`, async () => {
		const answer = await send('GET', '/health?write=1', {}, undefined, at);
		assertRefusal(answer, 503, 'UnavailableError', { says: /standby/ });
		assert.deepEqual(answer.headers('Retry-After'), ['5']);
		assertStatus(await send('GET', '/health', {}, undefined, at), 200);
		assertStatus(await send('GET', '/health?write=1'), 200);
	});
await test('behind the nginx.conf of a primary: writing is 503 in our shape, reading goes on', async () => {
	for (const [method, target, body] of [['POST', TOKENS, JSON.stringify(minimal())], ['POST', TOKENS, '{'], ['PUT', `${TOKENS}/${reading.selector}`, '{"expiresAt":null}'],
		['DELETE', `${TOKENS}/${reading.secret}`], ['PATCH', TOKENS]]) {
		const answer = await send(method, target, jsonKeyed(), body, forgotten);
		assertRefusal(answer, 503, 'UnavailableError');
		assert.match(answer.header('Retry-After'), /^[1-9]$/);
	}
	for (const method of ['GET', 'POST', 'OPTIONS', 'DELETE']) {
		assertStatus(await send(method, '/auth?type=client&path=/x', client, undefined, forgotten), 204);
		assertStatus(await send(method, '/auth', {}, undefined, standby), 401);
	}
	assertStatus(await send('GET', TOKENS, admin, undefined, forgotten), 200);
	assertStatus(await send('POST', '/edge/validate', { 'Content-Type': 'application/json' }, JSON.stringify({ tokens: [reading.secret] }), forgotten), 200);
});

// ---- Without a primary ----------------------------------------------------------------------------------------------

// Refused, with the word when to come again; and reading goes on.
async function assertNoWrites() {
	for (const [method, target, body] of [['POST', TOKENS, JSON.stringify(minimal())], ['PUT', `${TOKENS}/${reading.selector}`, '{"expiresAt":null}'],
		['PUT', `${TOKENS}/${reading.secret}`, '{"expiresAt":null}'], ['DELETE', `${TOKENS}/${reading.secret}`], ['POST', '/edge/other', '{}'], ['PATCH', TOKENS]]) {
		const answer = await send(method, target, jsonKeyed(), body, standby);
		assertRefusal(answer, 503, 'UnavailableError', { says: /only reads/ });
		assert.deepEqual(answer.headers('Retry-After'), ['5'], `${method} ${target}`);
	}
	assertStatus(await send('GET', TOKENS, admin, undefined, standby), 200);
	assertStatus(await send('GET', '/auth', client, undefined, standby), 204);
	assertStatus(await send('POST', '/edge/validate', { 'Content-Type': 'application/json' }, JSON.stringify({ tokens: [reading.secret] }), standby), 200);
}

await test('the file as it is knows no primary: what may write is 503 with Retry-After', async () => {
	await assertNoWrites();
	assertStatus(await send('GET', '/auth', client), 204);
});
await test('what nginx refuses by itself it refuses without a primary', async () => {
	assertRefusal(await createThere(Buffer.alloc(102401, 0x20)), 413, 'PayloadTooLargeError');
	assertRefusal(await send('POST', Buffer.from([0x2f, 0xff]), jsonKeyed(), '{}', standby), 400, 'BadDataError');
	assertRefusal(await send('GET', '/-no-primary', admin, undefined, standby), 404, 'NotFoundError');
});

// ---- Handed to the primary ------------------------------------------------------------------------------------------

const config = path.join(runDir, 'place-primary.conf');
const delivered = readFileSync(config, 'utf8');
const told = delivered.replace('server 127.0.0.1:1 down;', `server ${new URL(env.BASE_URL).host};`);
assert.notEqual(told, delivered);
writeFileSync(config, told);
const workers = () => readFileSync(`/proc/${nginxPid}/task/${nginxPid}/children`, 'utf8').trim().split(' ');
const old = workers();
process.kill(Number(nginxPid), 'SIGHUP');
// while there is one of the old ones, it may answer
await poll('nginx of the standby knows the primary', 20000, () => workers().join() !== '' && !workers().some((pid) => old.includes(pid)));

await test('POST on the standby makes a token on the primary', async () => {
	const token = remember(await assertCreated(await createThere(minimal({ tokenName: `${run} made there` })), { tokenName: `${run} made there` }));
	assert.equal(await sql(`SELECT token_name FROM unleash_tokens.api_token WHERE selector = :'selector'`, token), `${run} made there`);
	await poll('the standby knows it', 10000, async () => (await send('GET', '/auth', { Authorization: token.secret }, undefined, standby)).status === 204);
});
await test('POST on the standby: Bearer, in chunks, and refusals as on the primary', async () => {
	remember(await assertCreated(await createThere(minimal(), jsonKeyed({ Authorization: `Bearer ${env.ADMIN_TOKEN}` }))));
	const bytes = requestBytes('POST', TOKENS, jsonKeyed({ 'Transfer-Encoding': 'chunked' }), chunked(Buffer.from(JSON.stringify(minimal()))));
	remember(await assertCreated((await exchange(bytes, ['POST'], standby))[0]));
	for (const [headers, body, status] of [
		[{}, '{}', 401], [jsonKeyed({ Authorization: `Bearer Bearer ${env.ADMIN_TOKEN}` }), '{}', 401], [jsonKeyed({ Authorization: reading.secret }), '{}', 403],
		[jsonKeyed({ Authorization: Buffer.from([0xff]) }), '{}', 401], [keyed({ 'Content-Type': 'text/plain' }), '{}', 415],
		[jsonKeyed({ 'Content-Encoding': 'gzip' }), '{}', 415], [jsonKeyed(), '{', 400], [jsonKeyed(), '{"type":"nothing"}', 400],
	])
		assertStatus(await assertSame('POST', TOKENS, headers, body), status);
});
await test('POST on the standby: headers of the client steer nothing', async () => {
	const token = remember(await assertCreated(await createThere(minimal(), jsonKeyed({ Prefer: 'tx=rollback', Range: '0-0', Accept: 'text/csv',
		'X-Original-Method': 'DELETE', 'X-Original-URI': '/health', 'Content-Profile': 'public' }))));
	assert.equal(await sql(`SELECT count(*) FROM unleash_tokens.api_token WHERE selector = :'selector'`, token), '1');
});
await test('PUT and DELETE on the standby change the primary, by selector and by secret', async () => {
	for (const key of ['selector', 'secret']) {
		const token = await make();
		assertStatus(await send('PUT', `${TOKENS}/${token[key]}`, jsonKeyed(), '{"expiresAt":"2999-01-01T00:00:00Z"}', standby), 200);
		assert.equal((await send('GET', `${TOKENS}/${token.selector}`, keyed())).json.tokens[0].expiresAt, '2999-01-01T00:00:00.000Z');
		assertStatus(await send('DELETE', `${TOKENS}/${token[key]}`, keyed(), undefined, standby), 200);
		assertStatus(await send('GET', '/auth', { Authorization: token.secret }), 401);
		await poll('refused on the standby', 10000, async () => (await send('GET', '/auth', { Authorization: token.secret }, undefined, standby)).status === 401);
	}
});
await test('paths and methods as they came: the same answers from both', async () => {
	for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS'])
		for (const target of ['/', '//api/admin/api-tokens', '/api/admin/api-tokens/', '/api/admin/api-tokens/a%2Fb', '/api/admin/api-tokens/a/../b?x=1', '/-read', '/-write',
			'/-validate', '/-refusal', '/-no-primary', '/-refuse', '/api/admin/api-tokens/%00', '/edge/validate/', '/@127.0.0.1:1/', '/api/admin/api-tokens/caf\u00e9'])
			if (!(method === 'POST' && target === '/-validate')) await assertSame(method, target, jsonKeyed(), method === 'DELETE' ? undefined : '{}');
});
await test('nothing of the line in between shows', async () => {
	for (const answer of [await createThere('{'), await send('DELETE', `${TOKENS}/none`, keyed(), undefined, standby)]) assertNothingOdd(answer);
});
await test('with remote_apply, what the primary has answered counts on the standby', async () => {
	const back = [await setSystem('synchronous_standby_names', '*'), await setSystem('synchronous_commit', 'remote_apply')];
	try {
		await poll('a synchronous standby', 10000, async () => (await sql('SELECT sync_state FROM pg_stat_replication')) === 'sync');
		for (let i = 0; i < 20; i++) {
			const token = remember(await assertCreated(await createThere(minimal())));
			assertStatus(await send('GET', '/auth', { Authorization: token.secret }, undefined, standby), 204);
			assertStatus(await send('DELETE', `${TOKENS}/${token.selector}`, keyed(), undefined, standby), 200);
			assertStatus(await send('GET', '/auth', { Authorization: token.secret }, undefined, standby), 401);
		}
	} finally {
		for (const undo of back) await undo();
	}
});

// ---- When it was used -----------------------------------------------------------------------------------------------

const uses = {
	'GET with the key': (token, at) => send('GET', TOKENS, { Authorization: token.secret }, undefined, at),
	'/auth': (token, at) => send('GET', '/auth', { Authorization: token.secret }, undefined, at),
	'/edge/validate': (token, at) => send('POST', '/edge/validate', { 'Content-Type': 'application/json' }, JSON.stringify({ tokens: [token.secret] }), at),
};
const slow = await setSystem('unleash_tokens.flush_interval', '3600', '1h');
const used = [];
for (const [name, use] of Object.entries(uses)) {
	await test(`seenAt on the primary: ${name}`, async () => {
		const token = await make({ type: name.startsWith('GET') ? 'admin' : 'client' });
		assert.equal(await seenAt(token.selector), null);
		assertStatus(await use(token), name === '/auth' ? 204 : 200);
		const at = await seenAt(token.selector);
		assert.ok(Math.abs(Date.parse(at) - Date.now()) < 10000, `${at} is now`);
		assert.equal(await storedSeenAt(token.selector), '', 'not written yet');
		used.push([name, token, at]);
	});
	await test(`seenAt on the standby, and from there on the primary: ${name}`, async () => {
		const token = await make({ type: name.startsWith('GET') ? 'admin' : 'client' });
		await replayed();
		assertStatus(await use(token, standby), name === '/auth' ? 204 : 200);
		const at = await seenAt(token.selector, standby);
		assert.ok(Math.abs(Date.parse(at) - Date.now()) < 10000, `${at} is now`);
		await poll('the primary shows it', 10000, async () => (await seenAt(token.selector)) === at);
		assert.equal(await seenAt(token.selector, standby), at, 'the standby still shows it');
		used.push([`${name} on the standby`, token, at]);
	});
}
await slow();
const quick = await setSystem('unleash_tokens.flush_interval', '1', '1s');
for (const [name, token, at] of used)
	await test(`seenAt comes to the table of both: ${name}`, async () => {
		await poll('the primary has written it', 10000, async () => (await storedSeenAt(token.selector)) === at);
		await poll('the standby has replayed it', 10000, () => onStandby(`SELECT date_trunc('milliseconds', seen_at) = '${at}' FROM unleash_tokens.api_token WHERE selector = '${token.selector}'`) === 't');
	});
await quick();

// ---- The primary goes -----------------------------------------------------------------------------------------------

await replayed();
await test('the primary is gone: what may write is 503 with Retry-After, what reads is answered', async () => {
	process.kill(Number(servePid), 'SIGTERM');
	await poll('the primary is gone', 30000, async () => send('GET', '/health', {}, undefined, env.BASE_URL).then(() => false, () => true));
	await assertNoWrites();
});
await test('the primary is gone: uses are shown on the standby, and the view says what is amiss', async () => {
	const before = await seenAt(reading.selector, standby);
	assertStatus(await send('GET', '/auth', client, undefined, standby), 204);
	assert.ok((await seenAt(reading.selector, standby)) > before);
	await poll('last_error', 15000, () => /could not send notes/.test(onStandby('SELECT last_error FROM unleash_tokens.stat')));
});

// ---- Logs -----------------------------------------------------------------------------------------------------------

await test('no secret in a log of the standby', () => {
	const dir = path.dirname(logFile('nginx'));
	const access = readFileSync(path.join(dir, 'standby-nginx.access.log'), 'utf8');
	assert.ok(access.includes(`"DELETE ${TOKENS}/***" 200`) && access.includes('503'), 'the access log is the right one');
	const names = readdirSync(dir).filter((name) => name.startsWith('standby-'));
	assert.ok(names.includes('standby-postgresql.log') && names.includes('standby-postgrest.log'));
	for (const name of names) {
		const text = readFileSync(path.join(dir, name), 'utf8');
		for (const secret of secrets) assert.ok(!text.includes(secret.match(SECRET)[4]), `${name} holds a key`);
	}
});

finish();
