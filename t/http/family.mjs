// The endpoints beside create: list, by name, change, delete, batch validation, forward authentication.

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import {
	assert, assertCreated, assertNothingStored, assertRefusal, assertStatus, create, env, finish, freePort, jsonKeyed, keyed,
	minimal, poll, root, run, send, sql, test, TOKENS, useEnv, validate,
} from './lib.mjs';

useEnv();

const at = (part) => `${TOKENS}/${part}`;
const make = async (more) => assertCreated(await create(minimal(more)));
const put = (token, body, headers = jsonKeyed()) => send('PUT', at(token), headers, JSON.stringify(body));
const edge = (body, headers = { 'Content-Type': 'application/json' }) =>
	send('POST', '/edge/validate', headers, typeof body === 'string' ? body : JSON.stringify(body));
const events = (selector) => sql(`SELECT string_agg(type || ' ' || actor, ', ' ORDER BY id)
	FROM unleash_tokens.api_token_event WHERE selector = :'selector'`, { selector });

async function byName(name, method = 'GET') {
	const answer = await send(method, at(encodeURIComponent(name)), keyed());
	assertStatus(answer, 200);
	return method === 'HEAD' ? answer : answer.json.tokens;
}

// 200 without a body, as Unleash answers a change.
function assertDone(answer) {
	assertStatus(answer, 200);
	assert.equal(answer.bytes.length, 0);
	assert.deepEqual(answer.headers('Cache-Control'), ['no-store']);
}

await sql(`INSERT INTO unleash_tokens.project (id) VALUES ('fam-a'), ('fam b,c'), ('fäm') ON CONFLICT DO NOTHING`);

// ---- Lists ----------------------------------------------------------------------------------------------------------

await test('a list shows every token, ordered, with its selector for a secret', async () => {
	const made = await make({ tokenName: `${run} listed`, projects: ['fam-a', 'default'], type: 'backend' });
	const answer = await send('GET', TOKENS, keyed());
	assertStatus(answer, 200);
	const { tokens } = answer.json;
	assert.equal(tokens.length, Number(await sql('SELECT count(*) FROM unleash_tokens.api_token')));
	const keys = tokens.map((token) => `${token.createdAt} ${token.secret}`);
	assert.deepEqual(keys, [...keys].sort());
	const { selector, ...shown } = made;
	assert.deepEqual(tokens.find((token) => token.secret === selector), { ...shown, secret: selector });
	assert.ok(tokens.every((token) => token.secure === true && token.secret.length === 22));
	assert.ok(!answer.text.includes(made.secret));
});

await test('a list is compressed for who takes gzip', async () => {
	const answer = await send('GET', TOKENS, keyed({ 'Accept-Encoding': 'gzip' }));
	assert.equal(answer.header('Content-Encoding'), 'gzip');
	assert.ok(answer.json.tokens.length > 0);
});

await test('by name finds the name exactly, or the selector, so that Location resolves', async () => {
	const name = `${run} ä/b%c+d`;
	const one = await make({ tokenName: name }), two = await make({ tokenName: name, type: 'frontend' });
	assert.deepEqual((await byName(name)).map((t) => t.secret), [one.selector, two.selector]);
	assert.deepEqual((await byName(name.toUpperCase())), []);
	assert.deepEqual((await byName(one.selector)).map((t) => t.tokenName), [name]);
	assert.deepEqual(await byName(one.secret), []);
	const raw = await send('GET', at(`${run}%20ä%2Fb%25c+d`), keyed());
	assert.equal(raw.json.tokens.length, 2);
});

await test('HEAD is GET without a body', async () => {
	for (const target of [TOKENS, at('nobody')]) {
		const answer = await send('HEAD', target, keyed());
		assertStatus(answer, 200);
		assert.equal(answer.bytes.length, 0);
		assertStatus(await send('HEAD', target, {}), 401);
	}
});

await test('OPTIONS tells the methods of a path', async () => {
	const allowed = {
		[TOKENS]: 'GET, HEAD, POST, OPTIONS', [at('x')]: 'GET, HEAD, PUT, DELETE, OPTIONS',
		'/edge/validate': 'POST, OPTIONS', '/health': 'GET, HEAD, OPTIONS',
	};
	for (const [target, methods] of Object.entries(allowed)) {
		const answer = await send('OPTIONS', target, keyed());
		assertStatus(answer, 204);
		assert.deepEqual(answer.headers('Allow'), [methods]);
	}
	assertRefusal(await send('OPTIONS', TOKENS, {}), 401, 'AuthenticationRequired');
	assertRefusal(await send('PATCH', at('x'), keyed()), 405, 'MethodNotAllowedError');
});

await test('a list that would pass 256 MB is refused with a way out', async () => {
	await sql(`INSERT INTO unleash_tokens.api_token (selector, verifier, token_name, type, environment, all_projects, created_at)
		SELECT 'big' || lpad(i::text, 19, '0'), sha256(i::text::bytea), repeat('x', 1000), 'client', 'development', true, now()
		FROM generate_series(1, 225000) AS i`);
	try {
		const answer = await send('GET', TOKENS, keyed(), undefined, undefined, 120000);
		assertRefusal(answer, 400, 'ExceedsLimitError', { says: /api_tokens/ });
	} finally {
		await sql(`DELETE FROM unleash_tokens.api_token WHERE selector LIKE 'big%'`);
	}
	assertStatus(await send('GET', TOKENS, keyed()), 200);
});

// ---- Change and delete ----------------------------------------------------------------------------------------------

await test('PUT sets and clears the expiry, by selector and by secret, and it counts at once', async () => {
	const made = await make();
	for (const token of [made.selector, made.secret, encodeURIComponent(made.secret)]) {
		assertDone(await put(token, { expiresAt: '2020-01-01T00:00:00Z', type: 'admin', projects: [] }));
		assert.equal(await validate(made.secret), null);
		assertDone(await put(token, { expiresAt: null }));
		assert.equal((await validate(made.secret)).expiresAt, null);
	}
	assertDone(await put(`${made.selector}/`, { expiresAt: '2031-05-06 07:08:09+0200' }));
	const [shown] = await byName(made.selector);
	assert.equal(shown.expiresAt, '2031-05-06T05:08:09.000Z');
	assert.equal(shown.type, 'client');
	assert.match(await events(made.selector), /^api-token-created first(, api-token-updated first){7}$/);
});

await test('PUT refuses a bad body before it looks for the token', async () => {
	await assertNothingStored(async () => {
		assertRefusal(await put('nobody', {}), 400, 'BadDataError', { path: '/body/expiresAt' });
		assertRefusal(await put('nobody', { expiresAt: 5 }), 400, 'BadDataError', { path: '/body/expiresAt' });
		assertRefusal(await put('nobody', []), 400, 'BadDataError', { path: '/body' });
		assertRefusal(await send('PUT', at('nobody'), keyed()), 415, 'ContentTypeError');
		assertRefusal(await put('%zz', { expiresAt: null }), 400, 'BadDataError');
		assertRefusal(await put('%ff', { expiresAt: null }), 400, 'BadDataError');
	});
});

await test('an unknown token, a name, or a secret with another key changes nothing and is no error', async () => {
	const made = await make();
	const forged = made.secret.slice(0, -43) + 'x'.repeat(43);
	await assertNothingStored(async () => {
		for (const token of ['nobody', encodeURIComponent(made.tokenName), forged, '*:development.unknown', 'A'.repeat(22)]) {
			assertDone(await put(token, { expiresAt: '2020-01-01T00:00:00Z' }));
			assertDone(await send('DELETE', at(token), keyed()));
		}
	});
	assert.equal((await validate(made.secret)).expiresAt, null);
});

await test('DELETE ends a token at once, by selector and by secret', async () => {
	for (const pick of [(t) => t.selector, (t) => t.secret, (t) => encodeURIComponent(t.secret)]) {
		const made = await make({ projects: ['fam-a', 'default'] });
		assertDone(await send('DELETE', at(pick(made)), keyed()));
		assert.equal(await validate(made.secret), null);
		assert.deepEqual(await byName(made.selector), []);
		assert.equal(await events(made.selector), 'api-token-created first, api-token-deleted first');
		assert.equal(await sql(`SELECT (pre_data -> 'projects')::text || coalesce(data::text, ' and nothing') FROM unleash_tokens.api_token_event
			WHERE selector = :'s' AND type = 'api-token-deleted'`, { s: made.selector }), '["fam-a", "default"] and nothing');
		assertDone(await send('DELETE', at(pick(made)), keyed()));
	}
});

await test('an admin token that deletes itself is refused from the next call on', async () => {
	const made = await make({ type: 'admin' });
	const headers = { Authorization: `Bearer ${made.secret}` };
	assertStatus(await send('GET', at('x'), headers), 200);
	assertDone(await send('DELETE', at(made.selector), headers));
	assertRefusal(await send('GET', at('x'), headers), 401, 'UnauthorizedError');
});

// ---- /edge/validate -------------------------------------------------------------------------------------------------

await test('/edge/validate answers the valid ones in their order, backend as client', async () => {
	const backend = await make({ type: 'backend', projects: ['fam-a'] }), admin = await make({ type: 'admin' });
	const ask = { tokens: ['nope', backend.secret, admin.secret, 5, true, null, backend.secret, `${backend.secret}x`] };
	const expected = { token: backend.secret, type: 'client', projects: ['fam-a'], environment: 'development' };
	for (const headers of [{}, { Authorization: 'garbage' }, { Authorization: backend.secret }, { Authorization: `Bearer ${admin.secret}` }]) {
		const answer = await edge(ask, { 'Content-Type': 'application/json', ...headers });
		assertStatus(answer, 200);
		assert.deepEqual(answer.json, { tokens: [expected,
			{ token: admin.secret, type: 'admin', projects: ['*'], environment: '*' }, expected] });
	}
	assertDone(await send('DELETE', at(backend.selector), keyed()));
	assert.deepEqual((await edge({ tokens: [backend.secret] })).json, { tokens: [] });
});

await test('/edge/validate refuses what is no list of strings', async () => {
	assertRefusal(await edge({}), 400, 'BadDataError', { path: '/body/tokens' });
	assertRefusal(await edge({ tokens: 'x' }), 400, 'BadDataError', { path: '/body/tokens' });
	assertRefusal(await edge({ tokens: ['a', {}] }), 400, 'BadDataError', { path: '/body/tokens/1' });
	assertRefusal(await edge('{'), 400, 'BadDataError');
	assertRefusal(await edge({ tokens: [] }, {}), 415, 'ContentTypeError');
	assertRefusal(await send('GET', '/edge/validate', {}), 405, 'MethodNotAllowedError');
});

// An Edge asks for all it has at once, and keeps all of it when it is refused: revoked ones, too.
await test('/edge/validate takes 1,000 of the longest secrets, and answers for 5,000 of however many', async () => {
	const project = `fam ${'p'.repeat(96)}`, environment = `fam ${'e'.repeat(96)}`;
	await sql(`INSERT INTO unleash_tokens.project (id) VALUES (:'project') ON CONFLICT DO NOTHING`, { project });
	await sql(`INSERT INTO unleash_tokens.environment (name) VALUES (:'environment') ON CONFLICT DO NOTHING`, { environment });
	const long = await make({ projects: [project], environment }), usual = await make({ projects: ['fam-a'] });
	const forged = (secret, i) => `${secret.slice(0, -6)}${String(i).padStart(6, '0')}`;
	for (const [{ secret }, count] of [[long, 1000], [usual, 5000], [usual, 9000]]) {
		const tokens = Array.from({ length: count }, (_, i) => (i === 0 || i === Math.min(count, 5000) - 1 ? secret : forged(secret, i)));
		const answer = await edge({ tokens });
		assertStatus(answer, 200);
		assert.deepEqual(answer.json.tokens.map(({ token }) => token), [secret, secret]);
	}
	// what is not looked at is not called valid
	assert.deepEqual((await edge({ tokens: [...Array(5000).fill('zz'), usual.secret] })).json, { tokens: [] });
	const pad = (bytes) => JSON.stringify({ tokens: [usual.secret] }).padEnd(bytes);
	assert.equal((await edge(pad(1048576))).json.tokens.length, 1);
	assertRefusal(await edge(pad(1048577)), 413, 'PayloadTooLargeError', { says: /1048576 bytes: ask for the secrets in several calls/ });
	assertRefusal(await create(`{}${' '.repeat(102400)}`), 413, 'PayloadTooLargeError', { says: /102400/ });
});

// ---- /auth ----------------------------------------------------------------------------------------------------------

await test('/auth tells who a token is, with anything but plain characters encoded', async () => {
	const made = await make({ tokenName: `${run} ä,%`, type: 'frontend', environment: 'production', projects: ['fam b,c', 'fäm'] });
	for (const key of [made.secret, `Bearer ${made.secret}`]) {
		const answer = await send('GET', '/auth', { Authorization: key });
		assertStatus(answer, 204);
		assert.equal(answer.header('X-Token-Name'), `${run}%20%C3%A4%2C%25`);
		assert.equal(answer.header('X-Token-Type'), 'frontend');
		assert.equal(answer.header('X-Token-Environment'), 'production');
		assert.deepEqual(answer.header('X-Token-Projects').split(',').map(decodeURIComponent), ['fam b,c', 'fäm']);
	}
});

await test('/auth accepts only what the query asks for', async () => {
	const made = await make({ type: 'backend', environment: 'production', projects: ['fam-a', 'fäm'] });
	const admin = await make({ type: 'admin' }), wide = await make({ type: 'frontend' });
	const ask = (query, key = made.secret) => send('GET', `/auth?${query}`, { Authorization: key });
	for (const query of ['', 'type=backend', 'type=CLIENT', 'type=frontend,backend', 'type=client,admin,frontend', 'project=fam-a', 'project=f%C3%A4m', 'environment=production',
		'type=client&project=fam-a&environment=production'])
		assertStatus(await ask(query), 204);
	for (const query of ['type=frontend', 'type=admin', 'type=admin,frontend', 'project=default', 'environment=development'])
		assertRefusal(await ask(query), 403, 'PermissionError');
	for (const query of ['type=', 'type=nope', 'type=client,', 'type=,client', 'type=client,nope', 'type=client&type=admin', 'project=%zz', 'environment=%ff', 'other=1',
		'Project=fam-a', 'project', 'project=fam-a&project=fam-a', '&project=fam-a'])
		assertRefusal(await ask(query), 400, 'BadDataError');
	// a word that names nothing lets no one pass, however much the token reaches
	for (const { secret } of [made, admin, wide])
		for (const query of ['project=fam-x', 'project=*', 'project=', 'environment=prod', 'environment=*', 'environment=', 'type=admin&environment=Production'])
			assertRefusal(await ask(query, secret), 400, 'BadDataError', { says: /There is no (project|environment)/ });
	assertStatus(await ask('type=admin&project=fam-a&environment=production', admin.secret), 204);
	assertStatus(await ask('project=fam-a', wide.secret), 204);
	assertRefusal(await send('GET', '/auth', {}), 401, 'AuthenticationRequired');
	assertRefusal(await ask('', 'nope'), 401, 'UnauthorizedError');
	assertDone(await put(made.selector, { expiresAt: '2001-01-01T00:00:00Z' }));
	assertRefusal(await ask(''), 401, 'UnauthorizedError');
});

await test('/auth speaks of no admin token to who sends no key', async () => {
	const answer = await send('GET', '/auth', {});
	assert.doesNotMatch(answer.text, /admin/);
	assert.match((await send('GET', TOKENS, {})).text, /admin/);
});

// Envoy asks with the method and path of the client's request, others with their own.
await test('/auth answers whatever method it is asked with, and looks at no path of the client', async () => {
	const { secret } = await make({ type: 'frontend' });
	for (const method of ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND']) {
		const ask = (query, headers, body) => send(method, `/auth${query}`, headers, body);
		const answer = await ask('', { Authorization: secret }, method === 'POST' ? 'name=value' : undefined);
		assertStatus(answer, 204);
		assert.equal(answer.header('X-Token-Type'), 'frontend');
		for (const path of ['/', '/orders/1', '/orders?type=admin&x=%zz', '/a?path=/b&type=admin', '']) {
			assertStatus(await ask(`?type=frontend&path=${path}`, { Authorization: secret }), 204);
			assert.equal((await ask(`?type=client&path=${path}`, { Authorization: secret })).status, 403);
			assert.equal((await ask(`?path=${path}`, {})).status, 401);
		}
		assert.equal((await ask('', {})).status, 401);
		assert.equal((await ask('', { Authorization: 'nope' })).status, 401);
		for (const headers of [{}, { Authorization: secret }, keyed()])
			for (const path of ['/orders/1', '/x?type=frontend', '/orders/']) assert.equal((await ask(path, headers)).status, 404, `${method} ${path}`);
	}
	assertRefusal(await send('GET', '/auth/orders/1', { Authorization: secret }), 404, 'NotFoundError', { says: /\/auth\?path=/ });
	assertStatus(await send('GET', '/authority', { Authorization: secret }), 403);
});

await test('the headers of /auth are always there, together well below 4 kB', async () => {
	const projects = Array.from({ length: 1000 }, (_, i) => `fam ${'ü'.repeat(90)} ${i}`);
	const long = '\u{1f600}'.repeat(1000), one = 'é'.repeat(100);
	await sql(`INSERT INTO unleash_tokens.project (id) SELECT * FROM json_array_elements_text(:'projects') ON CONFLICT DO NOTHING`, { projects: JSON.stringify([...projects, one]) });
	await sql(`INSERT INTO unleash_tokens.environment (name) VALUES (:'one') ON CONFLICT DO NOTHING`, { one });
	for (const [more, shown] of [
		[{ tokenName: long, projects: projects.slice(0, 100) }, ['(too long)', 'client', 'development', '(too many)', 'never']],
		[{ tokenName: 'n'.repeat(768), projects: ['fam-a', 'default'], expiresAt: '9999-12-31T23:59:59.999+00:00' }, ['n'.repeat(768), 'client', 'development', 'fam-a,default', '9999-12-31T23:59:59.999Z']],
		[{ tokenName: 'n'.repeat(769), environment: one, projects: [one] }, ['(too long)', 'client', '(too long)', '%C3%A9'.repeat(100), 'never']],
		[{ tokenName: '(too long)', type: 'admin' }, ['(too%20long)', 'admin', '*', '*', 'never']],
	]) {
		const { secret } = await assertCreated(await create({ type: 'client', ...more }));
		const answer = await send('GET', '/auth', { Authorization: secret });
		assertStatus(answer, 204);
		assert.deepEqual(['Name', 'Type', 'Environment', 'Projects', 'Expires-At'].map((name) => answer.header(`X-Token-${name}`)), shown);
		assert.ok(answer.head.length < 3500, `${answer.head.length} bytes`);
	}
});

await test('Location finds the token, whatever stands before our paths', async () => {
	for (const path of [TOKENS, `${TOKENS}/`]) {
		const answer = await send('POST', path, jsonKeyed(), JSON.stringify(minimal()));
		assertStatus(answer, 201);
		const selector = answer.json.secret.slice(-66, -44);
		for (const prefix of ['', '/tokens', '/a/b'])
			assert.equal(new URL(answer.header('Location'), `https://example.org${prefix}${path}`).pathname, `${prefix}${TOKENS}/${selector}`);
	}
});

await test("the README's lines of nginx protect a service", async () => {
	const lines = readFileSync(path.join(root, 'README.md'), 'utf8')
		.match(/\n( {4}location \/ \{\n[\s\S]*? {4}location = \/_token \{[\s\S]*?\n {4}\}\n)/)[1];
	const made = await make({ environment: 'production' }), other = await make();
	const dir = mkdtempSync(path.join(os.tmpdir(), 'ut-auth-'));
	const service = http.createServer((request, reply) => reply.end('secret service')).listen(0, '127.0.0.1');
	await poll('its port', 5000, () => service.address());
	const port = await freePort();
	const temp = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${dir}/${name};`).join(' ');
	writeFileSync(path.join(dir, 'nginx.conf'), `pid ${dir}/pid; events {} http { ${temp} access_log off; server { listen 127.0.0.1:${port};
		${lines.replace('http://your-service', `http://127.0.0.1:${service.address().port}`).replace('http://127.0.0.1:8080', env.BASE_URL)} } }`);
	const nginx = spawn('nginx', ['-e', 'stderr', '-p', dir, '-c', `${dir}/nginx.conf`, '-g', 'daemon off;'], { stdio: 'ignore' });
	try {
		const ask = (headers) => send('POST', '/anything', headers, 'a body', `http://127.0.0.1:${port}`);
		const answer = await poll('nginx', 10000, () => ask({ Authorization: made.secret }).catch(() => null));
		assertStatus(answer, 200);
		assert.equal(answer.text, 'secret service');
		assertStatus(await ask({ Authorization: `Bearer ${made.secret}` }), 200);
		assertStatus(await ask({ Authorization: other.secret }), 403);
		assertStatus(await ask({ Authorization: 'nope' }), 401);
		assertStatus(await ask({}), 401);
	} finally {
		nginx.kill('SIGTERM');
		service.close();
		rmSync(dir, { recursive: true, force: true });
	}
});

finish();
