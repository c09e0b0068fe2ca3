// The notes of examples/notes, asked through every PostgREST that t/guard/run started: what each token sees and may write, how it is
// refused, and that no request is taken for another's.

import { execFileSync, spawn } from 'node:child_process';
import { readdirSync, readFileSync, existsSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { assert, env, finish, poll, readEnv, root as checkout, serveDir, skip, sql, test, useEnv } from '../http/lib.mjs';

useEnv(serveDir);
const notes = readEnv(serveDir);
const { GUARD_RUN, GUARD_LOGS, GUARD_PSQL } = process.env;
const agents = {};

// One request to the socket of a PostgREST, or to a URL.
function ask(where, method, path, headers = {}, body = undefined) {
	const url = /^http:/.test(where) ? new URL(where) : null;
	const target = url ? { host: url.hostname, port: url.port } : { socketPath: where.startsWith('/') ? where : `${GUARD_RUN}/${where}` };
	agents[where] ??= new http.Agent({ keepAlive: true, maxSockets: 8 });
	const sent = body === undefined ? undefined : JSON.stringify(body);
	return new Promise((resolve, reject) => {
		const request = http.request({ ...target, agent: agents[where], method, path, timeout: 20000,
			headers: { ...(sent === undefined ? {} : { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(sent) }), ...headers } }, (answer) => {
			const chunks = [];
			answer.on('data', (chunk) => chunks.push(chunk));
			answer.on('end', () => {
				const text = Buffer.concat(chunks).toString();
				let json;
				try { json = JSON.parse(text); } catch { json = undefined; }
				resolve({ status: answer.statusCode, headers: answer.headers, text, json });
			});
		});
		request.on('timeout', () => request.destroy(new Error('timeout')));
		request.on('error', reject);
		request.end(sent);
	});
}

const secrets = [];
async function make(type, name, projects, environment = 'development', more = {}) {
	const text = await sql(`SELECT unleash_tokens.create_api_token(:'body') ->> 'secret'`, { body: JSON.stringify(type === 'admin'
		? { type, tokenName: name, ...more } : { type, tokenName: name, projects, environment, ...more }) });
	secrets.push(text);
	return { name, key: text, selector: text.match(/v2_(.{22})_/)[1], headers: { apikey: text } };
}
secrets.push(notes.NOTES_FRONTEND, notes.NOTES_CLIENT, notes.NOTES_ADMIN);
const seen = (token) => sql(`SELECT seen_at IS NOT NULL FROM unleash_tokens.api_tokens WHERE selector = :'s'`, { s: token.selector });
const rows = (answer) => answer.json.map((row) => `${row.project} ${row.environment}`).filter((row, i, all) => all.indexOf(row) === i).sort();
const count = (where = 'true') => sql(`SELECT count(*) FROM notes.note WHERE ${where}`).then(Number);

const garden = await make('frontend', 'garden', ['garden'], 'production');
const both = await make('client', 'both', ['garden', 'kitchen']);
const backend = await make('backend', 'backend', ['kitchen'], 'production');
const root = await make('admin', 'root');
const every = await make('client', 'every', ['*'], 'production');

const PRIMARIES = ['main', 'bouncer', ...(existsSync(`${GUARD_RUN}/eleven`) ? ['eleven'] : [])];
if (PRIMARIES.length < 3) skip('PostgREST 11.2.2', 'npm does not have it');
const ALL_ROWS = ['garden development', 'garden production', 'kitchen development', 'kitchen production'];

for (const at of [...PRIMARIES, 'standby', 'override', 'rollback', 'never']) {
	await test(`${at}: GET shows each token its own rows, by table and views`, async () => {
		for (const path of ['/note', '/note_invoker', '/note_owned']) {
			assert.deepEqual(rows(await ask(at, 'GET', path, garden.headers)), ['garden production'], path);
			assert.deepEqual(rows(await ask(at, 'GET', path, both.headers)), ['garden development', 'kitchen development'], path);
			assert.deepEqual(rows(await ask(at, 'GET', path, backend.headers)), ['kitchen production'], path);
			assert.deepEqual(rows(await ask(at, 'GET', path, every.headers)), ['garden production', 'kitchen production'], path);
			assert.deepEqual(rows(await ask(at, 'GET', path, root.headers)), ALL_ROWS, path);
		}
	});
	await test(`${at}: HEAD, Prefer: count and the OpenAPI root`, async () => {
		const head = await ask(at, 'HEAD', '/note', { ...both.headers, Prefer: 'count=exact' });
		assert.equal(head.status, 200);
		assert.equal(head.headers['content-range'], '0-1/2');
		assert.equal((await ask(at, 'GET', '/note?limit=1', { ...root.headers, Prefer: 'count=exact' })).headers['content-range'], '0-0/4');
		assert.equal((await ask(at, 'GET', '/note', { ...garden.headers, Prefer: 'count=exact' })).headers['content-range'], '0-0/1');
		const open = await ask(at, 'GET', '/', both.headers);
		assert.equal(open.status, 200);
		assert.ok(open.json.paths['/note']);
		assert.equal((await ask(at, 'GET', '/')).status, 401);
	});
	await test(`${at}: functions that are VOLATILE, STABLE and IMMUTABLE`, async () => {
		for (const [method, path, token, role] of [['GET', '/rpc/who', garden, 'notes_frontend'], ['GET', '/rpc/who_stable', both, 'notes_client'],
			['POST', '/rpc/who_stable', backend, 'notes_client'], ...(at === 'standby' ? [] : [['POST', '/rpc/who', root, 'notes_admin']])]) {
			const { status, json, text } = await ask(at, method, path, token.headers, method === 'POST' ? {} : undefined);
			assert.equal(status, 200, text);
			assert.deepEqual([json.name, json.role], [token.name, role]);
			assert.equal(json.timeout, role === 'notes_frontend' ? '2s' : '0', 'the settings of the role');
			assert.ok(!json.headers.includes(token.key), 'the key is blanked');
		}
		for (const method of ['GET', 'POST']) {
			const body = method === 'POST' ? {} : undefined;
			assert.equal((await ask(at, method, '/rpc/answer', { apikey: 'x' }, body)).status, 401);
			for (const token of [garden, root, both]) await ask(at, method, '/rpc/answer', token.headers, body);
		}
		assert.equal((await ask(at, 'GET', '/rpc/who_stable')).status, 401);
	});
	await test(`${at}: refusals`, async () => {
		const is11 = at === 'eleven';
		for (const [headers, status, name, message] of [
			[{}, 401, 'AuthenticationRequired', 'the request to the guarded API carries no API token'],
			[{ apikey: 'nonsense' }, 401, 'UnauthorizedError', 'the API token of the request is not valid'],
			[{ apikey: `${both.key.slice(0, -1)}${both.key.endsWith('A') ? 'B' : 'A'}` }, 401, 'UnauthorizedError', 'the API token of the request is not valid'],
			[{ apikey: both.key, 'X-Api-Key': garden.key }, 400, 'BadDataError', 'the request carries two different keys'],
			[{ apikey: both.key, Authorization: garden.key }, 400, 'BadDataError', 'the request carries two different keys']]) {
			for (const [method, path] of [['GET', '/note'], ['HEAD', '/note'], ['GET', '/rpc/who'], ...(at === 'standby' ? [] : [['POST', '/note'], ['PATCH', '/note?id=eq.1'], ['DELETE', '/note?id=eq.1'], ['POST', '/rpc/who']])]) {
				const answer = await ask(at, method, path, headers, path === '/rpc/who' && method === 'POST' ? {} : ['POST', 'PATCH'].includes(method) ? { body: 'x' } : undefined);
				assert.equal(answer.status, status, `${method} ${path}: ${answer.text}`);
				if (status === 401 && !is11) assert.equal(answer.headers['www-authenticate'], `Bearer realm="unleash_tokens"${headers.apikey ? ', error="invalid_token"' : ''}`);
				if (!is11) assert.equal(answer.headers['cache-control'], 'no-store');
				if (method === 'HEAD') continue;
				assert.equal(answer.json.message, message);
				assert.equal(answer.json.code, is11 ? `PT${status}` : name);
				assert.ok(!answer.text.includes('notes_'), 'no name of a role');
			}
		}
		for (const headers of [{ 'X-Api-Key': both.key }, { Authorization: both.key }, { apikey: both.key, Authorization: both.key, 'x-api-key': both.key }])
			assert.equal((await ask(at, 'GET', '/rpc/who', headers)).json?.name, 'both');
	});
}

for (const at of PRIMARIES) {
	await test(`${at}: POST, PATCH and DELETE reach the rows of the token and no others`, async () => {
		const before = await count();
		const mine = await ask(at, 'POST', '/note', { ...both.headers, Prefer: 'return=representation' }, { project: 'garden', environment: 'development', body: 'mine' });
		assert.equal(mine.status, 201, mine.text);
		assert.equal(mine.json[0].written_by, 'both');
		for (const other of [{ project: 'garden', environment: 'production', body: 'x' }, { project: 'default', environment: 'development', body: 'x' }, { project: '*', environment: 'development', body: 'x' }]) {
			assert.ok([401, 403].includes((await ask(at, 'POST', '/note', both.headers, other)).status), JSON.stringify(other));
			assert.ok([401, 403].includes((await ask(at, 'POST', '/note', both.headers, [{ project: 'garden', environment: 'development', body: 'bulk' }, other])).status));
			assert.ok([401, 403].includes((await ask(at, 'POST', '/rpc/add', both.headers, other)).status));
		}
		assert.equal(await count(), before + 1, 'nothing of a refused request is stored');
		const bulk = await ask(at, 'POST', '/note', both.headers, [1, 2, 3].map((i) => ({ project: 'kitchen', environment: 'development', body: `bulk ${i}` })));
		assert.equal(bulk.status, 201);
		assert.equal((await ask(at, 'POST', '/rpc/add', both.headers, { project: 'kitchen', environment: 'development', body: 'bulk 4' })).status, 200);
		const patched = await ask(at, 'PATCH', '/note', { ...both.headers, Prefer: 'return=representation' }, { body: 'changed' });
		assert.deepEqual(rows(patched), ['garden development', 'kitchen development']);
		assert.equal(await count(`body = 'changed' AND environment = 'production'`), 0);
		assert.ok([401, 403].includes((await ask(at, 'PATCH', '/note', garden.headers, { body: 'no right' })).status), 'a role without the right');
		assert.ok([401, 403].includes((await ask(at, 'DELETE', '/note?id=gt.0', both.headers)).status));
		const moved = await ask(at, 'PATCH', `/note?id=eq.${mine.json[0].id}`, root.headers, { project: 'nowhere' });
		assert.ok([401, 403].includes(moved.status), 'not even an admin token moves a row where no token reaches');
		const gone = await ask(at, 'DELETE', `/note?written_by=eq.both`, { ...root.headers, Prefer: 'return=representation' });
		assert.equal(gone.json.length, 5);
		assert.equal(await count(), before);
	});
	await test(`${at}: a token that is deleted, expired or narrowed is so for the very next request`, async () => {
		const token = await make('client', 'short', ['garden', 'kitchen']);
		assert.equal((await ask(at, 'GET', '/note', token.headers)).status, 200);
		await sql(`DELETE FROM unleash_tokens.api_token_project WHERE selector = :'s' AND project = 'garden'`, { s: token.selector });
		assert.deepEqual(rows(await ask(at, 'GET', '/note', token.headers)), ['kitchen development']);
		await sql(`SELECT unleash_tokens.update_api_token(:'s', '{"expiresAt": "2020-01-01T00:00:00Z"}')`, { s: token.selector });
		assert.equal((await ask(at, 'GET', '/note', token.headers)).status, 401);
		await sql(`SELECT unleash_tokens.update_api_token(:'s', '{"expiresAt": null}')`, { s: token.selector });
		assert.equal((await ask(at, 'GET', '/note', token.headers)).status, 200);
		await sql(`SELECT unleash_tokens.delete_api_token(:'s')`, { s: token.selector });
		assert.equal((await ask(at, 'GET', '/note', token.headers)).status, 401);
	});
	await test(`${at}: 2,000 requests of 20 tokens at once, each is its own`, async () => {
		const tokens = await Promise.all([]);
		for (let i = 0; i < 20; i++) tokens.push(await make(i % 2 ? 'client' : 'frontend', `${at}${i}`, [i % 3 ? 'garden' : 'kitchen'], i % 5 ? 'development' : 'production'));
		let next = 0, wrong = 0;
		await Promise.all(Array.from({ length: 8 }, async () => {
			while (next < 2000) {
				const token = tokens[Math.floor(Math.random() * 20)];
				const method = ['GET', 'POST'][next++ % 2];
				const { json } = await ask(at, method, '/rpc/who', token.headers, method === 'POST' ? {} : undefined);
				const i = Number(token.name.slice(at.length));
				if (json?.name !== token.name || json.role !== (i % 2 ? 'notes_client' : 'notes_frontend') || json.projects[0] !== (i % 3 ? 'garden' : 'kitchen') || json.rows !== 1) wrong++;
				if (next % 50 === 0 && (await ask(at, 'GET', '/rpc/who')).status !== 401) wrong++;
			}
		}));
		assert.equal(wrong, 0);
	});
}

for (const at of PRIMARIES)
	await test(`${at}: a token that is used too often hears when it may come again, whatever became of its requests`, async () => {
		const often = await make('client', 'often', ['garden'], 'development', { rateLimit: { limit: 3, period: 3600 } });
		for (const [method, path, status] of [['GET', '/note', 200], ['GET', '/no_such_table', 404], ['POST', '/note', 400]]) {
			const answer = await ask(at, method, path, often.headers, method === 'POST' ? { nothing: 1 } : undefined);
			if (path === '/no_such_table' && answer.status === 404) await ask(at, 'GET', '/note', often.headers);	// refused by PostgREST alone: not counted
			assert.equal(answer.status, status, answer.text);
		}
		const answer = await ask(at, 'GET', '/note', often.headers);
		assert.equal(answer.status, 429, answer.text);
		assert.equal(answer.json.code, at === 'eleven' ? 'PT429' : 'RateLimitError');
		assert.ok(!answer.text.includes('notes_') && !answer.text.includes(often.key));
		if (at === 'eleven') return;	// it takes no headers of ours
		assert.match(answer.headers['retry-after'], /^(1200|11\d\d)$/);
		assert.equal(answer.headers['ratelimit-policy'], '"token";q=3;w=3600');
		assert.match(answer.headers.ratelimit, /^"token";r=0;t=(1200|11\d\d)$/);
		assert.equal((await ask(at, 'GET', '/note', both.headers)).status, 200, 'another token');
	});

await test('a token with a list comes from there alone, by the last address that is no trusted proxy', async () => {
	const home = await make('client', 'home', ['garden'], 'development', { allowedIps: ['192.0.2.0/24', '2001:db8::/32'] });
	const from = async (...lines) => (await ask('main', 'GET', '/note', { ...home.headers, ...(lines.length > 0 && { 'X-Forwarded-For': lines }) })).status;
	await sql(`ALTER SYSTEM SET unleash_tokens.guard_address_header = 'X-Forwarded-For'; ALTER SYSTEM SET unleash_tokens.guard_trusted_proxies = '10.0.0.0/8'; SELECT pg_reload_conf()`);
	try {
		await poll('the setting counts', 10000, async () => (await from('192.0.2.7')) === 200);
		for (const [lines, status] of [[['192.0.2.7'], 200], [['192.0.2.7, 10.1.1.1'], 200], [['2001:db8::1'], 200], [['::ffff:192.0.2.7'], 200], [['203.0.113.1, 192.0.2.7, 10.0.0.1, 10.0.0.2'], 200],
			[['192.0.2.7, 203.0.113.1'], 401], [['192.0.2.7, 203.0.113.1, 10.0.0.1'], 401], [['192.0.2.7', '203.0.113.1'], 401], [['203.0.113.1', '192.0.2.7'], 200], [['unknown'], 401], [[''], 401], [[], 401]])
			assert.equal(await from(...lines), status, JSON.stringify(lines));
		const away = await ask('main', 'GET', '/note', { ...home.headers, 'X-Forwarded-For': '203.0.113.1' });
		const none = await ask('main', 'GET', '/note', { apikey: 'nonsense', 'X-Forwarded-For': '203.0.113.1' });
		assert.deepEqual([away.status, away.text], [none.status, none.text], 'as one that is not there');
	} finally {
		await sql('ALTER SYSTEM RESET unleash_tokens.guard_address_header; ALTER SYSTEM RESET unleash_tokens.guard_trusted_proxies; SELECT pg_reload_conf()');
	}
	await poll('no address is known any more', 10000, async () => (await from('192.0.2.7')) === 401);
});

await test('a JWT together with a token is refused, alone it is no token', async () => {
	const b64 = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
	const { createHmac } = await import('node:crypto');
	const part = `${b64({ alg: 'HS256', typ: 'JWT' })}.${b64({ role: 'notes_client' })}`;
	const jwt = `${part}.${createHmac('sha256', 'a-secret-of-this-test-that-is-long-enough').update(part).digest('base64url')}`;
	const twice = await ask('main', 'GET', '/note', { Authorization: `Bearer ${jwt}`, apikey: both.key });
	assert.equal(twice.status, 400, twice.text);
	assert.equal(twice.json.message, 'the request carries both a JWT and an API token');
	assert.equal((await ask('main', 'GET', '/note', { Authorization: `Bearer ${jwt}` })).status, 401);
	const alone = await ask('open', 'GET', '/rpc/who', { Authorization: `Bearer ${jwt}` });
	assert.deepEqual([alone.status, alone.json.name, alone.json.role, alone.json.rows], [200, null, 'notes_client', 0]);
	assert.equal((await ask('open', 'GET', '/note', { Authorization: `Bearer ${jwt}`, apikey: both.key })).status, 400);
});

await test('guard_missing = anonymous lets a request without a token be anonymous, and no other', async () => {
	assert.equal((await ask('open', 'GET', '/rpc/answer')).json, 42);
	assert.ok([401, 403].includes((await ask('open', 'GET', '/note')).status));
	assert.equal((await ask('open', 'GET', '/note', { apikey: 'nonsense' })).status, 401);
	assert.deepEqual(rows(await ask('open', 'GET', '/note', both.headers)), ['garden development', 'kitchen development']);
});

await test('the use is noted in READ ONLY and rolled-back requests', async () => {
	for (const [at, method, path, prefer] of [['main', 'GET', '/note', ''], ['rollback', 'POST', '/note', ''], ['override', 'POST', '/note', 'tx=rollback'], ['rollback', 'GET', '/rpc/who', 'tx=commit'], ['never', 'POST', '/note', 'tx=commit']]) {
		const token = await make('client', 'noted', ['garden']);
		assert.equal(await seen(token), 'f');
		const before = await count();
		const { status, text } = await ask(at, method, path, { ...token.headers, ...(prefer ? { Prefer: prefer } : {}) }, method === 'POST' ? { project: 'garden', environment: 'development', body: 'rolled back' } : undefined);
		assert.ok([200, 201].includes(status), text);
		assert.equal(await count(), before, 'nothing is stored');
		assert.equal(await seen(token), 't', `${at} ${method}`);
	}
	const before = await count();
	assert.equal((await ask('rollback', 'POST', '/note', { ...both.headers, Prefer: 'tx=commit' }, { project: 'garden', environment: 'development', body: 'kept' })).status, 201);
	assert.equal(await count(), before + 1);
	await sql(`DELETE FROM notes.note WHERE body = 'kept'`);
});

await test('a standby knows what became of a token as soon as it is replayed, and says when it was used', async () => {
	const replayed = async () => {
		const lsn = await sql('SELECT pg_current_wal_lsn()');
		await poll('replay', 20000, () => execFileSync(GUARD_PSQL, ['-XAtq', '-h', GUARD_RUN, '-p', '5432', '-U', env.PGUSER, '-d', env.PGDATABASE, '-c', `SELECT pg_last_wal_replay_lsn() >= '${lsn}'`]).toString().trim() === 't');
	};
	const token = await make('client', 'far', ['garden', 'kitchen']);
	await replayed();
	assert.deepEqual(rows(await ask('standby', 'GET', '/note', token.headers)), ['garden development', 'kitchen development']);
	await poll('seenAt', 20000, async () => (await seen(token)) === 't');
	await sql(`DELETE FROM unleash_tokens.api_token_project WHERE selector = :'s' AND project = 'garden'`, { s: token.selector });
	await replayed();
	assert.deepEqual(rows(await ask('standby', 'GET', '/note', token.headers)), ['kitchen development']);
	await sql(`SELECT unleash_tokens.delete_api_token(:'s')`, { s: token.selector });
	await replayed();
	assert.equal((await ask('standby', 'GET', '/note', token.headers)).status, 401);
});

await test('a role that is no good is refused with 403, and the next request hears when it is good again', async () => {
	await sql('ALTER ROLE notes_client BYPASSRLS');
	const answer = await ask('main', 'GET', '/note', both.headers);
	assert.equal(answer.status, 403);
	assert.equal(answer.json.code, 'PermissionError');
	assert.ok(!/notes_|bypass/i.test(answer.text));
	await sql('ALTER ROLE notes_client NOBYPASSRLS');
	assert.equal((await ask('main', 'GET', '/note', both.headers)).status, 200);
	await sql(`SELECT unleash_tokens.drop_guard_role('client')`);
	assert.equal((await ask('main', 'GET', '/note', both.headers)).status, 403);
	await sql(`SELECT unleash_tokens.set_guard_role('client', 'notes_client')`);
	assert.equal((await ask('main', 'GET', '/note', both.headers)).status, 200);
	assert.match(readFileSync(`${GUARD_LOGS}/postgresql.log`, 'utf8'), /cannot run as role "notes_client": It bypasses row security/);
});

const gate = notes.NOTES_URL;
await test('http/guarded.conf is taken as it is, and its places say what those of http/ say', () => {
	const delivered = (name) => readFileSync(path.join(checkout, 'http', name), 'utf8');
	const deployed = (name) => readFileSync(path.join(path.dirname(notes.NOTES_SOCKET), name), 'utf8');
	const statements = (text) => text.replace(/#.*/g, '').split(/\s+|(?<=[;{}])/).filter(Boolean)
		.map((word) => word.replace(/^(unix:)?[\w./-]*\/[\w./-]*/, '$1PLACE').replace(/127\.0\.0\.1:\d+/, '127.0.0.1:PORT'));
	assert.equal(deployed('guarded.conf'), delivered('guarded.conf'));
	for (const name of ['place-guarded.conf', 'place-guarded-server.conf']) assert.deepEqual(statements(deployed(name)), statements(delivered(name)));
});

await test('http/guarded.conf: Bearer, bare and apikey; strangers learn nothing', async () => {
	for (const headers of [{ Authorization: `Bearer ${both.key}` }, { Authorization: `bearer  ${both.key}` }, { Authorization: both.key }, { apikey: both.key }, { apikey: both.key, Authorization: `Bearer ${both.key}` }])
		assert.deepEqual(rows(await ask(gate, 'GET', '/note', headers)), ['garden development', 'kitchen development'], Object.keys(headers).join());
	for (const headers of [{}, { apikey: 'nonsense' }, { Authorization: 'Bearer nonsense' }, { Authorization: 'Basic eDp5' }, { Authorization: 'Bearer a.b.c' }, { apikey: 'é' }])
		for (const [method, path] of [['GET', '/note'], ['OPTIONS', '/note'], ['GET', '/nothing'], ['GET', '/'], ['POST', '/rpc/nothing']]) {
			const answer = await ask(gate, method, path, headers, method === 'POST' ? {} : undefined);
			assert.equal(answer.status, 401, `${method} ${path} ${JSON.stringify(headers)} ${answer.text}`);
			assert.match(answer.headers['www-authenticate'], /^Bearer realm="unleash_tokens"/);
			assert.ok(!/note|hint.*function/i.test(answer.text));
		}
	assert.equal((await ask(gate, 'POST', '/note', both.headers, { project: 'garden', environment: 'development', body: 'gate' })).status, 201);
	await sql(`DELETE FROM notes.note WHERE body = 'gate'`);
	assert.equal((await ask(gate, 'GET', '/note', { Authorization: `Bearer ${both.key}`, apikey: garden.key })).status, 400);
	const denied = await ask(gate, 'PATCH', '/note', garden.headers, { body: 'no right' });
	assert.equal(denied.status, 403, denied.text);
	assert.equal((await ask(gate, 'POST', '/note', both.headers, { project: 'default', environment: 'development', body: 'x' })).status, 403);
	assert.equal((await ask(gate, 'GET', '/nothing', both.headers)).status, 404);
});

await test('guard_check() finds nothing to say of the example', async () => {
	const found = await sql(`SELECT coalesce(string_agg(check_name || ': ' || detail, E'\\n'), '') FROM unleash_tokens.guard_check(ARRAY['notes']) WHERE status <> 'ok' AND check_name <> 'server_version'`);
	// the tests' own: a view that runs as another role, and a login that lets requests be anonymous
	assert.deepEqual(found.split('\n').filter((line) => line && !/note_owned|notes_open/.test(line)), []);
});

await test('README: "Protect your own API", command by command in an empty database', async () => {
	const section = readFileSync(new URL('../../README.md', import.meta.url), 'utf8').match(/\*\*Protect your own API\.\*\*.*?\n\*\*/s)[0];
	const commands = section.match(/^ {4}.*(?:\n {4} .*)*/gm).map((line) => line.trim());
	const [look] = commands.splice(-1);
	assert.ok(commands.length <= 10, `${commands.length} commands`);
	execFileSync(GUARD_PSQL, ['-Xq', '-h', env.PGHOST, '-p', '5432', '-U', env.PGUSER, '-d', 'postgres', '-c', 'CREATE DATABASE app', '-c', 'ALTER DATABASE app SET log_statement = none', '-c', 'ALTER DATABASE app SET log_min_duration_statement = -1']);
	const out = execFileSync(GUARD_PSQL, ['-XAtq', '-v', 'ON_ERROR_STOP=1', '-h', env.PGHOST, '-p', '5432', '-U', env.PGUSER, '-d', 'app'], { input: commands.slice(0, -1).join('\n') }).toString();
	const [secret] = out.match(/\S+\.v2_\S+/);
	secrets.push(secret);
	// the kernel says who connects: postgres may be web
	execFileSync('bash', ['-c', `printf 'serve "%s" web\n' "$(stat -c %U "$1")" >>"$1/pg_ident.conf"`, 'bash', `${readFileSync(`${serveDir}/where`, 'utf8').trim()}/cluster`]);
	await sql('SELECT pg_reload_conf()');
	const started = spawn('bash', ['-c', `cd / && ${process.env.GUARD_AS} env PGHOST=${env.PGHOST} PGPORT=5432 ${process.env.GUARD_FREE_PORT} ${commands.at(-1).replace(/\bpostgrest\b$/, process.env.GUARD_POSTGREST)}`], { stdio: 'ignore', detached: true });
	try {
		const at = `http://127.0.0.1:${process.env.GUARD_FREE_PORT.split('=')[1]}`;
		await poll('PostgREST', 20000, async () => (await ask(at, 'GET', '/note').catch(() => null))?.status === 401);
		const posted = await ask(at, 'POST', '/note', { apikey: secret, Prefer: 'return=representation' }, { body: 'hello' });
		assert.equal(posted.status, 201, posted.text);
		assert.ok([401, 403].includes((await ask(at, 'POST', '/note', { apikey: secret }, { body: 'hello', project: 'other' })).status));
		const told = await ask(at, 'GET', look.match(/3000(\S*?)["' ]/)?.[1] || '/note', { apikey: secret });
		assert.deepEqual(told.json.map((row) => row.body), ['hello']);
	} finally {
		process.kill(-started.pid);
	}
});

await test('no secret in any log, though everything is logged', async () => {
	const logs = readdirSync(GUARD_LOGS);
	assert.ok(logs.some((name) => /postgresql/.test(name)));
	let bytes = 0;
	for (const name of logs) {
		const text = readFileSync(`${GUARD_LOGS}/${name}`, 'latin1');
		bytes += text.length;
		for (const secret of secrets) assert.ok(!text.includes(secret.slice(-43)), `${name} holds the secret of a token`);
	}
	assert.ok(bytes > 1e6, `${bytes} bytes of logs`);
	assert.ok(/SELECT .*guard/.test(readFileSync(`${GUARD_LOGS}/postgresql.log`, 'latin1')), 'requests are logged');
	const shown = await sql(`SELECT string_agg(query, ' ') FROM pg_stat_activity`);
	for (const secret of secrets) assert.ok(!shown.includes(secret.slice(-43)), 'pg_stat_activity');
});

await test('plain SQL through PgBouncer: four connections, and each transaction is its own', async () => {
	const who = `SELECT coalesce(unleash_tokens.token_name(), '-') || ' ' || current_user`;
	const script = [], expected = [];
	for (let i = 0; i < 300; i++) {
		const [token, role] = [[garden, 'notes_frontend'], [both, 'notes_client'], [backend, 'notes_client'], [root, 'notes_admin']][Math.floor(Math.random() * 4)];
		const guard = `DO $$ BEGIN PERFORM unleash_tokens.guard('${token.key}'); END $$;`;
		script.push(`BEGIN; ${guard} ${who}; ${i % 3 ? 'COMMIT' : 'ROLLBACK'}; ${who};`);
		expected.push(`${token.name} ${role}`, '- notes_authenticator');
	}
	await Promise.all(Array.from({ length: 8 }, () => new Promise((resolve, reject) => {
		const psql = spawn(GUARD_PSQL, ['-XAtq', '-h', GUARD_RUN, '-p', '6432', '-U', 'notes_authenticator', '-d', env.PGDATABASE]);
		let out = '', err = '';
		psql.stdout.on('data', (data) => { out += data; });
		psql.stderr.on('data', (data) => { err += data; });
		// the name alone is not to be entered by the login
		psql.on('close', () => { try { assert.equal(err, ''); assert.deepEqual(out.trim().split('\n'), expected); resolve(); } catch (error) { reject(error); } });
		psql.stdin.end(script.join('\n'));
	})));
});

finish();
process.exit();
